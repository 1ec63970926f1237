// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each item of the crate is in C.

use xen_sys::{
    Layout, dm_op, domid, event_channel, evtchn, gntalloc, gntdev, grant_table, hvm_op, hypercall,
    ioreq, memory, multicall, privcmd, sched, version,
};

/// One value, here and in C.
pub(crate) struct Check {
    /// `module::NAME`, as the source defines it.
    pub(crate) item: String,
    /// The item, and which property of it.
    pub(crate) name: String,
    pub(crate) value: u64,
    /// An expression with the value.
    pub(crate) c: String,
    /// A macro that only headers which have this define.
    pub(crate) newer_than: Option<&'static str>,
}

/// What headers may lack: the macro that has the item's name, and the version of
/// Linux that brought it.
pub(crate) const NEWER: &[(&str, (u64, u64))] = &[
    ("IOCTL_PRIVCMD_IRQFD", (6, 6)),
    ("PRIVCMD_IRQFD_FLAG_DEASSIGN", (6, 6)),
    ("IOCTL_EVTCHN_BIND_STATIC", (6, 6)),
    ("IOCTL_PRIVCMD_IOEVENTFD", (6, 7)),
    ("PRIVCMD_IOEVENTFD_FLAG_DEASSIGN", (6, 7)),
    ("IOCTL_PRIVCMD_PCIDEV_GET_GSI", (6, 12)),
];

/// Items with no counterpart in C to compare with, and why.
pub(crate) const EXEMPT: &[(&str, &str)] = &[
    ("request::Request", "numbers are compared one by one"),
    (
        "dm_op::Frame",
        "bytes of a header and a body, which are compared",
    ),
    ("dm_op::ALL", "made of the numbers that are compared"),
    (
        "dm_op::MAX_SIZE",
        "asserted against every body when compiling",
    ),
    ("dm_op::SIZE", "a private sum"),
    (
        "ioreq::IOREQS_PER_PAGE",
        "made of the size that is compared",
    ),
];

struct Table(Vec<Check>);

impl Table {
    fn add(&mut self, item: &str, what: &str, value: u64, c: String, newer: Option<&'static str>) {
        self.0.push(Check {
            item: item.to_owned(),
            name: format!("{item}{what}"),
            value,
            c,
            newer_than: newer,
        });
    }

    /// Size, alignment, and every field's offset. `names` gives the fields that
    /// C calls otherwise; "" is padding that C does not name. With `tail`, C's
    /// struct goes on with one element of a list, which ours leaves out.
    fn layout<T: Layout>(
        &mut self,
        item: &str,
        c: &str,
        names: &[(&str, &str)],
        tail: Option<&str>,
        newer: Option<&'static str>,
    ) {
        let size = tail.map_or(format!("sizeof({c})"), |tail| {
            format!("offsetof({c}, {tail})")
        });
        self.add(item, " size", T::SIZE as u64, size, newer);
        self.add(
            item,
            " alignment",
            T::ALIGN as u64,
            format!("_Alignof({c})"),
            newer,
        );
        for (field, offset) in T::FIELDS {
            let renamed = names.iter().find(|(ours, _)| ours == field);
            let name = renamed.map_or(*field, |(_, c)| *c);
            if !name.is_empty() {
                let at = format!("offsetof({c}, {name})");
                self.add(item, &format!(".{field}"), *offset as u64, at, newer);
            }
        }
    }
}

macro_rules! constants {
    ($table:ident, $module:ident: $( $name:ident = $c:expr, )*) => {$(
        $table.add(
            concat!(stringify!($module), "::", stringify!($name)),
            "", $module::$name as u64, format!("{}", $c), None,
        );
    )*};
}

macro_rules! requests {
    ($table:ident, $module:ident: $( $name:ident = $c:literal $($newer:ident)?, )*) => {$(
        $table.add(
            concat!(stringify!($module), "::", stringify!($name)),
            "", $module::$name.number() as u64, $c.into(), None $( .or(requests!(@$newer $c)) )?,
        );
    )*};
    (@newer $c:literal) => { Some($c) };
}

