// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests as a C program issues them, past this crate.

use std::{
    fs::File,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr,
};

use nix::errno::Errno;
use xen_sys::{
    Request,
    dm_op::{Frame, NrVcpus},
    evtchn, gntdev, memory, privcmd,
};

use crate::step::Device;

pub(crate) const PAGE_SIZE: usize = 4096;

/// The driver's number, or its errno.
pub(crate) type Answer = Result<u64, Errno>;

/// One page that a driver mapped.
#[derive(Debug)]
pub(crate) struct Page(*mut libc::c_void);

impl Page {
    fn map(fd: BorrowedFd<'_>, writable: bool, offset: u64) -> Result<Self, Errno> {
        let prot = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let (number, shared) = (fd.as_raw_fd(), libc::MAP_SHARED);
        // SAFETY: the kernel chooses a free range.
        let at = unsafe { libc::mmap(ptr::null_mut(), PAGE_SIZE, prot, shared, number, offset) };
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self(at))
    }

    fn address(&self) -> u64 {
        self.0.expose_provenance() as u64
    }

    /// The second word, which names the domain.
    pub(crate) fn word(&self) -> u64 {
        let word = self.0.cast::<u64>().wrapping_add(1);
        // SAFETY: a page is only kept when the driver put something in it; the guest may
        // change it at any time.
        unsafe { word.read_volatile() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; nothing refers to it.
        unsafe { libc::munmap(self.0, PAGE_SIZE) };
    }
}

pub(crate) fn open(device: Device) -> Result<OwnedFd, Errno> {
    let path = match device {
        Device::PrivCmd => "/dev/xen/privcmd",
        Device::EventChannel => "/dev/xen/evtchn",
        Device::Grants => "/dev/xen/gntdev",
    };
    let file = File::options().read(true).write(true).open(path);
    let failed = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or_default());
    file.map(Into::into).map_err(failed)
}

fn raw<T>(fd: BorrowedFd<'_>, request: Request<T>, argument: &mut T) -> Answer {
    let number = libc::Ioctl::from(request.number());
    // SAFETY: arguments of this file, whose addresses are 0, of live buffers of the size
    // that goes with them, or of a page that the driver may fill.
    let answer = Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), number, argument) })?;
    Ok(u64::from(answer.cast_unsigned()))
}

/// No driver of Xen's has a request with this number.
pub(crate) fn unknown(fd: BorrowedFd<'_>) -> Answer {
    raw(fd, Request::<u16>::new(b'P', 0x77), &mut 0)
}

pub(crate) fn restrict(device: Device, fd: BorrowedFd<'_>, domid: u16) -> Answer {
    match device {
        Device::EventChannel => raw(
            fd,
            evtchn::RESTRICT_DOMID,
            &mut evtchn::RestrictDomid { domid },
        ),
        // gntdev has none: any other driver's will do.
        Device::PrivCmd | Device::Grants => raw(fd, privcmd::RESTRICT, &mut domid.clone()),
    }
}

pub(crate) fn xen_version(fd: BorrowedFd<'_>) -> Answer {
    let op = xen_sys::hypercall::XEN_VERSION;
    raw(
        fd,
        privcmd::HYPERCALL,
        &mut privcmd::Hypercall {
            op,
            ..Default::default()
        },
    )
}

/// `DM_OP` with so many buffers, none of which is there.
pub(crate) fn dm_op_of(fd: BorrowedFd<'_>, dom: u16, num: u16) -> Answer {
    raw(
        fd,
        privcmd::DM_OP,
        &mut privcmd::DmOp {
            dom,
            num,
            ..Default::default()
        },
    )
}

pub(crate) fn nr_vcpus(fd: BorrowedFd<'_>, dom: u16) -> Answer {
    let mut frame = Frame::new(&NrVcpus::default());
    let bytes = frame.as_mut_bytes();
    let mut buffer = privcmd::DmOpBuf {
        uptr: bytes.as_mut_ptr().expose_provenance() as u64,
        size: bytes.len() as u64,
    };
    let ubufs = (&raw mut buffer).expose_provenance() as u64;
    let mut request = privcmd::DmOp {
        dom,
        num: 1,
        ubufs,
        ..Default::default()
    };
    raw(fd, privcmd::DM_OP, &mut request)?;
    Ok(frame.body().vcpus.into())
}

pub(crate) fn old_map(fd: BorrowedFd<'_>, dom: u16) -> Answer {
    raw(
        fd,
        privcmd::MMAP,
        &mut privcmd::Mmap {
            dom,
            ..Default::default()
        },
    )
}

/// Asks for the size: with a count, the driver would write over what is at the address.
pub(crate) fn resource_size(fd: BorrowedFd<'_>, dom: u16) -> Answer {
    let type_ = memory::RESOURCE_GRANT_TABLE;
    raw(
        fd,
        privcmd::MMAP_RESOURCE,
        &mut privcmd::MmapResource {
            dom,
            type_,
            ..Default::default()
        },
    )
}

