// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device model's operations on its guest (`HVMOP`'s successor `dm_op`,
//! Xen's `public/hvm/dm_op.h`), all of them. Ioreq servers have a type of
//! their own in `ioreq.rs`.

use std::{os::fd::AsFd, ptr};

use xen_sys::{
    dm_op::{self, Frame, Operation},
    hvm_op, privcmd, sched,
};

use crate::{
    error::{Cause, Result},
    guest::Guest,
    ids::Gfn,
    ioctl,
};

/// The driver's default for how many buffers an operation has (module
/// parameter `dm_op_max_nr_bufs` of xen-privcmd).
pub const DM_OP_MAX_BUFFERS: usize = 16;

/// A PCI device of the guest, as Xen addresses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAddress {
    /// Segment; Xen routes only 0.
    pub domain: u16,
    /// Bus; Xen routes only 0.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
}

/// What the guest's pages are for Xen (`HVMMEM_*` of `public/hvm/hvm_op.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum MemType {
    /// Read and written without Xen.
    RamRw = hvm_op::HVMMEM_RAM_RW,
    /// Read without Xen; writes are dropped.
    RamRo = hvm_op::HVMMEM_RAM_RO,
    /// Each access is an I/O request.
    MmioDm = hvm_op::HVMMEM_MMIO_DM,
    /// Writes are I/O requests of the server that claimed the type.
    IoreqServer = hvm_op::HVMMEM_IOREQ_SERVER,
}

/// An event for a vcpu of an x86 guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Interrupt vector, 0 to 255.
    pub vector: u8,
    /// Event type.
    pub kind: EventKind,
    /// Length of the instruction for the software kinds, in bytes.
    pub instruction_length: u8,
    /// Error code, or `u32::MAX` for none.
    pub error_code: u32,
    /// Page fault address, or for others what the vector needs.
    pub extra: u64,
}

/// The type of an [`Event`] (`XEN_DMOP_EVENT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// External interrupt.
    ExternalInterrupt = dm_op::EVENT_EXT_INT,
    /// Non-maskable interrupt.
    Nmi = dm_op::EVENT_NMI,
    /// Exception of the processor.
    HardwareException = dm_op::EVENT_HW_EXC,
    /// `int n`.
    SoftwareInterrupt = dm_op::EVENT_SW_INT,
    /// `icebp`.
    PrivilegedSoftwareException = dm_op::EVENT_PRI_SW_EXC,
    /// `int3`, `into`.
    SoftwareException = dm_op::EVENT_SW_EXC,
}

/// Why a guest is shut down (`SHUTDOWN_*` of `public/sched.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ShutdownReason {
    /// Ended normally.
    Poweroff = sched::SHUTDOWN_POWEROFF,
    /// To be started again.
    Reboot = sched::SHUTDOWN_REBOOT,
    /// Saved to disk or migrated.
    Suspend = sched::SHUTDOWN_SUSPEND,
    /// Broken.
    Crash = sched::SHUTDOWN_CRASH,
}

/// Caching of a range of guest memory (`XEN_DMOP_MEM_CACHEATTR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CacheAttr {
    /// Uncached.
    Uncached = dm_op::MEM_CACHEATTR_UC,
    /// Write-combining.
    WriteCombining = dm_op::MEM_CACHEATTR_WC,
    /// Write-through.
    WriteThrough = dm_op::MEM_CACHEATTR_WT,
    /// Write-protected.
    WriteProtected = dm_op::MEM_CACHEATTR_WP,
    /// Write-back.
    WriteBack = dm_op::MEM_CACHEATTR_WB,
    /// Uncached, but the guest's MTRRs may say otherwise.
    UncachedMinus = dm_op::MEM_CACHEATTR_UCM,
    /// Removes the pinning of this range.
    Delete = dm_op::DELETE_MEM_CACHEATTR,
}

