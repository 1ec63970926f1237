// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/privcmd` (Linux's `include/uapi/xen/privcmd.h`).

use crate::Request;

/// Issues a hypercall. Returns its result.
pub const HYPERCALL: Request<Hypercall> = Request::new(b'P', 0);
/// Maps machine frames; PV dom0 only.
pub const MMAP: Request<Mmap> = Request::new(b'P', 2);
/// Maps pages; errors are ORed into the array. Superseded by [`MMAPBATCH_V2`].
pub const MMAPBATCH: Request<MmapBatch> = Request::new(b'P', 3);
/// Maps pages; errors come in an array of their own.
pub const MMAPBATCH_V2: Request<MmapBatchV2> = Request::new(b'P', 4);
/// Issues a [`dm_op`](crate::dm_op) on one domain (Linux 4.11).
pub const DM_OP: Request<DmOp> = Request::new(b'P', 5);
/// Restricts the handle to a domain, for good (Linux 4.11).
///
/// Answers 0 to [`domid::INVALID`](crate::domid::INVALID) and restricts nothing.
pub const RESTRICT: Request<u16> = Request::new(b'P', 6);
/// Maps a resource of a domain, or tells its size (Linux 4.18).
pub const MMAP_RESOURCE: Request<MmapResource> = Request::new(b'P', 7);
/// Ties an eventfd to interrupts of a domain (Linux 6.6).
pub const IRQFD: Request<Irqfd> = Request::write(b'P', 8);
/// Ties eventfds to I/O requests of a domain (Linux 6.7).
pub const IOEVENTFD: Request<Ioeventfd> = Request::write(b'P', 9);
/// Tells the global system interrupt of a PCI device (Linux 6.12).
pub const PCIDEV_GET_GSI: Request<PcidevGetGsi> = Request::new(b'P', 10);

/// ORed into a frame of [`MMAPBATCH`] that could not be mapped.
pub const MMAPBATCH_MFN_ERROR: u32 = 0xF000_0000;
/// ORed into a frame of [`MMAPBATCH`] that is paged out.
pub const MMAPBATCH_PAGED_ERROR: u32 = 0x8000_0000;

/// `PRIVCMD_IRQFD_FLAG_DEASSIGN`, of [`Irqfd::flags`]: untie.
pub const IRQFD_FLAG_DEASSIGN: u32 = 1;
/// `PRIVCMD_IOEVENTFD_FLAG_DEASSIGN`, of [`Ioeventfd::flags`]: untie.
pub const IOEVENTFD_FLAG_DEASSIGN: u32 = 1;

abi! {
    /// `struct privcmd_hypercall`
    pub struct Hypercall: 48 {
        /// Number, see [`hypercall`](crate::hypercall).
        op: u64 = 0,
        /// Arguments; addresses are this process's.
        arg: [u64; 5] = 8,
    }

    /// `struct privcmd_mmap`
    pub struct Mmap: 16 {
        /// Number of entries; a C `int`, so at most `i32::MAX`.
        num: u32 = 0,
        /// The domain.
        dom: u16 = 4,
        /// Zero.
        pad: u16 = 6,
        /// Address of the [`MmapEntry`]s.
        entry: u64 = 8,
    }

    /// `struct privcmd_mmap_entry`
    pub struct MmapEntry: 24 {
        /// Where to map.
        va: u64 = 0,
        /// First machine frame.
        mfn: u64 = 8,
        /// Number of frames.
        npages: u64 = 16,
    }

    /// `struct privcmd_mmapbatch`
    pub struct MmapBatch: 24 {
        /// Number of frames; a C `int`, so at most `i32::MAX`.
        num: u32 = 0,
        /// The domain.
        dom: u16 = 4,
        /// Zero.
        pad: u16 = 6,
        /// Where to map.
        addr: u64 = 8,
        /// Address of the frame numbers (u64 each), changed on errors.
        arr: u64 = 16,
    }

    /// `struct privcmd_mmapbatch_v2`
    pub struct MmapBatchV2: 32 {
        /// Number of frames; the driver takes at most `i32::MAX`.
        num: u32 = 0,
        /// The domain.
        dom: u16 = 4,
        /// Zero.
        pad: u16 = 6,
        /// Where to map: the first call covers the whole mapping.
        addr: u64 = 8,
        /// Address of the frame numbers (u64 each).
        arr: u64 = 16,
        /// Address of the errors (i32 each, 0 or negative).
        err: u64 = 24,
    }

    /// `struct privcmd_dm_op_buf`
    pub struct DmOpBuf: 16 {
        /// Address; pinned for writing.
        uptr: u64 = 0,
        /// Bytes; at most 4096 by default (`dm_op_buf_max_size`).
        size: u64 = 8,
    }

    /// `struct privcmd_dm_op`
    pub struct DmOp: 16 {
        /// The domain.
        dom: u16 = 0,
        /// Number of buffers; at most 16 by default (`dm_op_max_nr_bufs`). With
        /// 0 the driver only compares the domain.
        num: u16 = 2,
        /// Zero.
        pad: u32 = 4,
        /// Address of the [`DmOpBuf`]s ([`list`](crate::list)); the first holds the operation.
        ubufs: u64 = 8,
    }

    /// `struct privcmd_mmap_resource`
    pub struct MmapResource: 32 {
        /// The domain.
        dom: u16 = 0,
        /// Zero.
        pad: u16 = 2,
        /// One of [`memory`](crate::memory)'s `RESOURCE_*`.
        type_: u32 = 4,
        /// Which one of the type.
        id: u32 = 8,
        /// First frame.
        idx: u32 = 12,
        /// Number of frames; with `addr` 0, out: how many there are.
        num: u64 = 16,
        /// Where to map, or 0. The driver does not compare the mapping's size.
        addr: u64 = 24,
    }

    /// `struct privcmd_irqfd`
    pub struct Irqfd: 24 {
        /// Address of a `dm_op`.
        dm_op: u64 = 0,
        /// Its size in bytes.
        size: u32 = 8,
        /// The eventfd.
        fd: u32 = 12,
        /// See [`IRQFD_FLAG_DEASSIGN`].
        flags: u32 = 16,
        /// The domain.
        dom: u16 = 20,
        /// Zero.
        pad: [u8; 2] = 22,
    }

    /// `struct privcmd_ioeventfd`
    pub struct Ioeventfd: 48 {
        /// Address of an ioreq server's mapped slots.
        ioreq: u64 = 0,
        /// Address of the vcpus' ports (u32 each).
        ports: u64 = 8,
        /// Guest physical address.
        addr: u64 = 16,
        /// Size of the access, in bytes.
        addr_len: u32 = 24,
        /// The eventfd.
        event_fd: u32 = 28,
        /// Number of vcpus.
        vcpus: u32 = 32,
        /// Which vq of a virtio device.
        vq: u32 = 36,
        /// See [`IOEVENTFD_FLAG_DEASSIGN`].
        flags: u32 = 40,
        /// The domain.
        dom: u16 = 44,
        /// Zero.
        pad: [u8; 2] = 46,
    }

    /// `struct privcmd_pcidev_get_gsi`
    pub struct PcidevGetGsi: 8 {
        /// In: segment << 16 | bus << 8 | device << 3 | function.
        sbdf: u32 = 0,
        /// Out.
        gsi: u32 = 4,
    }
}

const _: () = assert!(RESTRICT.number() == 0x0002_5006);
