// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device model's operations (Xen's `public/hvm/dm_op.h`): all of them.
//!
//! An operation is a [`Frame`] in the first buffer of a
//! [`privcmd::DmOp`](crate::privcmd::DmOp); a few have data in a second one.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Layout;

/// The argument of one operation.
pub trait Operation: Layout + FromBytes + IntoBytes + Immutable + KnownLayout + Copy {
    /// `XEN_DMOP_*`
    const OP: u32;
}

/// Defines the operations once: numbers, structs, and the enum over them all.
macro_rules! operations {
    ($( $(#[$meta:meta])* $op:ident = $number:literal: $body:ident, )*) => {
        $( $(#[$meta])* pub const $op: u32 = $number; )*

        $( impl Operation for $body { const OP: u32 = $op; } )*

        /// Any operation, as decoded from a buffer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AnyOperation<'b> {
            $( #[doc = concat!("[`", stringify!($op), "`]")] $body(&'b $body), )*
        }

        /// Reads the operation at the start of a buffer; `None` for one that is
        /// unknown or cut off, and for bytes that are not aligned to 8.
        #[must_use]
        pub fn decode(bytes: &[u8]) -> Option<AnyOperation<'_>> {
            let (header, rest) = Header::ref_from_prefix(bytes).ok()?;
            match header.op {
                $( $op => {
                    $body::ref_from_prefix(rest).ok().map(|(b, _)| AnyOperation::$body(b))
                } )*
                _ => None,
            }
        }

        /// Every operation's number, in order.
        pub const ALL: &[u32] = &[$( $op ),*];
    };
}

operations! {
    /// `XEN_DMOP_create_ioreq_server`
    CREATE_IOREQ_SERVER = 1: CreateIoreqServer,
    /// `XEN_DMOP_get_ioreq_server_info`
    GET_IOREQ_SERVER_INFO = 2: GetIoreqServerInfo,
    /// `XEN_DMOP_map_io_range_to_ioreq_server`
    MAP_IO_RANGE_TO_IOREQ_SERVER = 3: MapIoRangeToIoreqServer,
    /// `XEN_DMOP_unmap_io_range_from_ioreq_server`
    UNMAP_IO_RANGE_FROM_IOREQ_SERVER = 4: UnmapIoRangeFromIoreqServer,
    /// `XEN_DMOP_set_ioreq_server_state`
    SET_IOREQ_SERVER_STATE = 5: SetIoreqServerState,
    /// `XEN_DMOP_destroy_ioreq_server`
    DESTROY_IOREQ_SERVER = 6: DestroyIoreqServer,
    /// `XEN_DMOP_track_dirty_vram`; the second buffer is the bitmap.
    TRACK_DIRTY_VRAM = 7: TrackDirtyVram,
    /// `XEN_DMOP_set_pci_intx_level`
    SET_PCI_INTX_LEVEL = 8: SetPciIntxLevel,
    /// `XEN_DMOP_set_isa_irq_level`
    SET_ISA_IRQ_LEVEL = 9: SetIsaIrqLevel,
    /// `XEN_DMOP_set_pci_link_route`
    SET_PCI_LINK_ROUTE = 10: SetPciLinkRoute,
    /// `XEN_DMOP_modified_memory`; the second buffer holds the
    /// [`ModifiedMemoryExtent`]s.
    MODIFIED_MEMORY = 11: ModifiedMemory,
    /// `XEN_DMOP_set_mem_type`
    SET_MEM_TYPE = 12: SetMemType,
    /// `XEN_DMOP_inject_event`
    INJECT_EVENT = 13: InjectEvent,
    /// `XEN_DMOP_inject_msi`
    INJECT_MSI = 14: InjectMsi,
    /// `XEN_DMOP_map_mem_type_to_ioreq_server`
    MAP_MEM_TYPE_TO_IOREQ_SERVER = 15: MapMemTypeToIoreqServer,
    /// `XEN_DMOP_remote_shutdown`
    REMOTE_SHUTDOWN = 16: RemoteShutdown,
    /// `XEN_DMOP_relocate_memory`
    RELOCATE_MEMORY = 17: RelocateMemory,
    /// `XEN_DMOP_pin_memory_cacheattr`
    PIN_MEMORY_CACHEATTR = 18: PinMemoryCacheattr,
    /// `XEN_DMOP_set_irq_level` (Xen 4.15; Arm only)
    SET_IRQ_LEVEL = 19: SetIrqLevel,
    /// `XEN_DMOP_nr_vcpus` (Xen 4.15)
    NR_VCPUS = 20: NrVcpus,
}

/// `XEN_DMOP_no_gfns`, of [`GetIoreqServerInfo::flags`]: only the port is asked for.
pub const NO_GFNS: u16 = 1;
/// `XEN_DMOP_IO_RANGE_PORT`, of [`IoreqServerRange::type_`]
pub const IO_RANGE_PORT: u32 = 0;
/// `XEN_DMOP_IO_RANGE_MEMORY`
pub const IO_RANGE_MEMORY: u32 = 1;
/// `XEN_DMOP_IO_RANGE_PCI`; see [`pci_sbdf`].
pub const IO_RANGE_PCI: u32 = 2;
/// `XEN_DMOP_EVENT_ext_int`, of [`InjectEvent::type_`]
pub const EVENT_EXT_INT: u8 = 0;
/// `XEN_DMOP_EVENT_nmi`
pub const EVENT_NMI: u8 = 2;
/// `XEN_DMOP_EVENT_hw_exc`
pub const EVENT_HW_EXC: u8 = 3;
/// `XEN_DMOP_EVENT_sw_int`
pub const EVENT_SW_INT: u8 = 4;
/// `XEN_DMOP_EVENT_pri_sw_exc`
pub const EVENT_PRI_SW_EXC: u8 = 5;
/// `XEN_DMOP_EVENT_sw_exc`
pub const EVENT_SW_EXC: u8 = 6;
/// `XEN_DMOP_IOREQ_MEM_ACCESS_READ`, of [`MapMemTypeToIoreqServer::flags`]
pub const IOREQ_MEM_ACCESS_READ: u32 = 1;
/// `XEN_DMOP_IOREQ_MEM_ACCESS_WRITE`
pub const IOREQ_MEM_ACCESS_WRITE: u32 = 2;
/// `XEN_DMOP_MEM_CACHEATTR_UC`, of [`PinMemoryCacheattr::type_`]
pub const MEM_CACHEATTR_UC: u32 = 0;
/// `XEN_DMOP_MEM_CACHEATTR_WC`
pub const MEM_CACHEATTR_WC: u32 = 1;
/// `XEN_DMOP_MEM_CACHEATTR_WT`
pub const MEM_CACHEATTR_WT: u32 = 4;
/// `XEN_DMOP_MEM_CACHEATTR_WP`
pub const MEM_CACHEATTR_WP: u32 = 5;
/// `XEN_DMOP_MEM_CACHEATTR_WB`
pub const MEM_CACHEATTR_WB: u32 = 6;
/// `XEN_DMOP_MEM_CACHEATTR_UCM`
pub const MEM_CACHEATTR_UCM: u32 = 7;
/// `XEN_DMOP_DELETE_MEM_CACHEATTR`
pub const DELETE_MEM_CACHEATTR: u32 = u32::MAX;

/// `XEN_DMOP_PCI_SBDF`: a PCI function as the start and end of a range.
#[must_use]
pub const fn pci_sbdf(segment: u16, bus: u8, device: u8, function: u8) -> u32 {
    (segment as u32) << 16 | (bus as u32) << 8 | (device as u32 & 0x1F) << 3 | (function as u32 & 7)
}

/// What every operation starts with: `struct xen_dm_op` up to its union.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct Header {
    /// One of [`ALL`].
    pub op: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Header>() == 8 && core::mem::offset_of!(Header, pad) == 4);

impl Layout for Header {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    const FIELDS: &'static [(&'static str, usize)] = &[("op", 0), ("pad", 4)];
}

