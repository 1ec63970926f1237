// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domain numbers that are not a guest's (Xen's `public/xen.h`).

/// The administrative domain, on most systems.
pub const DOM0: u16 = 0;
/// `DOMID_FIRST_RESERVED`: numbers from here on are no domains.
pub const FIRST_RESERVED: u16 = 0x7FF0;
/// `DOMID_SELF`: the caller's own domain.
pub const SELF: u16 = 0x7FF0;
/// `DOMID_IO`: owner of I/O memory.
pub const IO: u16 = 0x7FF1;
/// `DOMID_XEN`: owner of Xen's own shared pages.
pub const XEN: u16 = 0x7FF2;
/// `DOMID_COW`: owner of copy-on-write pages.
pub const COW: u16 = 0x7FF3;
/// `DOMID_INVALID`: no domain. Linux takes it for "not restricted".
pub const INVALID: u16 = 0x7FF4;
/// `DOMID_IDLE`: Xen's idle domain.
pub const IDLE: u16 = 0x7FFF;
