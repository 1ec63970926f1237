// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device model's operations on its guest.

use libc::c_int;
use xen_restrict::{CacheAttr, Event, EventKind, Gfn, MemType, PciAddress, ShutdownReason};

use crate::{
    arguments,
    failure::{Failure, Outcome},
    guard::guard,
    handle::hold,
    xr_guest,
};

/// Read and written without Xen.
pub const XR_MEM_RAM_RW: u32 = 0;
/// Read without Xen; writes are dropped.
pub const XR_MEM_RAM_RO: u32 = 1;
/// Each access is an I/O request.
pub const XR_MEM_MMIO_DM: u32 = 2;
/// Writes are I/O requests of the server that claimed the type.
pub const XR_MEM_IOREQ_SERVER: u32 = 4;

/// External interrupt.
pub const XR_EVENT_EXTERNAL_INTERRUPT: u32 = 0;
/// Non-maskable interrupt.
pub const XR_EVENT_NMI: u32 = 2;
/// Exception of the processor.
pub const XR_EVENT_HARDWARE_EXCEPTION: u32 = 3;
/// `int n`.
pub const XR_EVENT_SOFTWARE_INTERRUPT: u32 = 4;
/// `icebp`.
pub const XR_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION: u32 = 5;
/// `int3`, `into`.
pub const XR_EVENT_SOFTWARE_EXCEPTION: u32 = 6;

/// Ended normally.
pub const XR_SHUTDOWN_POWEROFF: u32 = 0;
/// To be started again.
pub const XR_SHUTDOWN_REBOOT: u32 = 1;
/// Saved to disk or migrated.
pub const XR_SHUTDOWN_SUSPEND: u32 = 2;
/// Broken.
pub const XR_SHUTDOWN_CRASH: u32 = 3;

/// Uncached.
pub const XR_CACHE_UNCACHED: u32 = 0;
/// Write-combining.
pub const XR_CACHE_WRITE_COMBINING: u32 = 1;
/// Write-through.
pub const XR_CACHE_WRITE_THROUGH: u32 = 4;
/// Write-protected.
pub const XR_CACHE_WRITE_PROTECTED: u32 = 5;
/// Write-back.
pub const XR_CACHE_WRITE_BACK: u32 = 6;
/// Uncached, but the guest's MTRRs may say otherwise.
pub const XR_CACHE_UNCACHED_MINUS: u32 = 7;
/// Removes the pinning of the range.
pub const XR_CACHE_DELETE: u32 = u32::MAX;

/// An event for a virtual processor of an x86 guest.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_event {
    /// XR_EVENT_...
    pub kind: u32,
    /// Error code, or UINT32_MAX for none.
    pub error_code: u32,
    /// Page fault address, or for others what the vector needs.
    pub extra: u64,
    /// Interrupt vector.
    pub vector: u8,
    /// Length of the instruction for the software kinds, in bytes.
    pub instruction_length: u8,
    /// 0.
    pub reserved: [u8; 6],
}

/// Pages that follow each other.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_extent {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// 0.
    pub reserved: u32,
}

/// Sets the level of an INTx line (0 to 3) of a PCI device. Xen routes only segment 0 and
/// bus 0.
///
/// Returns 0.
/// Errors: EPERM, ESRCH, ENXIO, EINVAL, EBADF, and Xen's own: EOPNOTSUPP or EINVAL where a
/// guest of this kind has no such thing.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_set_pci_intx_level(
    guest: *mut xr_guest,
    segment: u16,
    bus: u8,
    device: u8,
    intx: u8,
    level: c_int,
) -> c_int {
    guard(|| {
        let device = PciAddress {
            domain: segment,
            bus,
            device,
        };
        hold(guest)?
            .0
            .set_pci_intx_level(device, intx, level != 0)?;
        Ok(0)
    })
}

/// Sets the level of an ISA interrupt (0 to 15). Only for a guest that has a PIC, so not for
/// a PVH guest: raising one there, Xen 4.14 to 4.20 writes beside what it has for it, and
/// dies.
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_set_isa_irq_level(
    guest: *mut xr_guest,
    isa_irq: u8,
    level: c_int,
) -> c_int {
    guard(|| {
        hold(guest)?.0.set_isa_irq_level(isa_irq, level != 0)?;
        Ok(0)
    })
}

/// Routes a PCI INTx link (0 to 3) to an ISA interrupt; 0 disables. As
/// xr_guest_set_isa_irq_level(), where a line of the link is raised then or later.
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_set_pci_link_route(
    guest: *mut xr_guest,
    link: u8,
    isa_irq: u8,
) -> c_int {
    guard(|| {
        hold(guest)?.0.set_pci_link_route(link, isa_irq)?;
        Ok(0)
    })
}

/// Sets the level of a global interrupt (Arm; Xen 4.15).
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_set_irq_level(guest: *mut xr_guest, irq: u32, level: c_int) -> c_int {
    guard(|| {
        hold(guest)?.0.set_irq_level(irq, level != 0)?;
        Ok(0)
    })
}