macro_rules! structs {
    ($table:ident, $module:ident: $(
        $name:ident = $c:literal
        $([$($ours:literal = $theirs:literal),*])? $(then $tail:literal)? $(since $newer:literal)?,
    )*) => {$(
        $table.layout::<$module::$name>(
            concat!(stringify!($module), "::", stringify!($name)),
            $c,
            &[$($( ($ours, $theirs) ),*)?],
            None::<&str> $( .or(Some($tail)) )?,
            None::<&'static str> $( .or(Some($newer)) )?,
        );
    )*};
}

/// Flags of `bitflags!`: listed under the module, as the source defines them.
macro_rules! flags {
    ($table:ident, $module:ident::$set:ident: $( $name:ident = $c:literal, )*) => {
        $( $table.add(
            concat!(stringify!($module), "::", stringify!($name)),
            "", $module::$set::$name.bits() as u64, $c.into(), None,
        ); )*
        let all = 0 $( | $module::$set::$name.bits() as u64 )*;
        let c = [$($c),*].join(" | ");
        let item = concat!(stringify!($module), "::", stringify!($set));
        assert_eq!($module::$set::all().bits() as u64, all, "{item}: a flag is not in the table");
        $table.add(item, " all", all, c, None);
    };
}

pub(crate) fn kernel() -> Vec<Check> {
    let mut t = Table(Vec::new());
    requests! { t, privcmd:
        HYPERCALL = "IOCTL_PRIVCMD_HYPERCALL",
        MMAP = "IOCTL_PRIVCMD_MMAP",
        MMAPBATCH = "IOCTL_PRIVCMD_MMAPBATCH",
        MMAPBATCH_V2 = "IOCTL_PRIVCMD_MMAPBATCH_V2",
        DM_OP = "IOCTL_PRIVCMD_DM_OP",
        RESTRICT = "IOCTL_PRIVCMD_RESTRICT",
        MMAP_RESOURCE = "IOCTL_PRIVCMD_MMAP_RESOURCE",
        IRQFD = "IOCTL_PRIVCMD_IRQFD" newer,
        IOEVENTFD = "IOCTL_PRIVCMD_IOEVENTFD" newer,
        PCIDEV_GET_GSI = "IOCTL_PRIVCMD_PCIDEV_GET_GSI" newer,
    }
    constants! { t, privcmd:
        MMAPBATCH_MFN_ERROR = "PRIVCMD_MMAPBATCH_MFN_ERROR",
        MMAPBATCH_PAGED_ERROR = "PRIVCMD_MMAPBATCH_PAGED_ERROR",
    }
    for (item, value, c) in [
        (
            "privcmd::IRQFD_FLAG_DEASSIGN",
            privcmd::IRQFD_FLAG_DEASSIGN,
            "PRIVCMD_IRQFD_FLAG_DEASSIGN",
        ),
        (
            "privcmd::IOEVENTFD_FLAG_DEASSIGN",
            privcmd::IOEVENTFD_FLAG_DEASSIGN,
            "PRIVCMD_IOEVENTFD_FLAG_DEASSIGN",
        ),
    ] {
        t.add(item, "", value.into(), c.into(), Some(c));
    }
    structs! { t, privcmd:
        Hypercall = "struct privcmd_hypercall",
        Mmap = "struct privcmd_mmap" ["pad" = ""],
        MmapEntry = "struct privcmd_mmap_entry",
        MmapBatch = "struct privcmd_mmapbatch" ["pad" = ""],
        MmapBatchV2 = "struct privcmd_mmapbatch_v2" ["pad" = ""],
        DmOpBuf = "struct privcmd_dm_op_buf",
        DmOp = "struct privcmd_dm_op" ["pad" = ""],
        MmapResource = "struct privcmd_mmap_resource" ["pad" = "", "type_" = "type"],
        Irqfd = "struct privcmd_irqfd" since "IOCTL_PRIVCMD_IRQFD",
        Ioeventfd = "struct privcmd_ioeventfd" since "IOCTL_PRIVCMD_IOEVENTFD",
        PcidevGetGsi = "struct privcmd_pcidev_get_gsi" since "IOCTL_PRIVCMD_PCIDEV_GET_GSI",
    }
    requests! { t, evtchn:
        BIND_VIRQ = "IOCTL_EVTCHN_BIND_VIRQ",
        BIND_INTERDOMAIN = "IOCTL_EVTCHN_BIND_INTERDOMAIN",
        BIND_UNBOUND_PORT = "IOCTL_EVTCHN_BIND_UNBOUND_PORT",
        UNBIND = "IOCTL_EVTCHN_UNBIND",
        NOTIFY = "IOCTL_EVTCHN_NOTIFY",
        RESET = "IOCTL_EVTCHN_RESET",
        RESTRICT_DOMID = "IOCTL_EVTCHN_RESTRICT_DOMID",
        BIND_STATIC = "IOCTL_EVTCHN_BIND_STATIC" newer,
    }
    structs! { t, evtchn:
        BindVirq = "struct ioctl_evtchn_bind_virq",
        BindInterdomain = "struct ioctl_evtchn_bind_interdomain",
        BindUnboundPort = "struct ioctl_evtchn_bind_unbound_port",
        Unbind = "struct ioctl_evtchn_unbind",
        Notify = "struct ioctl_evtchn_notify",
        RestrictDomid = "struct ioctl_evtchn_restrict_domid",
        BindStatic = "struct ioctl_evtchn_bind" since "IOCTL_EVTCHN_BIND_STATIC",
    }
    requests! { t, gntdev:
        MAP_GRANT_REF = "IOCTL_GNTDEV_MAP_GRANT_REF",
        UNMAP_GRANT_REF = "IOCTL_GNTDEV_UNMAP_GRANT_REF",
        GET_OFFSET_FOR_VADDR = "IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR",
        SET_MAX_GRANTS = "IOCTL_GNTDEV_SET_MAX_GRANTS",
        SET_UNMAP_NOTIFY = "IOCTL_GNTDEV_SET_UNMAP_NOTIFY",
        GRANT_COPY = "IOCTL_GNTDEV_GRANT_COPY",
        DMABUF_EXP_FROM_REFS = "IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS",
        DMABUF_EXP_WAIT_RELEASED = "IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED",
        DMABUF_IMP_TO_REFS = "IOCTL_GNTDEV_DMABUF_IMP_TO_REFS",
        DMABUF_IMP_RELEASE = "IOCTL_GNTDEV_DMABUF_IMP_RELEASE",
    }
    flags! { t, gntdev::UnmapNotifyAction:
        CLEAR_BYTE = "UNMAP_NOTIFY_CLEAR_BYTE",
        SEND_EVENT = "UNMAP_NOTIFY_SEND_EVENT",
    }
    flags! { t, gntdev::DmaFlags:
        WC = "GNTDEV_DMA_FLAG_WC",
        COHERENT = "GNTDEV_DMA_FLAG_COHERENT",
    }
    structs! { t, gntdev:
        MapGrantRef = "struct ioctl_gntdev_map_grant_ref" then "refs",
        MapGrantRefEntry = "struct ioctl_gntdev_grant_ref" ["reference" = "ref"],
        UnmapGrantRef = "struct ioctl_gntdev_unmap_grant_ref",
        GetOffsetForVaddr = "struct ioctl_gntdev_get_offset_for_vaddr",
        SetMaxGrants = "struct ioctl_gntdev_set_max_grants",
        UnmapNotify = "struct ioctl_gntdev_unmap_notify",
        GrantCopy = "struct ioctl_gntdev_grant_copy" ["pad" = ""],
        GrantCopySegment = "struct gntdev_grant_copy_segment" ["pad" = ""],
        GrantCopyPtr = "__typeof__(((struct gntdev_grant_copy_segment *)0)->source)",
        DmabufExpFromRefs = "struct ioctl_gntdev_dmabuf_exp_from_refs" then "refs",
        DmabufExpWaitReleased = "struct ioctl_gntdev_dmabuf_exp_wait_released",
        DmabufImpToRefs = "struct ioctl_gntdev_dmabuf_imp_to_refs" then "refs",
        DmabufImpRelease = "struct ioctl_gntdev_dmabuf_imp_release",
    }
    let foreign = gntdev::GrantCopyPtr::foreign(0x0102_0304, 0x0506, 0x0708);
    t.add(
        "gntdev::GrantCopyPtr",
        " packed",
        foreign.as_local(),
        "({ struct gntdev_grant_copy_segment s; memset(&s, 0, sizeof s); \
         s.source.foreign.ref = 0x01020304; s.source.foreign.offset = 0x0506; \
         s.source.foreign.domid = 0x0708; *(uint64_t *)&s; })"
            .into(),
        None,
    );
    requests! { t, gntalloc:
        ALLOC_GREF = "IOCTL_GNTALLOC_ALLOC_GREF",
        DEALLOC_GREF = "IOCTL_GNTALLOC_DEALLOC_GREF",
        SET_UNMAP_NOTIFY = "IOCTL_GNTALLOC_SET_UNMAP_NOTIFY",
    }
    flags! { t, gntalloc::AllocFlags:
        WRITABLE = "GNTALLOC_FLAG_WRITABLE",
    }
    structs! { t, gntalloc:
        AllocGref = "struct ioctl_gntalloc_alloc_gref" then "gref_ids",
        DeallocGref = "struct ioctl_gntalloc_dealloc_gref" ["pad" = ""],
        UnmapNotify = "struct ioctl_gntalloc_unmap_notify",
    }
    t.0
}

