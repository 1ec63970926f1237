// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the guest keeps what dom0 may look at. Frames are 4 KiB.

/// The status page.
pub(crate) const STATUS: u64 = 0x200;
/// The pattern page.
pub(crate) const PATTERN: u64 = 0x201;
/// First of the contiguous pages granted read-write.
pub(crate) const GRANTED_RW: u64 = 0x210;
pub(crate) const GRANTED_RW_COUNT: u64 = 8;
/// First of the contiguous pages granted read-only.
pub(crate) const GRANTED_RO: u64 = 0x220;
pub(crate) const GRANTED_RO_COUNT: u64 = 2;
/// First of many contiguous pages granted read-write.
pub(crate) const BULK: u64 = 0x400;
pub(crate) const BULK_COUNT: u64 = 512;
/// What the first of them says it is.
pub(crate) const BULK_BASE: u64 = 1024;
/// Where the guest asks Xen to put the shared info page and the grant table.
pub(crate) const SHARED_INFO: u64 = 0x230;
pub(crate) const GRANT_TABLE: u64 = 0x231;
/// Each has 512 entries.
pub(crate) const GRANT_TABLE_FRAMES: u64 = 2;

/// References below 8 are reserved by Xen's tools.
pub(crate) const FIRST_RW_REFERENCE: u64 = 8;
pub(crate) const FIRST_RO_REFERENCE: u64 = FIRST_RW_REFERENCE + GRANTED_RW_COUNT;
pub(crate) const FIRST_BULK_REFERENCE: u64 = 512;

/// The port and the address that nothing answers until a device model claims them.
pub(crate) const IO_PORT: u16 = 0x500;
/// The first serial port of a PC, which a PVH guest has only if a device model plays it.
pub(crate) const SERIAL: u16 = 0x3f8;
pub(crate) const SERIAL_LINE_STATUS: u16 = 5;
pub(crate) const SERIAL_EMPTY: u8 = 0x20;
pub(crate) const MMIO: u64 = 0xf000_0000;

pub(crate) const MAGIC: u64 = 0x5845_4e4c_4142_0001;

/// Byte offsets of the status page's words, each a little-endian u64.
pub(crate) mod word {
    pub(crate) const MAGIC: u64 = 0x00;
    pub(crate) const DOMID: u64 = 0x08;
    pub(crate) const COMMAND: u64 = 0x10;
    pub(crate) const ARGUMENT: u64 = 0x18;
    pub(crate) const DONE: u64 = 0x20;
    pub(crate) const ITERATIONS: u64 = 0x28;
    pub(crate) const ERRORS: u64 = 0x30;
    pub(crate) const RW_REFERENCE: u64 = 0x48;
    pub(crate) const RW_COUNT: u64 = 0x50;
    pub(crate) const RO_REFERENCE: u64 = 0x58;
    pub(crate) const RO_COUNT: u64 = 0x60;
    pub(crate) const RW_FRAME: u64 = 0x68;
    pub(crate) const RO_FRAME: u64 = 0x70;
    pub(crate) const PATTERN_FRAME: u64 = 0x78;
    pub(crate) const BULK_REFERENCE: u64 = 0xb0;
    pub(crate) const BULK_COUNT: u64 = 0xb8;
    pub(crate) const BULK_FRAME: u64 = 0xc0;
    /// The four ports, and for each the number of events received on it.
    pub(crate) const PORTS: [u64; 4] = [0x38, 0x80, 0x88, 0x90];
    pub(crate) const EVENTS: [u64; 4] = [0x40, 0x98, 0xa0, 0xa8];
}
