// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/privcmd`, and what all devices have in common.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::OnceLock,
};

use libc::c_int;
use xen_restrict::{self as restrict, GuestId, KernelHole, Restricted, Unrestricted};

use crate::{
    arguments::{self, Out},
    failure::{Failure, Outcome},
    guard::guard,
    guest::Guest,
    handle::{Finish, give, hold},
    xr_guest, xr_privcmd,
};

/// A device that is opened unrestricted, and restricted once; or adopted restricted.
pub(crate) struct Restrictable<U, R> {
    open: Option<U>,
    restricted: OnceLock<R>,
}

impl<U, R> Restrictable<U, R> {
    pub(crate) fn unrestricted(open: U) -> Self {
        Self {
            open: Some(open),
            restricted: OnceLock::new(),
        }
    }

    pub(crate) fn restricted(handle: R) -> Self {
        Self {
            open: None,
            restricted: OnceLock::from(handle),
        }
    }

    /// What it is now.
    #[inline]
    pub(crate) fn state(&self) -> Outcome<State<'_, U, R>> {
        match (self.restricted.get(), &self.open) {
            (Some(handle), _) => Ok(State::Restricted(handle)),
            (None, Some(handle)) => Ok(State::Unrestricted(handle)),
            (None, None) => Err(Failure::new(libc::ENXIO, "the handle is gone")),
        }
    }
}

pub(crate) enum State<'h, U, R> {
    Unrestricted(&'h U),
    Restricted(&'h R),
}

impl<U: Clone, R> Restrictable<U, R> {
    /// Restricts it by `restrict`; again to the same guest is no error.
    pub(crate) fn restrict(
        &self,
        guest: GuestId,
        restrict: impl FnOnce(U, GuestId) -> restrict::Result<R>,
        to: impl Fn(&R) -> GuestId,
    ) -> Outcome {
        match self.state()? {
            State::Restricted(handle) if to(handle) == guest => Ok(0),
            State::Restricted(handle) => Err(elsewhere(to(handle))),
            State::Unrestricted(handle) => {
                let handle = restrict(handle.clone(), guest)?;
                match self.restricted.set(handle) {
                    Ok(()) => Ok(0),
                    // Another thread was faster, and the kernel has compared the two.
                    Err(handle) if to(&handle) == guest => Ok(0),
                    Err(handle) => Err(elsewhere(to(&handle))),
                }
            }
        }
    }
}

#[cold]
pub(crate) fn elsewhere(guest: GuestId) -> Failure {
    Failure::new(
        libc::EPERM,
        format!("the handle is restricted to {guest}, for good"),
    )
}

/// The guest that is meant on a handle that is restricted to one: 0 is that one.
#[inline]
pub(crate) fn only(domid: u16, guest: GuestId) -> Outcome<()> {
    match domid {
        0 => Ok(()),
        domid if domid == guest.get() => Ok(()),
        _ => Err(elsewhere(guest)),
    }
}

/// Takes a descriptor that the caller gives away.
///
/// # Safety
/// It is the caller's to give.
pub(crate) unsafe fn descriptor(fd: c_int) -> Outcome<OwnedFd> {
    // SAFETY: takes numbers.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(Failure::new(libc::EBADF, "the descriptor is not open"));
    }
    // SAFETY: open, and the caller's by this function's contract.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) type PrivCmd =
    Restrictable<restrict::PrivCmd<Unrestricted>, restrict::PrivCmd<Restricted>>;

impl Finish for PrivCmd {}

impl PrivCmd {
    fn fd(&self) -> Outcome<BorrowedFd<'_>> {
        Ok(match self.state()? {
            State::Unrestricted(handle) => handle.as_fd(),
            State::Restricted(handle) => handle.as_fd(),
        })
    }
}

/// Opens /dev/xen/privcmd, unrestricted: it can do anything to any guest. Takes root in
/// dom0. `*out` is the caller's, to be closed by xr_close(); NULL after an error.
///
/// Returns 0.
/// Errors: EINVAL; ENODEV: this is not Xen; ENOENT: no such device node; EACCES;
/// ENOTTY: the node is not this device; ENOSYS: Linux before 4.11; EPERM: after
/// xr_restrict_all(), or where the kernel restricts every handle; EMFILE, ENOMEM.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_privcmd_open(out: *mut *mut xr_privcmd) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let handle = restrict::PrivCmd::open()?;
        out.set(give(PrivCmd::unrestricted(handle))?);
        Ok(0)
    })
}