pub(crate) fn xen() -> Vec<Check> {
    let mut t = Table(Vec::new());
    constants! { t, domid:
        DOM0 = "0",
        FIRST_RESERVED = "DOMID_FIRST_RESERVED",
        SELF = "DOMID_SELF",
        IO = "DOMID_IO",
        XEN = "DOMID_XEN",
        COW = "DOMID_COW",
        INVALID = "DOMID_INVALID",
        IDLE = "DOMID_IDLE",
    }
    constants! { t, hypercall:
        MEMORY_OP = "__HYPERVISOR_memory_op",
        MULTICALL = "__HYPERVISOR_multicall",
        XEN_VERSION = "__HYPERVISOR_xen_version",
        GRANT_TABLE_OP = "__HYPERVISOR_grant_table_op",
        SCHED_OP = "__HYPERVISOR_sched_op",
        EVENT_CHANNEL_OP = "__HYPERVISOR_event_channel_op",
        HVM_OP = "__HYPERVISOR_hvm_op",
        DM_OP = "__HYPERVISOR_dm_op",
    }
    structs! { t, multicall: Entry = "struct multicall_entry", }
    constants! { t, version:
        VERSION = "XENVER_version",
        EXTRAVERSION = "XENVER_extraversion",
        GET_FEATURES = "XENVER_get_features",
        PAGESIZE = "XENVER_pagesize",
        EXTRAVERSION_LEN = "XEN_EXTRAVERSION_LEN",
    }
    structs! { t, version: FeatureInfo = "struct xen_feature_info", }
    constants! { t, sched:
        YIELD = "SCHEDOP_yield",
        BLOCK = "SCHEDOP_block",
        SHUTDOWN = "SCHEDOP_shutdown",
        POLL = "SCHEDOP_poll",
        SHUTDOWN_POWEROFF = "SHUTDOWN_poweroff",
        SHUTDOWN_REBOOT = "SHUTDOWN_reboot",
        SHUTDOWN_SUSPEND = "SHUTDOWN_suspend",
        SHUTDOWN_CRASH = "SHUTDOWN_crash",
        SHUTDOWN_WATCHDOG = "SHUTDOWN_watchdog",
        SHUTDOWN_SOFT_RESET = "SHUTDOWN_soft_reset",
    }
    structs! { t, sched:
        Shutdown = "struct sched_shutdown",
        Poll = "struct sched_poll" ["pad" = ""],
    }
    constants! { t, event_channel:
        BIND_INTERDOMAIN = "EVTCHNOP_bind_interdomain",
        CLOSE = "EVTCHNOP_close",
        SEND = "EVTCHNOP_send",
        ALLOC_UNBOUND = "EVTCHNOP_alloc_unbound",
        UNMASK = "EVTCHNOP_unmask",
        VIRQ_TIMER = "VIRQ_TIMER",
        VIRQ_DEBUG = "VIRQ_DEBUG",
        VIRQ_CONSOLE = "VIRQ_CONSOLE",
        VIRQ_DOM_EXC = "VIRQ_DOM_EXC",
    }
    structs! { t, event_channel:
        BindInterdomain = "struct evtchn_bind_interdomain" ["pad" = ""],
        Close = "struct evtchn_close",
        Send = "struct evtchn_send",
        Unmask = "struct evtchn_unmask",
        AllocUnbound = "struct evtchn_alloc_unbound",
    }
    constants! { t, grant_table:
        SETUP_TABLE = "GNTTABOP_setup_table",
        QUERY_SIZE = "GNTTABOP_query_size",
        NR_RESERVED_ENTRIES = "GNTTAB_NR_RESERVED_ENTRIES",
        GNTST_OKAY = "GNTST_okay",
        GNTST_GENERAL_ERROR = "GNTST_general_error",
        GNTST_BAD_DOMAIN = "GNTST_bad_domain",
        GNTST_BAD_GNTREF = "GNTST_bad_gntref",
        GNTST_BAD_HANDLE = "GNTST_bad_handle",
        GNTST_BAD_VIRT_ADDR = "GNTST_bad_virt_addr",
        GNTST_BAD_DEV_ADDR = "GNTST_bad_dev_addr",
        GNTST_NO_DEVICE_SPACE = "GNTST_no_device_space",
        GNTST_PERMISSION_DENIED = "GNTST_permission_denied",
        GNTST_BAD_PAGE = "GNTST_bad_page",
        GNTST_BAD_COPY_ARG = "GNTST_bad_copy_arg",
        GNTST_ADDRESS_TOO_BIG = "GNTST_address_too_big",
        GNTST_EAGAIN = "GNTST_eagain",
        GNTST_NO_SPACE = "GNTST_no_space",
    }
    flags! { t, grant_table::EntryFlags:
        PERMIT_ACCESS = "GTF_permit_access",
        ACCEPT_TRANSFER = "GTF_accept_transfer",
        READONLY = "GTF_readonly",
        READING = "GTF_reading",
        WRITING = "GTF_writing",
    }
    flags! { t, gntdev::GrantCopyFlags:
        SOURCE_GREF = "GNTCOPY_source_gref",
        DEST_GREF = "GNTCOPY_dest_gref",
    }
    structs! { t, grant_table:
        EntryV1 = "struct grant_entry_v1",
        SetupTable = "struct gnttab_setup_table" ["pad" = "", "pad1" = ""],
        QuerySize = "struct gnttab_query_size" ["pad" = "", "pad1" = ""],
    }
    constants! { t, memory:
        INCREASE_RESERVATION = "XENMEM_increase_reservation",
        DECREASE_RESERVATION = "XENMEM_decrease_reservation",
        POPULATE_PHYSMAP = "XENMEM_populate_physmap",
        ADD_TO_PHYSMAP = "XENMEM_add_to_physmap",
        MAXIMUM_GPFN = "XENMEM_maximum_gpfn",
        REMOVE_FROM_PHYSMAP = "XENMEM_remove_from_physmap",
        ADD_TO_PHYSMAP_BATCH = "XENMEM_add_to_physmap_batch",
        ACQUIRE_RESOURCE = "XENMEM_acquire_resource",
        RESOURCE_IOREQ_SERVER = "XENMEM_resource_ioreq_server",
        RESOURCE_GRANT_TABLE = "XENMEM_resource_grant_table",
        RESOURCE_VMTRACE_BUF = "XENMEM_resource_vmtrace_buf",
        IOREQ_SERVER_FRAME_BUFIOREQ = "XENMEM_resource_ioreq_server_frame_bufioreq",
        GRANT_TABLE_ID_SHARED = "XENMEM_resource_grant_table_id_shared",
        GRANT_TABLE_ID_STATUS = "XENMEM_resource_grant_table_id_status",
        MAPSPACE_SHARED_INFO = "XENMAPSPACE_shared_info",
        MAPSPACE_GRANT_TABLE = "XENMAPSPACE_grant_table",
        MAPSPACE_GMFN = "XENMAPSPACE_gmfn",
        MAPSPACE_GMFN_RANGE = "XENMAPSPACE_gmfn_range",
        MAPSPACE_GMFN_FOREIGN = "XENMAPSPACE_gmfn_foreign",
    }
    t.add(
        "memory::ioreq_server_frame_ioreq",
        "(3)",
        memory::ioreq_server_frame_ioreq(3).into(),
        "XENMEM_resource_ioreq_server_frame_ioreq(3)".into(),
        None,
    );
    structs! { t, memory:
        Reservation = "struct xen_memory_reservation" ["pad" = ""],
        AddToPhysmap = "struct xen_add_to_physmap",
        AddToPhysmapBatch = "struct xen_add_to_physmap_batch" ["foreign_domid" = "u.foreign_domid"],
        RemoveFromPhysmap = "struct xen_remove_from_physmap" ["pad" = ""],
        AcquireResource = "struct xen_mem_acquire_resource" ["type_" = "type"],
    }
    constants! { t, hvm_op:
        SET_PARAM = "HVMOP_set_param",
        GET_PARAM = "HVMOP_get_param",
        HVM_PARAM_STORE_PFN = "HVM_PARAM_STORE_PFN",
        HVM_PARAM_STORE_EVTCHN = "HVM_PARAM_STORE_EVTCHN",
        HVM_PARAM_IOREQ_PFN = "HVM_PARAM_IOREQ_PFN",
        HVM_PARAM_BUFIOREQ_PFN = "HVM_PARAM_BUFIOREQ_PFN",
        HVM_PARAM_ACPI_S_STATE = "HVM_PARAM_ACPI_S_STATE",
        HVM_PARAM_TIMER_MODE = "HVM_PARAM_TIMER_MODE",
        HVM_PARAM_ACPI_IOPORTS_LOCATION = "HVM_PARAM_ACPI_IOPORTS_LOCATION",
        HVM_PARAM_BUFIOREQ_EVTCHN = "HVM_PARAM_BUFIOREQ_EVTCHN",
        HVM_PARAM_CONSOLE_PFN = "HVM_PARAM_CONSOLE_PFN",
        HVM_PARAM_CONSOLE_EVTCHN = "HVM_PARAM_CONSOLE_EVTCHN",
        HVMMEM_RAM_RW = "HVMMEM_ram_rw",
        HVMMEM_RAM_RO = "HVMMEM_ram_ro",
        HVMMEM_MMIO_DM = "HVMMEM_mmio_dm",
        HVMMEM_IOREQ_SERVER = "HVMMEM_ioreq_server",
    }
    structs! { t, hvm_op: HvmParam = "struct xen_hvm_param", }
    ioreq_pages(&mut t);
    dm_ops(&mut t);
    t.0
}

