// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `hvm_op` hypercall and the parameters of HVM and PVH guests (Xen's
//! `public/hvm/hvm_op.h` and `public/hvm/params.h`).

/// `HVMOP_set_param`
pub const SET_PARAM: u32 = 0;
/// `HVMOP_get_param`
pub const GET_PARAM: u32 = 1;

/// Page of the guest's xenstore ring (gfn).
pub const HVM_PARAM_STORE_PFN: u32 = 1;
/// Port of the guest's xenstore ring.
pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
/// Page of the synchronous requests of the default ioreq server (gfn).
pub const HVM_PARAM_IOREQ_PFN: u32 = 5;
/// Page of the buffered requests of the default ioreq server (gfn).
pub const HVM_PARAM_BUFIOREQ_PFN: u32 = 6;
/// What ACPI sleep state the guest is in: 0 wakes it.
pub const HVM_PARAM_ACPI_S_STATE: u32 = 14;
/// How guest time behaves.
pub const HVM_PARAM_TIMER_MODE: u32 = 10;
/// Where ACPI's registers are: version of the layout.
pub const HVM_PARAM_ACPI_IOPORTS_LOCATION: u32 = 19;
/// Port of the default server's buffered requests.
pub const HVM_PARAM_BUFIOREQ_EVTCHN: u32 = 26;
/// Page of the guest's console ring (gfn).
pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
/// Port of the guest's console ring.
pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;

/// `HVMMEM_ram_rw`: read and written without Xen.
pub const HVMMEM_RAM_RW: u16 = 0;
/// `HVMMEM_ram_ro`: read without Xen; writes are dropped.
pub const HVMMEM_RAM_RO: u16 = 1;
/// `HVMMEM_mmio_dm`: each access is an I/O request.
pub const HVMMEM_MMIO_DM: u16 = 2;
/// `HVMMEM_ioreq_server`: writes are requests of the server that claimed them.
pub const HVMMEM_IOREQ_SERVER: u16 = 4;

abi! {
    /// `struct xen_hvm_param`
    pub struct HvmParam: 16 {
        /// The guest.
        domid: u16 = 0,
        /// Zero.
        pad: u16 = 2,
        /// One of `HVM_PARAM_*`.
        index: u32 = 4,
        /// In for [`SET_PARAM`], out for [`GET_PARAM`].
        value: u64 = 8,
    }
}