/// Injects a message signalled interrupt: address and data as a device would write them.
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_inject_msi(guest: *mut xr_guest, address: u64, data: u32) -> c_int {
    guard(|| {
        hold(guest)?.0.inject_msi(address, data)?;
        Ok(0)
    })
}

/// Injects an event into a virtual processor.
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
/// Pointers: `event` leads to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_inject_event(
    guest: *mut xr_guest,
    vcpu: u32,
    event: *const xr_event,
) -> c_int {
    guard(|| {
        let guest = hold(guest)?;
        // SAFETY: by this function's contract.
        let event = unsafe { arguments::slice(event, 1, "event") }?[0];
        arguments::zero(&event.reserved, "reserved of the event")?;
        let kind = match event.kind {
            XR_EVENT_EXTERNAL_INTERRUPT => EventKind::ExternalInterrupt,
            XR_EVENT_NMI => EventKind::Nmi,
            XR_EVENT_HARDWARE_EXCEPTION => EventKind::HardwareException,
            XR_EVENT_SOFTWARE_INTERRUPT => EventKind::SoftwareInterrupt,
            XR_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION => EventKind::PrivilegedSoftwareException,
            XR_EVENT_SOFTWARE_EXCEPTION => EventKind::SoftwareException,
            other => return Err(unknown("kind of event", other)),
        };
        let event = Event {
            vector: event.vector,
            kind,
            instruction_length: event.instruction_length,
            error_code: event.error_code,
            extra: event.extra,
        };
        guest.0.inject_event(vcpu, event)?;
        Ok(0)
    })
}

/// Tracks writes to `pages` pages from `first` on, and fills `bitmap` with one bit for each
/// page that was written to since the last call (bit 0 of byte 0 first). No pages: stops
/// tracking.
///
/// Returns 0.
/// Errors: EINVAL: `bytes` of bitmap are too few; else as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
/// Pointers: `bitmap` has room for `bytes`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_track_dirty_vram(
    guest: *mut xr_guest,
    first: u64,
    pages: u32,
    bitmap: *mut u8,
    bytes: usize,
) -> c_int {
    guard(|| {
        let guest = hold(guest)?;
        // SAFETY: by this function's contract.
        let bitmap = unsafe { arguments::slice_mut(bitmap, bytes, "bitmap") }?;
        guest.0.track_dirty_vram(Gfn::new(first), pages, bitmap)?;
        Ok(0)
    })
}

/// Tells Xen that pages were written by the device model, for live migration.
///
/// Returns 0.
/// Errors: E2BIG: more than 256 extents; else as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
/// Pointers: `extents` leads to `count` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_modified_memory(
    guest: *mut xr_guest,
    extents: *const xr_extent,
    count: usize,
) -> c_int {
    guard(|| {
        let guest = hold(guest)?;
        // SAFETY: by this function's contract.
        let extents = unsafe { arguments::slice(extents, count, "extents") }?;
        if count > MOST_EXTENTS {
            let text = format!("{count} extents, of at most {MOST_EXTENTS}");
            return Err(Failure::new(libc::E2BIG, text));
        }
        for extent in extents {
            arguments::zero(&[extent.reserved], "reserved of an extent")?;
        }
        let extents: Vec<_> = extents
            .iter()
            .map(|extent| (Gfn::new(extent.first), extent.count))
            .collect();
        guest.0.modified_memory(&extents)?;
        Ok(0)
    })
}

/// The library's limit, asked before any of them is looked at.
const MOST_EXTENTS: usize = 256;

/// Changes what `pages` pages from `first` on are (XR_MEM_...).
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_set_mem_type(
    guest: *mut xr_guest,
    first: u64,
    pages: u32,
    mem_type: u32,
) -> c_int {
    guard(|| {
        let mem_type = self::mem_type(mem_type)?;
        hold(guest)?
            .0
            .set_mem_type(Gfn::new(first), pages, mem_type)?;
        Ok(0)
    })
}

pub(crate) fn mem_type(number: u32) -> Outcome<MemType> {
    Ok(match number {
        XR_MEM_RAM_RW => MemType::RamRw,
        XR_MEM_RAM_RO => MemType::RamRo,
        XR_MEM_MMIO_DM => MemType::MmioDm,
        XR_MEM_IOREQ_SERVER => MemType::IoreqServer,
        other => return Err(unknown("type of memory", other)),
    })
}

/// Moves `pages` pages of the guest from `from` to `to`.
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_relocate_memory(
    guest: *mut xr_guest,
    from: u64,
    to: u64,
    pages: u16,
) -> c_int {
    guard(|| {
        hold(guest)?
            .0
            .relocate_memory(Gfn::new(from), Gfn::new(to), pages)?;
        Ok(0)
    })
}