/// Takes over a privcmd descriptor that somebody else opened and restricted to `domid`, and
/// proves that it is. One that is not restricted is refused. The descriptor is the
/// library's from the call on, also after an error, which closes it.
///
/// Returns 0.
/// Errors: EINVAL: `domid` is no guest's; EBADF: not open; ENOTTY: not privcmd; EPERM: not
/// restricted, or to another domain; EMFILE.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer; nobody else uses or closes `fd` from here on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_privcmd_adopt(
    fd: c_int,
    domid: u16,
    out: *mut *mut xr_privcmd,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let fd = unsafe { descriptor(fd) }?;
        // SAFETY: as above.
        let out = unsafe { Out::none(out) }?;
        let handle = restrict::PrivCmd::from_fd(fd, arguments::guest(domid)?)?;
        out.set(give(PrivCmd::restricted(handle))?);
        Ok(0)
    })
}

/// Restricts the handle, and every duplicate of its descriptor, to one guest, for good, and
/// proves it. Guests, memory and servers that were made of it stay usable, if they are that
/// guest's. Again to the same guest is no error.
///
/// Returns 0: the kernel refuses whatever is not about this guest.
/// Errors: EINVAL: no guest's domid; EPERM: restricted to another before; EBUSY: memory or
/// servers of other domains are still there; ENOSYS: Linux before 4.11; EIO: the kernel says
/// yes and does not restrict. After each of these, but for EINVAL and a handle that was
/// restricted before, the handle is revoked: all its uses fail with ENXIO.
/// Threads: any; waits for calls of other threads that name a domain.
/// Fork: usable; the parent's handle is restricted with it.
#[unsafe(no_mangle)]
pub extern "C" fn xr_privcmd_restrict(privcmd: *mut xr_privcmd, domid: u16) -> c_int {
    guard(|| {
        let handle = hold(privcmd)?;
        let guest = arguments::guest(domid)?;
        handle.restrict(
            guest,
            restrict::PrivCmd::restrict,
            restrict::PrivCmd::<Restricted>::restricted_to,
        )
    })
}

/// The guest that the handle is restricted to.
///
/// Returns its domid, or 0 for a handle that this library's xr_privcmd_restrict() or
/// xr_privcmd_adopt() has not proved to be restricted.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_privcmd_domid(privcmd: *const xr_privcmd) -> c_int {
    guard(|| {
        Ok(match hold(privcmd)?.state()? {
            State::Unrestricted(_) => 0,
            State::Restricted(handle) => handle.restricted_to().get().into(),
        })
    })
}

/// The handle's descriptor. It stays the library's: do not close it. A duplicate shares the
/// restriction.
///
/// Returns the descriptor.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_privcmd_fd(privcmd: *const xr_privcmd) -> c_int {
    guard(|| Ok(hold(privcmd)?.fd()?.as_raw_fd()))
}

/// What this kernel does not check on a restricted handle. What is in XR_HOLES_OPEN no filter
/// can refuse, and every kernel we know has some of it; the rest a filter has to (xr_seal(),
/// or a launcher), and what it refuses is not named.
///
/// Returns the sum of XR_HOLE_..., but for XR_HOLE_BIND_STATIC.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_privcmd_kernel_holes(privcmd: *const xr_privcmd) -> c_int {
    guard(|| {
        Ok(holes(match hold(privcmd)?.state()? {
            State::Unrestricted(handle) => handle.kernel_holes(),
            State::Restricted(handle) => handle.kernel_holes(),
        }))
    })
}

/// evtchn BIND_STATIC (Linux 6.6): takes any port of the local domain.
pub const XR_HOLE_BIND_STATIC: c_int = 1;
/// privcmd IRQFD (Linux 6.6, where configured).
pub const XR_HOLE_IRQFD: c_int = 2;
/// privcmd IOEVENTFD (Linux 6.7, where configured): takes any local port.
pub const XR_HOLE_IOEVENTFD: c_int = 4;
/// privcmd PCIDEV_GET_GSI (Linux 6.12): tells the interrupt of any PCI device.
pub const XR_HOLE_PCIDEV_GET_GSI: c_int = 8;
/// privcmd MMAP_RESOURCE: its count is not compared with the mapping.
pub const XR_HOLE_MMAP_RESOURCE: c_int = 16;
/// privcmd MMAP, in a PV dom0: it does not look whose mapping it is.
pub const XR_HOLE_MMAP: c_int = 32;
/// mremap(2) of a privcmd mapping: what is mapped is freed, and stays mapped.
pub const XR_HOLE_MOVED_MAPPING: c_int = 64;
/// privcmd MMAPBATCH_V2: copies an array of any length into the kernel's memory.
pub const XR_HOLE_MMAPBATCH: c_int = 128;
/// privcmd DM_OP: pins pages without end for a buffer of size 0.
pub const XR_HOLE_DM_OP: c_int = 256;
/// A privcmd mapping that is split by munmap(2) of a part is freed twice (CVE-2026-31787).
pub const XR_HOLE_SPLIT_MAPPING: c_int = 512;
/// One that this version of the library has no bit for.
pub const XR_HOLE_OTHER: c_int = 1 << 30;