/// # Errors
///
/// Each operation fails with [`Cause::NoSuchDomain`] when the guest is gone,
/// [`Cause::Restricted`] when the handle is restricted to another,
/// [`Cause::Revoked`], and otherwise with Xen's own error in
/// [`Cause::Kernel`]. `EOPNOTSUPP` or `EINVAL` is Xen's answer to operations
/// that this guest's kind does not have: interrupts of a PVH guest, for one.
#[allow(clippy::missing_errors_doc, reason = "said once for all, above")]
impl Guest {
    /// Sets the level of an INTx line (0 to 3) of a PCI device.
    pub fn set_pci_intx_level(&self, device: PciAddress, intx: u8, level: bool) -> Result<()> {
        let op = dm_op::SetPciIntxLevel {
            domain: device.domain,
            bus: device.bus,
            device: device.device,
            intx,
            level: level.into(),
        };
        self.dm_op("set_pci_intx_level", &op).map(drop)
    }

    /// Sets the level of an ISA interrupt (0 to 15).
    ///
    /// Only for a guest that has a PIC, so not for a PVH guest: raising one there, Xen
    /// 4.14 to 4.20 writes beside what it has for it, and dies.
    pub fn set_isa_irq_level(&self, isa_irq: u8, level: bool) -> Result<()> {
        let op = dm_op::SetIsaIrqLevel {
            isa_irq,
            level: level.into(),
        };
        self.dm_op("set_isa_irq_level", &op).map(drop)
    }

    /// Routes a PCI INTx link (0 to 3) to an ISA interrupt; 0 disables.
    ///
    /// As [`set_isa_irq_level`](Self::set_isa_irq_level), where a line of the link is
    /// raised then or later.
    pub fn set_pci_link_route(&self, link: u8, isa_irq: u8) -> Result<()> {
        let op = dm_op::SetPciLinkRoute { link, isa_irq };
        self.dm_op("set_pci_link_route", &op).map(drop)
    }

    /// Sets the level of a global interrupt (Arm; Xen 4.15).
    pub fn set_irq_level(&self, irq: u32, level: bool) -> Result<()> {
        let op = dm_op::SetIrqLevel {
            irq,
            level: level.into(),
            ..Default::default()
        };
        self.dm_op("set_irq_level", &op).map(drop)
    }

    /// Injects a message signalled interrupt: address and data as a device
    /// would write them.
    pub fn inject_msi(&self, address: u64, data: u32) -> Result<()> {
        let op = dm_op::InjectMsi {
            data,
            addr: address,
            ..Default::default()
        };
        self.dm_op("inject_msi", &op).map(drop)
    }

    /// Injects an event into a vcpu.
    pub fn inject_event(&self, vcpu: u32, event: Event) -> Result<()> {
        let op = dm_op::InjectEvent {
            vcpuid: vcpu,
            vector: event.vector,
            type_: event.kind as u8,
            insn_len: event.instruction_length,
            error_code: event.error_code,
            cr2: event.extra,
            ..Default::default()
        };
        self.dm_op("inject_event", &op).map(drop)
    }

    /// Tracks writes to `pages` pages from `first` on, and fills `bitmap` with
    /// one bit for each page that was written to since the last call (bit 0 of
    /// byte 0 first). No pages: stops tracking.
    ///
    /// [`Cause::Invalid`] when `bitmap` has fewer than `pages` bits.
    pub fn track_dirty_vram(&self, first: Gfn, pages: u32, bitmap: &mut [u8]) -> Result<()> {
        const NAME: &str = "track_dirty_vram";
        let needed = pages.div_ceil(8) as usize;
        let Some(bitmap) = bitmap.get_mut(..needed) else {
            let what = format!("{pages} pages, but a bitmap of {} bytes", bitmap.len());
            let remedy = "give one bit for each page";
            return Err(self.wrong(NAME, Cause::Invalid { what, remedy }));
        };
        let op = dm_op::TrackDirtyVram {
            nr: pages,
            first_pfn: first.get(),
            ..Default::default()
        };
        self.dm_op_with(NAME, &op, bitmap).map(drop)
    }