/// The C side has bit-fields: each is set, and the bytes are looked at.
fn ioreq_pages(t: &mut Table) {
    let field = |set: &str| {
        format!("({{ struct ioreq r; memset(&r, 0, sizeof r); {set}; ((uint8_t *)&r)[30]; }})")
    };
    constants! { t, ioreq:
        STATE_IOREQ_NONE = "STATE_IOREQ_NONE",
        STATE_IOREQ_READY = "STATE_IOREQ_READY",
        STATE_IOREQ_INPROCESS = "STATE_IOREQ_INPROCESS",
        STATE_IORESP_READY = "STATE_IORESP_READY",
        FLAGS_STATE = field("r.state = 15"),
        FLAG_DATA_IS_PTR = field("r.data_is_ptr = 1"),
        FLAG_DIR = field("r.dir = 1"),
        FLAG_DF = field("r.df = 1"),
        IOREQ_READ = "IOREQ_READ",
        IOREQ_WRITE = "IOREQ_WRITE",
        IOREQ_TYPE_PIO = "IOREQ_TYPE_PIO",
        IOREQ_TYPE_COPY = "IOREQ_TYPE_COPY",
        IOREQ_TYPE_PCI_CONFIG = "IOREQ_TYPE_PCI_CONFIG",
        IOREQ_TYPE_TIMEOFFSET = "IOREQ_TYPE_TIMEOFFSET",
        IOREQ_TYPE_INVALIDATE = "IOREQ_TYPE_INVALIDATE",
        HVM_IOREQSRV_BUFIOREQ_OFF = "HVM_IOREQSRV_BUFIOREQ_OFF",
        HVM_IOREQSRV_BUFIOREQ_LEGACY = "HVM_IOREQSRV_BUFIOREQ_LEGACY",
        HVM_IOREQSRV_BUFIOREQ_ATOMIC = "HVM_IOREQSRV_BUFIOREQ_ATOMIC",
        IOREQ_BUFFER_SLOT_NUM = "IOREQ_BUFFER_SLOT_NUM",
    }
    structs! { t, ioreq:
        Ioreq = "struct ioreq" ["pad0" = "_pad0", "flags" = "", "type_" = "type"],
        BufIoreq = "struct buf_ioreq" ["type_" = "type", "packed" = ""],
        BufferedIopage = "struct buffered_iopage",
    }
    let packed = ioreq::BufIoreq::new(7, true, 2, 0x9_8765, 0x0102_0304).unwrap();
    t.add(
        "ioreq::BufIoreq",
        " packed",
        u64::from_ne_bytes(zerocopy::transmute!(packed)),
        "({ struct buf_ioreq r; memset(&r, 0, sizeof r); r.type = 7; r.dir = 1; r.size = 2; \
         r.addr = 0x98765; r.data = 0x01020304; *(uint64_t *)&r; })"
            .into(),
        None,
    );
}