/// Those that no filter refuses: XR_HOLE_MMAPBATCH, XR_HOLE_DM_OP, XR_HOLE_SPLIT_MAPPING.
pub const XR_HOLES_OPEN: c_int = 896;

pub(crate) fn holes(holes: Vec<KernelHole>) -> c_int {
    let bit = |hole| match hole {
        KernelHole::BindStatic => XR_HOLE_BIND_STATIC,
        KernelHole::Irqfd => XR_HOLE_IRQFD,
        KernelHole::Ioeventfd => XR_HOLE_IOEVENTFD,
        KernelHole::PcidevGetGsi => XR_HOLE_PCIDEV_GET_GSI,
        KernelHole::MmapResource => XR_HOLE_MMAP_RESOURCE,
        KernelHole::Mmap => XR_HOLE_MMAP,
        KernelHole::MovedMapping => XR_HOLE_MOVED_MAPPING,
        KernelHole::MmapBatch => XR_HOLE_MMAPBATCH,
        KernelHole::DmOp => XR_HOLE_DM_OP,
        KernelHole::SplitMapping => XR_HOLE_SPLIT_MAPPING,
        _ => XR_HOLE_OTHER,
    };
    holes.into_iter().map(bit).fold(0, |all, one| all | one)
}

/// One guest, as its device model acts on it. Of a restricted handle it is the only one, and
/// `domid` is its or 0. `*out` is the caller's, to be closed by xr_close(); it keeps the
/// device open.
///
/// Returns 0.
/// Errors: EINVAL, EBADF; EPERM: the handle is restricted to another guest; EMFILE.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_privcmd_guest(
    privcmd: *mut xr_privcmd,
    domid: u16,
    out: *mut *mut xr_guest,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let guest = match hold(privcmd)?.state()? {
            State::Unrestricted(handle) => handle.guest(arguments::guest(domid)?),
            State::Restricted(handle) => {
                only(domid, handle.restricted_to())?;
                handle.guest()
            }
        };
        out.set(give(Guest(guest))?);
        Ok(0)
    })
}

/// Restricts every handle that this library opened in this process to one guest, and opens
/// no more. Handles on privcmd and evtchn are restricted and proved to be; those on gntdev
/// and gntalloc are revoked, as Linux cannot restrict them. Afterwards xr_privcmd_restrict()
/// and xr_evtchn_restrict() tell of each handle whether it is.
///
/// Returns 0: no handle of this library reaches another domain.
/// Errors: as xr_privcmd_restrict(), the first of them: by then every handle that is not
/// restricted to the guest is revoked. EPERM: the process was restricted to another guest
/// before; nothing has changed.
/// Threads: any; others may open, use and close handles meanwhile.
/// Fork: usable; the parent's handles are restricted with them, but not its later ones.
#[unsafe(no_mangle)]
pub extern "C" fn xr_restrict_all(domid: u16) -> c_int {
    guard(|| {
        restrict::restrict_all(arguments::guest(domid)?)?;
        Ok(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hole_has_a_bit_and_what_no_filter_refuses_is_known_by_it() {
        let all = [
            KernelHole::BindStatic,
            KernelHole::Irqfd,
            KernelHole::Ioeventfd,
            KernelHole::PcidevGetGsi,
            KernelHole::MmapResource,
            KernelHole::Mmap,
            KernelHole::MovedMapping,
            KernelHole::MmapBatch,
            KernelHole::DmOp,
            KernelHole::SplitMapping,
        ];
        for (at, hole) in all.into_iter().enumerate() {
            let bit = holes(vec![hole]);
            assert_eq!(bit, 1 << at, "{hole}");
            assert_eq!(
                bit & XR_HOLES_OPEN == 0,
                hole.is_refused_by_filter(),
                "{hole}"
            );
        }
    }

    #[test]
    fn what_is_adopted_is_not_for_programs_that_are_started_later() {
        // SAFETY: at an address that is a string.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        // SAFETY: opened above, and nobody else's.
        let fd = unsafe { descriptor(fd) }.unwrap();
        // SAFETY: takes numbers.
        let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
    }
}