abi! {
    /// `struct xen_dm_op_create_ioreq_server`
    pub struct CreateIoreqServer: 6 {
        /// In: one of `HVM_IOREQSRV_BUFIOREQ_*`.
        handle_bufioreq: u8 = 0,
        /// Zero.
        pad: [u8; 3] = 1,
        /// Out: the server.
        id: u16 = 4,
    }

    /// `struct xen_dm_op_get_ioreq_server_info`
    pub struct GetIoreqServerInfo: 24 {
        /// In: the server.
        id: u16 = 0,
        /// In: 0 or [`NO_GFNS`].
        flags: u16 = 2,
        /// Out: port of buffered requests.
        bufioreq_port: u32 = 4,
        /// Out: page of the slots (gfn).
        ioreq_gfn: u64 = 8,
        /// Out: page of buffered requests (gfn).
        bufioreq_gfn: u64 = 16,
    }

    /// `struct xen_dm_op_ioreq_server_range`
    pub struct IoreqServerRange: 24 {
        /// The server.
        id: u16 = 0,
        /// Zero.
        pad: u16 = 2,
        /// One of `IO_RANGE_*`: `type` in C.
        type_: u32 = 4,
        /// First.
        start: u64 = 8,
        /// Last.
        end: u64 = 16,
    }

    /// `struct xen_dm_op_set_ioreq_server_state`
    pub struct SetIoreqServerState: 4 {
        /// The server.
        id: u16 = 0,
        /// 0 or 1.
        enabled: u8 = 2,
        /// Zero.
        pad: u8 = 3,
    }

    /// `struct xen_dm_op_destroy_ioreq_server`
    pub struct DestroyIoreqServer: 4 {
        /// The server.
        id: u16 = 0,
        /// Zero.
        pad: u16 = 2,
    }

    /// `struct xen_dm_op_track_dirty_vram`
    pub struct TrackDirtyVram: 16 {
        /// Number of pages; 0 ends it.
        nr: u32 = 0,
        /// Zero.
        pad: u32 = 4,
        /// First page (gfn).
        first_pfn: u64 = 8,
    }

    /// `struct xen_dm_op_set_pci_intx_level`
    pub struct SetPciIntxLevel: 6 {
        /// Segment: 0.
        domain: u16 = 0,
        /// Bus: 0.
        bus: u8 = 2,
        /// Device: 0 to 31.
        device: u8 = 3,
        /// Line: 0 to 3.
        intx: u8 = 4,
        /// 0 or 1.
        level: u8 = 5,
    }

    /// `struct xen_dm_op_set_isa_irq_level`
    pub struct SetIsaIrqLevel: 2 {
        /// 0 to 15.
        isa_irq: u8 = 0,
        /// 0 or 1.
        level: u8 = 1,
    }

    /// `struct xen_dm_op_set_pci_link_route`
    pub struct SetPciLinkRoute: 2 {
        /// 0 to 3.
        link: u8 = 0,
        /// 1 to 15; 0 disables.
        isa_irq: u8 = 1,
    }

    /// `struct xen_dm_op_modified_memory`
    pub struct ModifiedMemory: 8 {
        /// In: number of extents. Out: one more than the one that failed.
        nr_extents: u32 = 0,
        /// Zero.
        opaque: u32 = 4,
    }

    /// `struct xen_dm_op_modified_memory_extent`
    pub struct ModifiedMemoryExtent: 16 {
        /// Number of pages.
        nr: u32 = 0,
        /// Zero.
        pad: u32 = 4,
        /// First page (gfn).
        first_pfn: u64 = 8,
    }

    /// `struct xen_dm_op_set_mem_type`
    pub struct SetMemType: 16 {
        /// Number of pages.
        nr: u32 = 0,
        /// One of [`hvm_op`](crate::hvm_op)'s `HVMMEM_*`.
        mem_type: u16 = 4,
        /// Zero.
        pad: u16 = 6,
        /// First page (gfn).
        first_pfn: u64 = 8,
    }

    /// `struct xen_dm_op_inject_event`
    pub struct InjectEvent: 24 {
        /// The vcpu.
        vcpuid: u32 = 0,
        /// The vector.
        vector: u8 = 4,
        /// One of `EVENT_*`: `type` in C.
        type_: u8 = 5,
        /// Length of the instruction, in bytes.
        insn_len: u8 = 6,
        /// Zero.
        pad0: u8 = 7,
        /// Error code, or all ones for none.
        error_code: u32 = 8,
        /// Zero.
        pad1: u32 = 12,
        /// Page fault address, or for #DB the pending bits.
        cr2: u64 = 16,
    }

    /// `struct xen_dm_op_inject_msi`
    pub struct InjectMsi: 16 {
        /// Data.
        data: u32 = 0,
        /// Zero.
        pad: u32 = 4,
        /// Address: 0xFEExxxxx.
        addr: u64 = 8,
    }

    /// `struct xen_dm_op_map_mem_type_to_ioreq_server`
    pub struct MapMemTypeToIoreqServer: 16 {
        /// The server.
        id: u16 = 0,
        /// One of `HVMMEM_*`: `type` in C.
        type_: u16 = 2,
        /// `IOREQ_MEM_ACCESS_*`; 0 gives the type up.
        flags: u32 = 4,
        /// Zero.
        opaque: u64 = 8,
    }

    /// `struct xen_dm_op_remote_shutdown`
    pub struct RemoteShutdown: 4 {
        /// One of [`sched`](crate::sched)'s `SHUTDOWN_*`.
        reason: u32 = 0,
    }

    /// `struct xen_dm_op_relocate_memory`
    pub struct RelocateMemory: 24 {
        /// Number of pages.
        size: u32 = 0,
        /// Zero.
        pad: u32 = 4,
        /// First page before.
        src_gfn: u64 = 8,
        /// First page after.
        dst_gfn: u64 = 16,
    }

    /// `struct xen_dm_op_pin_memory_cacheattr`
    pub struct PinMemoryCacheattr: 24 {
        /// First page (gfn).
        start: u64 = 0,
        /// Last page (gfn).
        end: u64 = 8,
        /// One of `MEM_CACHEATTR_*`, or [`DELETE_MEM_CACHEATTR`]: `type` in C.
        type_: u32 = 16,
        /// Zero.
        pad: u32 = 20,
    }

    /// `struct xen_dm_op_set_irq_level`
    pub struct SetIrqLevel: 8 {
        /// A shared peripheral interrupt.
        irq: u32 = 0,
        /// 0 or 1.
        level: u8 = 4,
        /// Zero.
        pad: [u8; 3] = 5,
    }

    /// `struct xen_dm_op_nr_vcpus`
    pub struct NrVcpus: 4 {
        /// Out.
        vcpus: u32 = 0,
    }
}

