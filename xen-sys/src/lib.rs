// SPDX-License-Identifier: MIT OR Apache-2.0
//! The raw ABI of Xen's Linux devices and of a device model's hypercalls: what
//! the bytes are. What they mean is `xen-restrict`'s business.
//!
//! No `std`, no I/O, no unsafe code, no policy. Structs have their padding as
//! fields and derive zerocopy's traits, so that they are made from bytes and
//! seen as bytes without copying. Lists behind a struct are encoded and decoded
//! in place, bounds checked, without allocation.
//!
//! Each number, size and offset is compared with the C headers by a test
//! (`tests/headers`), and asserted where it is written.
//!
//! 64-bit Linux only: `x86_64` and `aarch64`. Addresses are `u64`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the layouts are those of 64-bit Linux");

#[macro_use]
mod layout;
mod request;
mod tail;

pub mod dm_op;
pub mod domid;
pub mod event_channel;
pub mod evtchn;
pub mod gntalloc;
pub mod gntdev;
pub mod grant_table;
pub mod hvm_op;
pub mod hypercall;
pub mod ioreq;
pub mod list;
pub mod memory;
pub mod multicall;
pub mod privcmd;
pub mod sched;
pub mod version;

pub use layout::Layout;
pub use request::Request;