    /// Tells Xen that pages were written by the device model, for live
    /// migration: `(first page, count)` each. 256 extents a call.
    ///
    /// [`Cause::TooMany`] past that.
    pub fn modified_memory(&self, extents: &[(Gfn, u32)]) -> Result<()> {
        const NAME: &str = "modified_memory";
        const LIMIT: usize = 256;
        let mut raw = [dm_op::ModifiedMemoryExtent::default(); LIMIT];
        if extents.len() > LIMIT {
            let cause = Cause::TooMany {
                what: "extents",
                count: extents.len(),
                limit: LIMIT,
                hint: "",
            };
            return Err(self.wrong(NAME, cause));
        }
        for (raw, (first, count)) in raw.iter_mut().zip(extents) {
            raw.nr = *count;
            raw.first_pfn = first.get();
        }
        let op = dm_op::ModifiedMemory {
            #[allow(clippy::cast_possible_truncation, reason = "at most LIMIT")]
            nr_extents: extents.len() as u32,
            ..Default::default()
        };
        let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut raw[..extents.len()]);
        self.dm_op_with(NAME, &op, bytes).map(drop)
    }

    /// Changes what `pages` pages from `first` on are.
    pub fn set_mem_type(&self, first: Gfn, pages: u32, mem_type: MemType) -> Result<()> {
        let op = dm_op::SetMemType {
            mem_type: mem_type as u16,
            nr: pages,
            first_pfn: first.get(),
            ..Default::default()
        };
        self.dm_op("set_mem_type", &op).map(drop)
    }

    /// Moves `pages` pages of the guest from `from` to `to` (at most 65535).
    pub fn relocate_memory(&self, from: Gfn, to: Gfn, pages: u16) -> Result<()> {
        let op = dm_op::RelocateMemory {
            size: u32::from(pages),
            src_gfn: from.get(),
            dst_gfn: to.get(),
            ..Default::default()
        };
        self.dm_op("relocate_memory", &op).map(drop)
    }

    /// Pins the caching of the pages `first` to `last`, inclusive.
    pub fn pin_memory_cacheattr(&self, first: Gfn, last: Gfn, attr: CacheAttr) -> Result<()> {
        let op = dm_op::PinMemoryCacheattr {
            start: first.get(),
            end: last.get(),
            type_: attr as u32,
            ..Default::default()
        };
        self.dm_op("pin_memory_cacheattr", &op).map(drop)
    }

    /// Shuts the guest down, as if it had asked for it.
    pub fn remote_shutdown(&self, reason: ShutdownReason) -> Result<()> {
        let op = dm_op::RemoteShutdown {
            reason: reason as u32,
        };
        self.dm_op("remote_shutdown", &op).map(drop)
    }

    /// How many vcpus the guest can have (Xen 4.15).
    pub fn nr_vcpus(&self) -> Result<u32> {
        let op = dm_op::NrVcpus::default();
        Ok(self.dm_op("nr_vcpus", &op)?.vcpus)
    }

    /// Whether Xen has a domain of this number, of a kind that has device models
    /// (HVM, PVH). One that is being destroyed counts until it is gone.
    ///
    /// # Errors
    /// As the other operations; [`Cause::NoSuchDomain`] is the answer `false`.
    pub fn exists(&self) -> Result<bool> {
        // No ioreq server has this number: nothing is asked of the guest.
        let op = dm_op::GetIoreqServerInfo {
            id: u16::MAX,
            flags: dm_op::NO_GFNS,
            ..Default::default()
        };
        match self.dm_op("get_ioreq_server_info", &op) {
            Ok(_) => Ok(true),
            Err(error) => match error.cause {
                Cause::NoSuchDomain => Ok(false),
                _ if error.cause.raw_os_error() == Some(libc::ENOENT) => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// Hands buffers to Xen as they are: the first holds the operation. For
    /// operations that this crate does not know yet, and for fuzzers.
    ///
    /// Xen writes into the buffers, never behind them.
    ///
    /// [`Cause::TooMany`] for more than [`DM_OP_MAX_BUFFERS`] buffers, for more
    /// than Xen takes (2), or for larger ones than the driver's module parameter
    /// `dm_op_buf_max_size` allows.
    pub fn dm_op_raw(&self, buffers: &mut [&mut [u8]]) -> Result<()> {
        const NAME: &str = "dm_op";
        let mut list = [privcmd::DmOpBuf::default(); DM_OP_MAX_BUFFERS];
        if buffers.len() > list.len() {
            let cause = Cause::TooMany {
                what: "buffers",
                count: buffers.len(),
                limit: DM_OP_MAX_BUFFERS,
                hint: "",
            };
            return Err(self.wrong(NAME, cause));
        }
        for (entry, buffer) in list.iter_mut().zip(buffers.iter_mut()) {
            fill(entry, buffer);
        }
        let _pass = self.handle.pass();
        // SAFETY: the entries are `buffers`, borrowed mutably for the call.
        unsafe { self.submit(NAME, &mut list[..buffers.len()]) }
    }

    /// Issues an operation and returns it with what Xen filled in.
    pub(crate) fn dm_op<T: Operation>(&self, name: &'static str, op: &T) -> Result<T> {
        let _pass = self.handle.pass();
        self.dm_op_in_passing(name, op, None)
    }

    /// The same with a second buffer, where the operation has one.
    fn dm_op_with<T: Operation>(&self, name: &'static str, op: &T, buffer: &mut [u8]) -> Result<T> {
        let _pass = self.handle.pass();
        self.dm_op_in_passing(name, op, Some(buffer))
    }

    /// For callers that keep a restriction waiting themselves.
    pub(crate) fn dm_op_in_passing<T: Operation>(
        &self,
        name: &'static str,
        op: &T,
        buffer: Option<&mut [u8]>,
    ) -> Result<T> {
        let mut frame = Frame::new(op);
        let mut list = [privcmd::DmOpBuf::default(); 2];
        let used = if buffer.is_some() { 2 } else { 1 };
        fill(&mut list[0], frame.as_mut_bytes());
        fill(&mut list[1], buffer.unwrap_or(&mut []));
        // SAFETY: the entries are `frame` and `buffer`, both borrowed mutably.
        unsafe { self.submit(name, &mut list[..used]) }?;
        Ok(frame.body())
    }

    /// # Safety
    /// Each entry is memory that only the caller can reach during the call.
    unsafe fn submit(&self, name: &'static str, list: &mut [privcmd::DmOpBuf]) -> Result<()> {
        let mut request = privcmd::DmOp {
            dom: self.id.get(),
            #[allow(clippy::cast_possible_truncation, reason = "at most DM_OP_MAX_BUFFERS")]
            num: list.len() as u16,
            ubufs: list.as_mut_ptr().expose_provenance() as u64,
            ..privcmd::DmOp::default()
        };
        // SAFETY: `list` has `num` entries, each good for the length it names
        // by this function's contract; Xen writes nowhere else.
        unsafe { ioctl::raw(self.handle.as_fd(), privcmd::DM_OP, &mut request) }
            .map(drop)
            .map_err(|errno| match errno {
                nix::errno::Errno::E2BIG => self.wrong(name, too_big(list)),
                other => self.failed(name, other),
            })
    }
}

/// An empty buffer gets an address that is not the start of a page. There, the
/// driver counts no page to pin and then pins all that follow, past its array
/// (docs/kernel-facts.md). An entry is aligned to 8, so one byte into it is never
/// the start of a page.
fn fill(entry: &mut privcmd::DmOpBuf, buffer: &mut [u8]) {
    entry.size = buffer.len() as u64;
    entry.uptr = if buffer.is_empty() {
        ptr::from_mut(entry).expose_provenance() as u64 + 1
    } else {
        buffer.as_mut_ptr().expose_provenance() as u64
    };
}

/// Which limit it was: the driver has two, and Xen takes two buffers at most.
fn too_big(list: &[privcmd::DmOpBuf]) -> Cause {
    let largest = list.iter().map(|buffer| buffer.size).max().unwrap_or(0);
    if largest > 4096 {
        Cause::TooMany {
            what: "bytes in one buffer",
            count: usize::try_from(largest).unwrap_or(usize::MAX),
            limit: 4096,
            hint: ", or raise the parameter `dm_op_buf_max_size` of xen-privcmd",
        }
    } else {
        Cause::TooMany {
            what: "buffers",
            count: list.len(),
            limit: 2,
            hint: "",
        }
    }
}

#[cfg(test)]
mod tests {
    use xen_sys::privcmd::DmOpBuf;

    use super::fill;

    #[test]
    fn an_empty_buffer_is_never_at_the_start_of_a_page() {
        // One of these entries is.
        let mut list = vec![DmOpBuf::default(); 2 * 4096 / size_of::<DmOpBuf>()];
        let starts = |list: &[DmOpBuf]| list.iter().any(|e| (&raw const *e).addr() % 4096 == 0);
        assert!(starts(&list));
        for entry in &mut list {
            let place = (&raw const *entry).addr() as u64;
            fill(entry, &mut []);
            assert_eq!(entry.size, 0);
            assert!(entry.uptr % 4096 != 0 && entry.uptr - place < 16);
        }
    }
}
