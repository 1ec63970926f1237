// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles on Xen's Linux devices that can affect one domain and no other.
//!
//! A device model serves one guest, and the guest is not trusted. These are
//! the handles it needs, and the way to give up what it must not have:
//!
//! ```no_run
//! use std::time::Duration;
//! use xen_restrict::{EventChannel, GuestId, IoRange, Port, PrivCmd, restrict_all};
//!
//! let guest: GuestId = "7".parse()?;
//! let privcmd = PrivCmd::open()?;
//! let events = EventChannel::open()?;
//!
//! // The kernel refuses every other domain from here on, and was probed.
//! restrict_all(guest)?;
//! let privcmd = privcmd.restrict(guest)?;
//! let events = events.restrict(guest)?;
//!
//! let server = privcmd.guest().create_ioreq_server(false)?;
//! server.map_range(&IoRange::Ports(0x500..=0x503))?;
//! let mut requests = server.start(&events, 1)?;
//! let mut queue = [Port::new(0); 16];
//! loop {
//!     let served = requests.serve(&events, Duration::MAX, &mut queue, |request| !request.data)?;
//!     events.unmask(served.others)?; // Nobody else has ports here.
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - A [`PrivCmd<Restricted>`](PrivCmd) or
//!   [`EventChannel<Restricted>`](EventChannel) exists only after the kernel
//!   accepted the restriction and a probe showed it in force.
//! - An error while restricting leaves no usable unrestricted descriptor that
//!   this crate owns: [`PrivCmd::restrict`], [`restrict_all`].
//! - No operation of a restricted handle takes a domid.
//! - After [`restrict_all`], opening a handle is an error, from any thread.
//! - A handle that still holds ports or memory of another domain is not
//!   restricted: [`Cause::Leftovers`] names them.
//! - Guest memory is copied, never borrowed: [`SharedMemory`].
//!
//! # What is not
//!
//! Descriptors that a caller duplicates out of a handle share its restriction,
//! but not its revocation. Handles that other code in the process opened are
//! not known here. The kernel leaves some requests of a restricted handle
//! unchecked (since Linux 6.6 one that takes any event channel port of dom0):
//! [`restrict_all`], [`EventChannel::kernel_holes`] and [`PrivCmd::kernel_holes`] name those
//! of the running kernel, and the project's `docs/kernel-holes.md` says what they are worth.
//! A process forked while another thread uses this crate may only call async-signal-safe
//! functions, as always.
//!
//! # Features
//!
//! - `tokio`: [`EventChannel`] in an async program, by `AsyncEventChannel`.
//!
//! # Platforms
//!
//! Linux 4.11 or later on Xen, 64-bit. Tested on real Xen: see the project's
//! `docs/lab.md` for the versions.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(test)]
mod allocations;
pub mod audit;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod benching;
pub mod broker;
pub mod confine;
mod device;
mod dm_op;
pub mod doctor;
mod error;
mod evtchn;
#[cfg(feature = "tokio")]
mod evtchn_tokio;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod gntalloc;
mod gntdev;
mod grant;
mod guest;
mod guest_copy;
mod handle;
mod handover;
mod holes;
mod hypercall;
mod ids;
mod io_request;
mod ioctl;
mod ioreq;
pub mod launch;
mod leftover;
mod memory;
mod mmap;
mod privcmd;
mod registry;
mod shared;
mod state;
mod xenstore;

pub use device::Device;
pub use dm_op::{
    CacheAttr, DM_OP_MAX_BUFFERS, Event, EventKind, MemType, PciAddress, ShutdownReason,
};
pub use error::{Cause, Error, Result};
pub use evtchn::{BoundPort, EventChannel};
#[cfg(feature = "tokio")]
pub use evtchn_tokio::AsyncEventChannel;
pub use gntalloc::{GrantAllocator, GrantedPages};
pub use gntdev::{CopySegment, GrantDevice, GrantedByte, MappedGrants};
pub use grant::{GrantError, UnmapNotify};
pub use guest::{Guest, GuestMemory, Resource, ResourceMapping};
pub use guest_copy::{GrantOffset, GuestCopy};
pub use handover::{
    EVENT_CHANNEL_NAME, GRANT_BROKER_NAME, GRANT_COPY_NAME, GRANT_DEVICE_NAME, Handover,
    HandoverError, PRIVCMD_NAME,
};
pub use holes::KernelHole;
pub use hypercall::HypercallBuffer;
pub use ids::{Gfn, GrantRef, GuestId, InvalidGuestId, IoreqServerId, Port};
pub use io_request::{BufferedRequests, IoKind, IoRequest, Served, VcpuRequests};
pub use ioreq::{IoRange, IoreqServer, MAX_VCPUS};
pub use leftover::{Held, Leftover};
pub use memory::{AccessError, MissingPage, SharedMemory};
pub use mmap::{Access, PAGE_SIZE};
pub use privcmd::PrivCmd;
pub use registry::restrict_all;
pub use state::{Restricted, Revoked, State, Unrestricted};
