// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that somebody else reads and writes at the same time: volatile words only.

/// A word of physical memory; all of the first 4 GiB is mapped to itself.
pub(crate) fn read(address: u64) -> u64 {
    // SAFETY: callers pass aligned addresses of pages that layout.rs sets aside, which are
    // RAM, mapped, and never referred to by Rust references.
    unsafe { (address as *const u64).read_volatile() }
}

pub(crate) fn write(address: u64, value: u64) {
    // SAFETY: as in `read`.
    unsafe { (address as *mut u64).write_volatile(value) }
}

pub(crate) fn read32(address: u64) -> u32 {
    // SAFETY: as in `read`; the MMIO address is mapped too, and Xen answers for it.
    unsafe { (address as *const u32).read_volatile() }
}

pub(crate) fn write32(address: u64, value: u32) {
    // SAFETY: as in `read32`.
    unsafe { (address as *mut u32).write_volatile(value) }
}

pub(crate) fn read8(address: u64) -> u8 {
    // SAFETY: as in `read`.
    unsafe { (address as *const u8).read_volatile() }
}

pub(crate) fn write8(address: u64, value: u8) {
    // SAFETY: as in `read`.
    unsafe { (address as *mut u8).write_volatile(value) }
}

/// Fills a page with `tag` plus the byte offset of each word.
pub(crate) fn fill(frame: u64, tag: u64) {
    for offset in (0..4096).step_by(8) {
        write(frame * 4096 + offset, tag | offset);
    }
}