/// Pins the caching (XR_CACHE_...) of the pages `first` to `last`, inclusive.
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_pin_memory_cacheattr(
    guest: *mut xr_guest,
    first: u64,
    last: u64,
    cache: u32,
) -> c_int {
    guard(|| {
        let cache = match cache {
            XR_CACHE_UNCACHED => CacheAttr::Uncached,
            XR_CACHE_WRITE_COMBINING => CacheAttr::WriteCombining,
            XR_CACHE_WRITE_THROUGH => CacheAttr::WriteThrough,
            XR_CACHE_WRITE_PROTECTED => CacheAttr::WriteProtected,
            XR_CACHE_WRITE_BACK => CacheAttr::WriteBack,
            XR_CACHE_UNCACHED_MINUS => CacheAttr::UncachedMinus,
            XR_CACHE_DELETE => CacheAttr::Delete,
            other => return Err(unknown("caching", other)),
        };
        hold(guest)?
            .0
            .pin_memory_cacheattr(Gfn::new(first), Gfn::new(last), cache)?;
        Ok(0)
    })
}

/// Shuts the guest down, as if it had asked for it (XR_SHUTDOWN_...).
///
/// Returns 0.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_remote_shutdown(guest: *mut xr_guest, reason: u32) -> c_int {
    guard(|| {
        let reason = match reason {
            XR_SHUTDOWN_POWEROFF => ShutdownReason::Poweroff,
            XR_SHUTDOWN_REBOOT => ShutdownReason::Reboot,
            XR_SHUTDOWN_SUSPEND => ShutdownReason::Suspend,
            XR_SHUTDOWN_CRASH => ShutdownReason::Crash,
            other => return Err(unknown("reason", other)),
        };
        hold(guest)?.0.remote_shutdown(reason)?;
        Ok(0)
    })
}

/// How many virtual processors the guest can have (Xen 4.15).
///
/// Returns the number.
/// Errors: as xr_guest_set_pci_intx_level().
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_nr_vcpus(guest: *mut xr_guest) -> c_int {
    guard(|| {
        let number = hold(guest)?.0.nr_vcpus()?;
        Ok(arguments::count(number as usize))
    })
}

/// Whether Xen has a domain of this number, of a kind that has device models (HVM, PVH). One
/// that is being destroyed counts until it is gone.
///
/// Returns 1 or 0.
/// Errors: EPERM, ENXIO, EINVAL, EBADF, and Xen's own.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_exists(guest: *mut xr_guest) -> c_int {
    guard(|| Ok(hold(guest)?.0.exists()?.into()))
}

#[cold]
fn unknown(what: &str, number: u32) -> Failure {
    Failure::argument(format!("there is no {what} {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_xens_own() {
        let pairs = [
            (XR_MEM_RAM_RW, MemType::RamRw as u32),
            (XR_MEM_RAM_RO, MemType::RamRo as u32),
            (XR_MEM_MMIO_DM, MemType::MmioDm as u32),
            (XR_MEM_IOREQ_SERVER, MemType::IoreqServer as u32),
            (
                XR_EVENT_EXTERNAL_INTERRUPT,
                EventKind::ExternalInterrupt as u32,
            ),
            (XR_EVENT_NMI, EventKind::Nmi as u32),
            (
                XR_EVENT_HARDWARE_EXCEPTION,
                EventKind::HardwareException as u32,
            ),
            (
                XR_EVENT_SOFTWARE_INTERRUPT,
                EventKind::SoftwareInterrupt as u32,
            ),
            (
                XR_EVENT_PRIVILEGED_SOFTWARE_EXCEPTION,
                EventKind::PrivilegedSoftwareException as u32,
            ),
            (
                XR_EVENT_SOFTWARE_EXCEPTION,
                EventKind::SoftwareException as u32,
            ),
            (XR_SHUTDOWN_POWEROFF, ShutdownReason::Poweroff as u32),
            (XR_SHUTDOWN_REBOOT, ShutdownReason::Reboot as u32),
            (XR_SHUTDOWN_SUSPEND, ShutdownReason::Suspend as u32),
            (XR_SHUTDOWN_CRASH, ShutdownReason::Crash as u32),
            (XR_CACHE_UNCACHED, CacheAttr::Uncached as u32),
            (XR_CACHE_WRITE_COMBINING, CacheAttr::WriteCombining as u32),
            (XR_CACHE_WRITE_THROUGH, CacheAttr::WriteThrough as u32),
            (XR_CACHE_WRITE_PROTECTED, CacheAttr::WriteProtected as u32),
            (XR_CACHE_WRITE_BACK, CacheAttr::WriteBack as u32),
            (XR_CACHE_UNCACHED_MINUS, CacheAttr::UncachedMinus as u32),
            (XR_CACHE_DELETE, CacheAttr::Delete as u32),
        ];
        for (ours, xens) in pairs {
            assert_eq!(ours, xens);
        }
    }
}
