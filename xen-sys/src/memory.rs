// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `memory_op` hypercall (Xen's `public/memory.h`), and the resources that
//! [`privcmd::MMAP_RESOURCE`](crate::privcmd::MMAP_RESOURCE) maps.

/// `XENMEM_increase_reservation`
pub const INCREASE_RESERVATION: u32 = 0;
/// `XENMEM_decrease_reservation`
pub const DECREASE_RESERVATION: u32 = 1;
/// `XENMEM_populate_physmap`: gives a domain memory at given frames.
pub const POPULATE_PHYSMAP: u32 = 6;
/// `XENMEM_add_to_physmap`: see [`AddToPhysmap`].
pub const ADD_TO_PHYSMAP: u32 = 7;
/// `XENMEM_maximum_gpfn`: returns a domain's highest frame.
pub const MAXIMUM_GPFN: u32 = 14;
/// `XENMEM_remove_from_physmap`: see [`RemoveFromPhysmap`].
pub const REMOVE_FROM_PHYSMAP: u32 = 15;
/// `XENMEM_add_to_physmap_batch`: see [`AddToPhysmapBatch`].
pub const ADD_TO_PHYSMAP_BATCH: u32 = 23;
/// `XENMEM_acquire_resource`: see [`AcquireResource`].
pub const ACQUIRE_RESOURCE: u32 = 28;

/// `XENMEM_resource_ioreq_server`: an ioreq server's pages; the id is the server.
pub const RESOURCE_IOREQ_SERVER: u32 = 0;
/// `XENMEM_resource_grant_table`: the id is one of `GRANT_TABLE_ID_*`.
pub const RESOURCE_GRANT_TABLE: u32 = 1;
/// `XENMEM_resource_vmtrace_buf`: the id is the vcpu (Xen 4.15).
pub const RESOURCE_VMTRACE_BUF: u32 = 2;

/// `XENMEM_resource_ioreq_server_frame_bufioreq`: the page of buffered requests.
pub const IOREQ_SERVER_FRAME_BUFIOREQ: u32 = 0;
/// `XENMEM_resource_grant_table_id_shared`: the table's entries.
pub const GRANT_TABLE_ID_SHARED: u32 = 0;
/// `XENMEM_resource_grant_table_id_status`: the status words of version 2.
pub const GRANT_TABLE_ID_STATUS: u32 = 1;

/// `XENMEM_resource_ioreq_server_frame_ioreq(n)`: the `n`th page of request
/// slots; 128 vcpus a page.
#[must_use]
pub const fn ioreq_server_frame_ioreq(n: u32) -> u32 {
    1 + n
}

/// `XENMAPSPACE_shared_info`
pub const MAPSPACE_SHARED_INFO: u32 = 0;
/// `XENMAPSPACE_grant_table`: the index is the frame of the table.
pub const MAPSPACE_GRANT_TABLE: u32 = 1;
/// `XENMAPSPACE_gmfn`: the index is a frame of the domain's own.
pub const MAPSPACE_GMFN: u32 = 2;
/// `XENMAPSPACE_gmfn_range`: so many from the index on; [`ADD_TO_PHYSMAP`] only.
pub const MAPSPACE_GMFN_RANGE: u32 = 3;
/// `XENMAPSPACE_gmfn_foreign`: the indices are frames of another domain's;
/// [`ADD_TO_PHYSMAP_BATCH`] only.
pub const MAPSPACE_GMFN_FOREIGN: u32 = 4;

abi! {
    /// `struct xen_memory_reservation`
    pub struct Reservation: 32 {
        /// Address of the frame numbers (u64 each).
        extent_start: u64 = 0,
        /// How many extents.
        nr_extents: u64 = 8,
        /// Log2 of an extent's pages.
        extent_order: u32 = 16,
        /// `XENMEMF_*`.
        mem_flags: u32 = 20,
        /// The domain.
        domid: u16 = 24,
        /// Zero.
        pad: [u16; 3] = 26,
    }

    /// `struct xen_add_to_physmap`
    pub struct AddToPhysmap: 24 {
        /// The domain.
        domid: u16 = 0,
        /// How many, for [`MAPSPACE_GMFN_RANGE`]; else 0.
        size: u16 = 2,
        /// One of `MAPSPACE_*`.
        space: u32 = 4,
        /// Index in the space.
        idx: u64 = 8,
        /// Where it shall appear (gfn).
        gpfn: u64 = 16,
    }

    /// `struct xen_add_to_physmap_batch`
    pub struct AddToPhysmapBatch: 32 {
        /// The domain.
        domid: u16 = 0,
        /// One of `MAPSPACE_*`.
        space: u16 = 2,
        /// Number of pages.
        size: u16 = 4,
        /// For [`MAPSPACE_GMFN_FOREIGN`] the other domain, else 0: in C in a union.
        foreign_domid: u16 = 6,
        /// Address of the indices (u64 each).
        idxs: u64 = 8,
        /// Address of the frames where they shall appear (gfn, u64 each).
        gpfns: u64 = 16,
        /// Address of room for the errors (i32 each).
        errs: u64 = 24,
    }

    /// `struct xen_remove_from_physmap`
    pub struct RemoveFromPhysmap: 16 {
        /// The domain.
        domid: u16 = 0,
        /// Zero.
        pad: [u16; 3] = 2,
        /// The frame (gfn).
        gpfn: u64 = 8,
    }

    /// `struct xen_mem_acquire_resource`
    pub struct AcquireResource: 32 {
        /// The domain.
        domid: u16 = 0,
        /// One of `RESOURCE_*`: `type` in C.
        type_: u16 = 2,
        /// Which one of the type.
        id: u32 = 4,
        /// Number of frames; with no list, out: how many there are.
        nr_frames: u32 = 8,
        /// Zero.
        pad: u32 = 12,
        /// First frame.
        frame: u64 = 16,
        /// Address of the frame numbers (u64 each), or 0.
        frame_list: u64 = 24,
    }
}
