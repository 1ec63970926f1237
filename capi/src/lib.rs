// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C interface of xen-restrict. What is said in `///` here is the documentation of the
//! header, `include/xen_restrict.h`, which a test makes of this source.
//!
//! A function of C is one call of `guard`, which no panic passes. It gets what handles
//! stand for from `handle`, and its arguments by `arguments`.
#![allow(non_camel_case_types, reason = "names of C")]
#![allow(
    clippy::missing_safety_doc,
    reason = "what C's callers promise is said once, at the head of the header"
)]

// The border.
mod arguments;
mod failure;
mod guard;
mod table;

// The header has things in this order.
mod version;

mod handle;

mod privcmd;

mod guest;

mod dm_op;

mod dm_op_raw;

mod memory;

mod evtchn;

mod ioreq;

mod requests;

mod grants;

mod handover;

mod seal;

mod launch;

mod identity;

mod audit;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

pub use audit::*;
pub use dm_op::*;
pub use dm_op_raw::*;
pub use evtchn::*;
pub use grants::*;
pub use guest::*;
pub use handle::xr_close;
pub use handover::*;
pub use identity::*;
pub use ioreq::*;
pub use launch::*;
pub use memory::*;
pub use privcmd::*;
pub use requests::*;
pub use seal::*;
pub use version::*;

/// A handle on /dev/xen/privcmd.
pub struct xr_privcmd(());

/// One guest, seen through a handle on privcmd.
pub struct xr_guest(());

/// A handle on /dev/xen/evtchn: bound ports, and a queue of those with an event.
pub struct xr_evtchn(());

/// A local event channel port that is bound. Closing unbinds it.
pub struct xr_port(());

/// A handle on /dev/xen/gntdev: pages that other domains granted.
pub struct xr_gntdev(());

/// A handle on /dev/xen/gntalloc: granting own pages to other domains.
pub struct xr_gntalloc(());

/// Mapped pages that somebody else may change at any moment. Closing unmaps them.
pub struct xr_memory(());

/// A server of a guest's I/O requests. Closing destroys it.
pub struct xr_ioreq_server(());

/// The I/O requests of a server's virtual processors. Closing unmaps and unbinds them.
pub struct xr_requests(());

/// The queue of a server's writes that need no answer.
pub struct xr_buffered(());

/// A program that was launched confined, and its supervisor. Closing leaves both running.
pub struct xr_program(());