/// Gives an operation that shares its struct with another a type of its own.
macro_rules! range_operation {
    ($( $(#[$meta:meta])* $name:ident, )*) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq,
            FromBytes, IntoBytes, Immutable, KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub IoreqServerRange);

        impl Layout for $name {
            const SIZE: usize = IoreqServerRange::SIZE;
            const ALIGN: usize = IoreqServerRange::ALIGN;
            const FIELDS: &'static [(&'static str, usize)] = IoreqServerRange::FIELDS;
        }
    )*};
}

range_operation! {
    /// The range that [`MAP_IO_RANGE_TO_IOREQ_SERVER`] claims.
    MapIoRangeToIoreqServer,
    /// The range that [`UNMAP_IO_RANGE_FROM_IOREQ_SERVER`] gives up.
    UnmapIoRangeFromIoreqServer,
}

/// Bytes of the largest operation with its header.
pub const MAX_SIZE: usize = size_of::<Header>() + 24;

/// An operation as Xen reads it: number, padding, argument, and no byte more.
/// Xen writes its answer into the same bytes.
///
/// ```
/// use xen_sys::dm_op::{Frame, NrVcpus};
/// let mut frame = Frame::new(&NrVcpus::default());
/// assert_eq!(frame.as_bytes(), [20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
/// frame.as_mut_bytes()[8] = 4;
/// assert_eq!(frame.body().vcpus, 4);
/// ```
#[derive(Clone, Debug)]
pub struct Frame<T> {
    words: [u64; MAX_SIZE / 8],
    body: PhantomData<T>,
}

impl<T: Operation> Frame<T> {
    const SIZE: usize = size_of::<Header>() + size_of::<T>();

    /// Puts the operation's number in front of its argument.
    #[must_use]
    pub fn new(body: &T) -> Self {
        const { assert!(Self::SIZE <= MAX_SIZE) };
        let header = Header { op: T::OP, pad: 0 };
        let mut frame = Self {
            words: [0; MAX_SIZE / 8],
            body: PhantomData,
        };
        let (front, back) = frame.as_mut_bytes().split_at_mut(size_of::<Header>());
        front.copy_from_slice(header.as_bytes());
        back.copy_from_slice(body.as_bytes());
        frame
    }

    /// The bytes for Xen to read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.words.as_bytes()[..Self::SIZE]
    }

    /// The bytes for Xen to read and write.
    #[must_use]
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..Self::SIZE]
    }

    /// The argument, with what Xen wrote.
    #[must_use]
    pub fn body(&self) -> T {
        let mut body = T::new_zeroed();
        let bytes = &self.as_bytes()[size_of::<Header>()..];
        body.as_mut_bytes().copy_from_slice(bytes);
        body
    }
}