fn dm_ops(t: &mut Table) {
    constants! { t, dm_op:
        CREATE_IOREQ_SERVER = "XEN_DMOP_create_ioreq_server",
        GET_IOREQ_SERVER_INFO = "XEN_DMOP_get_ioreq_server_info",
        MAP_IO_RANGE_TO_IOREQ_SERVER = "XEN_DMOP_map_io_range_to_ioreq_server",
        UNMAP_IO_RANGE_FROM_IOREQ_SERVER = "XEN_DMOP_unmap_io_range_from_ioreq_server",
        SET_IOREQ_SERVER_STATE = "XEN_DMOP_set_ioreq_server_state",
        DESTROY_IOREQ_SERVER = "XEN_DMOP_destroy_ioreq_server",
        TRACK_DIRTY_VRAM = "XEN_DMOP_track_dirty_vram",
        SET_PCI_INTX_LEVEL = "XEN_DMOP_set_pci_intx_level",
        SET_ISA_IRQ_LEVEL = "XEN_DMOP_set_isa_irq_level",
        SET_PCI_LINK_ROUTE = "XEN_DMOP_set_pci_link_route",
        MODIFIED_MEMORY = "XEN_DMOP_modified_memory",
        SET_MEM_TYPE = "XEN_DMOP_set_mem_type",
        INJECT_EVENT = "XEN_DMOP_inject_event",
        INJECT_MSI = "XEN_DMOP_inject_msi",
        MAP_MEM_TYPE_TO_IOREQ_SERVER = "XEN_DMOP_map_mem_type_to_ioreq_server",
        REMOTE_SHUTDOWN = "XEN_DMOP_remote_shutdown",
        RELOCATE_MEMORY = "XEN_DMOP_relocate_memory",
        PIN_MEMORY_CACHEATTR = "XEN_DMOP_pin_memory_cacheattr",
        SET_IRQ_LEVEL = "XEN_DMOP_set_irq_level",
        NR_VCPUS = "XEN_DMOP_nr_vcpus",
        NO_GFNS = "XEN_DMOP_no_gfns",
        IO_RANGE_PORT = "XEN_DMOP_IO_RANGE_PORT",
        IO_RANGE_MEMORY = "XEN_DMOP_IO_RANGE_MEMORY",
        IO_RANGE_PCI = "XEN_DMOP_IO_RANGE_PCI",
        EVENT_EXT_INT = "XEN_DMOP_EVENT_ext_int",
        EVENT_NMI = "XEN_DMOP_EVENT_nmi",
        EVENT_HW_EXC = "XEN_DMOP_EVENT_hw_exc",
        EVENT_SW_INT = "XEN_DMOP_EVENT_sw_int",
        EVENT_PRI_SW_EXC = "XEN_DMOP_EVENT_pri_sw_exc",
        EVENT_SW_EXC = "XEN_DMOP_EVENT_sw_exc",
        IOREQ_MEM_ACCESS_READ = "XEN_DMOP_IOREQ_MEM_ACCESS_READ",
        IOREQ_MEM_ACCESS_WRITE = "XEN_DMOP_IOREQ_MEM_ACCESS_WRITE",
        MEM_CACHEATTR_UC = "XEN_DMOP_MEM_CACHEATTR_UC",
        MEM_CACHEATTR_WC = "XEN_DMOP_MEM_CACHEATTR_WC",
        MEM_CACHEATTR_WT = "XEN_DMOP_MEM_CACHEATTR_WT",
        MEM_CACHEATTR_WP = "XEN_DMOP_MEM_CACHEATTR_WP",
        MEM_CACHEATTR_WB = "XEN_DMOP_MEM_CACHEATTR_WB",
        MEM_CACHEATTR_UCM = "XEN_DMOP_MEM_CACHEATTR_UCM",
        DELETE_MEM_CACHEATTR = "XEN_DMOP_DELETE_MEM_CACHEATTR",
    }
    t.add(
        "dm_op::pci_sbdf",
        "(...)",
        dm_op::pci_sbdf(0x1234, 0x56, 0x1b, 5).into(),
        "(uint32_t)XEN_DMOP_PCI_SBDF(0x1234, 0x56, 0x1b, 5)".into(),
        None,
    );
    structs! { t, dm_op:
        Header = "struct xen_dm_op" then "u",
        CreateIoreqServer = "struct xen_dm_op_create_ioreq_server",
        GetIoreqServerInfo = "struct xen_dm_op_get_ioreq_server_info",
        IoreqServerRange = "struct xen_dm_op_ioreq_server_range" ["type_" = "type"],
        MapIoRangeToIoreqServer = "struct xen_dm_op_ioreq_server_range" ["type_" = "type"],
        UnmapIoRangeFromIoreqServer = "struct xen_dm_op_ioreq_server_range" ["type_" = "type"],
        SetIoreqServerState = "struct xen_dm_op_set_ioreq_server_state",
        DestroyIoreqServer = "struct xen_dm_op_destroy_ioreq_server",
        TrackDirtyVram = "struct xen_dm_op_track_dirty_vram",
        SetPciIntxLevel = "struct xen_dm_op_set_pci_intx_level",
        SetIsaIrqLevel = "struct xen_dm_op_set_isa_irq_level",
        SetPciLinkRoute = "struct xen_dm_op_set_pci_link_route",
        ModifiedMemory = "struct xen_dm_op_modified_memory",
        ModifiedMemoryExtent = "struct xen_dm_op_modified_memory_extent",
        SetMemType = "struct xen_dm_op_set_mem_type",
        InjectEvent = "struct xen_dm_op_inject_event" ["type_" = "type"],
        InjectMsi = "struct xen_dm_op_inject_msi",
        MapMemTypeToIoreqServer = "struct xen_dm_op_map_mem_type_to_ioreq_server"
            ["type_" = "type"],
        RemoteShutdown = "struct xen_dm_op_remote_shutdown",
        RelocateMemory = "struct xen_dm_op_relocate_memory",
        PinMemoryCacheattr = "struct xen_dm_op_pin_memory_cacheattr" ["type_" = "type"],
        SetIrqLevel = "struct xen_dm_op_set_irq_level",
        NrVcpus = "struct xen_dm_op_nr_vcpus",
    }
}