pub(crate) fn map_nothing(fd: BorrowedFd<'_>, dom: u16) -> Answer {
    raw(
        fd,
        privcmd::MMAPBATCH_V2,
        &mut privcmd::MmapBatchV2 {
            dom,
            ..Default::default()
        },
    )
}

/// The request's errno, or the page's.
fn fill(fd: BorrowedFd<'_>, dom: u16, gfn: u64, addr: u64) -> Answer {
    let mut error = 0_i32;
    let mut batch = privcmd::MmapBatchV2 {
        num: 1,
        dom,
        addr,
        arr: (&raw const gfn).expose_provenance() as u64,
        err: (&raw mut error).expose_provenance() as u64,
        ..Default::default()
    };
    let answer = raw(fd, privcmd::MMAPBATCH_V2, &mut batch)?;
    if error == 0 {
        Ok(answer)
    } else {
        Err(Errno::from_raw(-error))
    }
}

pub(crate) fn map_frame(fd: BorrowedFd<'_>, dom: u16, gfn: u64) -> Result<Page, Errno> {
    let page = Page::map(fd, false, 0)?;
    fill(fd, dom, gfn, page.address())?;
    Ok(page)
}

/// Without a page it names an address that is not of the driver's.
pub(crate) fn map_again(fd: BorrowedFd<'_>, dom: u16, gfn: u64, page: Option<&Page>) -> Answer {
    let own = [0_u8; 1];
    let elsewhere = own.as_ptr().expose_provenance() as u64;
    fill(fd, dom, gfn, page.map_or(elsewhere, Page::address))
}

pub(crate) fn bind(fd: BorrowedFd<'_>, domid: u16, remote_port: u32) -> Answer {
    let remote_domain = domid.into();
    let mut bind = evtchn::BindInterdomain {
        remote_domain,
        remote_port,
    };
    raw(fd, evtchn::BIND_INTERDOMAIN, &mut bind)
}

pub(crate) fn unbound(fd: BorrowedFd<'_>, domid: u16) -> Answer {
    let remote_domain = domid.into();
    raw(
        fd,
        evtchn::BIND_UNBOUND_PORT,
        &mut evtchn::BindUnboundPort { remote_domain },
    )
}

pub(crate) fn virq(fd: BorrowedFd<'_>, virq: u32) -> Answer {
    raw(fd, evtchn::BIND_VIRQ, &mut evtchn::BindVirq { virq })
}

/// Of a port that cannot be: of another, dom0 may die.
pub(crate) fn static_impossible(fd: BorrowedFd<'_>) -> Answer {
    raw(
        fd,
        evtchn::BIND_STATIC,
        &mut evtchn::BindStatic { port: u32::MAX },
    )
}

pub(crate) fn notify(fd: BorrowedFd<'_>, port: u32) -> Answer {
    raw(fd, evtchn::NOTIFY, &mut evtchn::Notify { port })
}

pub(crate) fn unbind(fd: BorrowedFd<'_>, port: u32) -> Answer {
    raw(fd, evtchn::UNBIND, &mut evtchn::Unbind { port })
}

pub(crate) fn reset(fd: BorrowedFd<'_>) -> Answer {
    raw(fd, evtchn::RESET, &mut ())
}

/// A request's words: one reference is all that its number has room for.
#[repr(C)]
struct OneGrant(gntdev::MapGrantRef, gntdev::MapGrantRefEntry);

fn reserve(fd: BorrowedFd<'_>, count: u32, domid: u16, reference: u32) -> Answer {
    let domid = domid.into();
    let mut request = OneGrant(
        gntdev::MapGrantRef {
            count,
            ..Default::default()
        },
        gntdev::MapGrantRefEntry { domid, reference },
    );
    let number = libc::Ioctl::from(gntdev::MAP_GRANT_REF.number());
    // SAFETY: the struct has the one reference that `count` may say.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), number, &mut request) })?;
    Ok(request.0.index)
}

/// Answers the index.
pub(crate) fn grant(fd: BorrowedFd<'_>, domid: u16, reference: u32) -> Answer {
    reserve(fd, 1, domid, reference)
}

pub(crate) fn grant_nothing(fd: BorrowedFd<'_>) -> Answer {
    reserve(fd, 0, 0, 0)
}

pub(crate) fn map_grant(fd: BorrowedFd<'_>, index: u64, writable: bool) -> Result<Page, Errno> {
    Page::map(fd, writable, index)
}

pub(crate) fn give_back(fd: BorrowedFd<'_>, index: u64) -> Answer {
    let mut request = gntdev::UnmapGrantRef {
        index,
        count: 1,
        ..Default::default()
    };
    raw(fd, gntdev::UNMAP_GRANT_REF, &mut request)
}
