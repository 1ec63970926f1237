// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages that an ioreq server shares with Xen (Xen's `public/hvm/ioreq.h`).
//!
//! Xen and the device model both write to them: read each field once.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Layout;

/// [`Ioreq::flags`], low four bits: no request.
pub const STATE_IOREQ_NONE: u8 = 0;
/// A request waits for the device model.
pub const STATE_IOREQ_READY: u8 = 1;
/// The device model has seen it.
pub const STATE_IOREQ_INPROCESS: u8 = 2;
/// It is answered, and waits for Xen.
pub const STATE_IORESP_READY: u8 = 3;

/// The bits of [`Ioreq::flags`] that hold the state.
pub const FLAGS_STATE: u8 = 0xF;
/// [`Ioreq::flags`]: `data` is a guest physical address.
pub const FLAG_DATA_IS_PTR: u8 = 1 << 4;
/// [`Ioreq::flags`]: `dir`, the guest reads.
pub const FLAG_DIR: u8 = 1 << 5;
/// [`Ioreq::flags`]: `df`, addresses go down.
pub const FLAG_DF: u8 = 1 << 6;

/// `dir` of a read.
pub const IOREQ_READ: u8 = 1;
/// `dir` of a write.
pub const IOREQ_WRITE: u8 = 0;

/// [`Ioreq::type_`]: an I/O port.
pub const IOREQ_TYPE_PIO: u8 = 0;
/// A guest physical address.
pub const IOREQ_TYPE_COPY: u8 = 1;
/// PCI configuration space: segment, bus, device and function in the high half
/// of the address.
pub const IOREQ_TYPE_PCI_CONFIG: u8 = 2;
/// The guest's clock was changed by `data` seconds.
pub const IOREQ_TYPE_TIMEOFFSET: u8 = 7;
/// Mappings of guest memory shall be dropped.
pub const IOREQ_TYPE_INVALIDATE: u8 = 8;

/// `handle_bufioreq` of [`CreateIoreqServer`](crate::dm_op::CreateIoreqServer):
/// no buffered requests.
pub const HVM_IOREQSRV_BUFIOREQ_OFF: u8 = 0;
/// Buffered requests; pointers that only grow.
pub const HVM_IOREQSRV_BUFIOREQ_LEGACY: u8 = 1;
/// Buffered requests; Xen wraps both pointers at once, so they must be updated
/// atomically.
pub const HVM_IOREQSRV_BUFIOREQ_ATOMIC: u8 = 2;

/// Slots of a [`BufferedIopage`].
pub const IOREQ_BUFFER_SLOT_NUM: u32 = 511;
/// Slots of a page of [`Ioreq`]s: `struct shared_iopage`.
pub const IOREQS_PER_PAGE: usize = 4096 / size_of::<Ioreq>();

abi! {
    /// `struct ioreq`: one vcpu's request.
    pub struct Ioreq: 32 {
        /// Port or guest physical address.
        addr: u64 = 0,
        /// Data, or its guest physical address.
        data: u64 = 8,
        /// Number of accesses.
        count: u32 = 16,
        /// Bytes of each.
        size: u32 = 20,
        /// The port that the device model binds to.
        vp_eport: u32 = 24,
        /// Zero: `_pad0` in C.
        pad0: u16 = 28,
        /// `state`, `data_is_ptr`, `dir`, `df`: bit-fields in C.
        flags: u8 = 30,
        /// One of `IOREQ_TYPE_*`: `type` in C.
        type_: u8 = 31,
    }

    /// `struct buf_ioreq`: a write that needs no answer.
    pub struct BufIoreq: 8 {
        /// One of `IOREQ_TYPE_*`: `type` in C.
        type_: u8 = 0,
        /// `dir`, `size` and `addr`: bit-fields in C.
        packed: [u8; 3] = 1,
        /// Data, or half of it.
        data: u32 = 4,
    }
}

impl Ioreq {
    /// One of `STATE_*`, or what nobody writes.
    #[must_use]
    pub const fn state(&self) -> u8 {
        self.flags & FLAGS_STATE
    }
}

impl BufIoreq {
    /// Packs a request; `None` when `size_log2` is above 3 or `addr` above
    /// 0xFFFFF.
    #[must_use]
    pub const fn new(type_: u8, read: bool, size_log2: u8, addr: u32, data: u32) -> Option<Self> {
        if size_log2 > 3 || addr > 0xF_FFFF {
            return None;
        }
        let [a0, a1, a2, _] = (addr << 4).to_le_bytes();
        let packed = [(read as u8) << 1 | size_log2 << 2 | a0, a1, a2];
        Some(Self {
            type_,
            packed,
            data,
        })
    }

    /// Whether the guest reads.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.packed[0] & 2 != 0
    }

    /// Log2 of the size in bytes: 0 to 3. With 3 the next slot's `data` is the
    /// high half.
    #[must_use]
    pub const fn size_log2(&self) -> u8 {
        self.packed[0] >> 2 & 3
    }

    /// Port or guest physical address: 20 bits.
    #[must_use]
    pub const fn addr(&self) -> u32 {
        let [p0, p1, p2] = self.packed;
        u32::from_le_bytes([p0, p1, p2, 0]) >> 4
    }
}

/// `struct buffered_iopage`: a ring of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BufferedIopage {
    /// What the device model has taken; it alone writes it, but Xen wraps it.
    pub read_pointer: u32,
    /// What Xen has put.
    pub write_pointer: u32,
    /// The slots; a pointer modulo their number is the index.
    pub buf_ioreq: [BufIoreq; IOREQ_BUFFER_SLOT_NUM as usize],
}

impl Layout for BufferedIopage {
    const SIZE: usize = 4096;
    const ALIGN: usize = 4;
    const FIELDS: &'static [(&'static str, usize)] =
        &[("read_pointer", 0), ("write_pointer", 4), ("buf_ioreq", 8)];
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<BufferedIopage>() == 4096 && align_of::<BufferedIopage>() == 4);
    assert!(offset_of!(BufferedIopage, write_pointer) == 4);
    assert!(offset_of!(BufferedIopage, buf_ioreq) == 8);
    assert!(IOREQS_PER_PAGE == 128);
};
