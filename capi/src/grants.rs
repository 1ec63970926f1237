// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants: pages of a guest mapped or copied here, and own pages granted to a guest.

use libc::{c_int, c_void};
use xen_restrict::{
    CopySegment, GrantAllocator, GrantDevice, GrantError, GrantOffset, GrantRef, GrantedByte,
    GuestCopy, GuestId, Restricted, Unrestricted,
};

use crate::{
    arguments::{self, Out},
    failure::{Failure, Outcome},
    guard::guard,
    handle::{Finish, give, hold},
    memory::Memory,
    privcmd::{Restrictable, State, only},
    xr_gntalloc, xr_gntdev, xr_memory,
};

pub(crate) type Grants = Restrictable<GrantDevice<Unrestricted>, GrantDevice<Restricted>>;

impl Finish for Grants {}

pub(crate) struct Allocator(GrantAllocator);

impl Finish for Allocator {}

/// Copies granted memory into local memory.
pub const XR_COPY_READ: u32 = 0;
/// Copies local memory into granted memory.
pub const XR_COPY_WRITE: u32 = 1;
/// Copies from one granted page to another.
pub const XR_COPY_BETWEEN: u32 = 2;

/// One copy, of at most a page (4096 bytes), and not across a granted page's end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_grant_copy {
    /// XR_COPY_...
    pub way: u32,
    /// Xen's answer, written by xr_gntdev_copy(): 0, or one of GNTST_... of Xen's
    /// public/grant_table.h, which are negative.
    pub status: i32,
    /// The granted page; that which is copied from, in XR_COPY_BETWEEN.
    pub grant: u32,
    /// The granted page that is copied to, in XR_COPY_BETWEEN; else 0.
    pub to_grant: u32,
    /// Whose `grant` is; 0 or the handle's guest on one with a broker.
    pub domid: u16,
    /// Whose `to_grant` is; as `domid`.
    pub to_domid: u16,
    /// Where in the page of `grant`, 0 to 4095.
    pub offset: u16,
    /// Where in the page of `to_grant`.
    pub to_offset: u16,
    /// Local memory, of `length` bytes; NULL in XR_COPY_BETWEEN.
    pub local: *mut c_void,
    /// Bytes.
    pub length: usize,
}

/// Opens /dev/xen/gntdev, unrestricted: it can map what any guest has granted. `*out` is the
/// caller's, to be closed by xr_close(); NULL after an error.
///
/// Returns 0.
/// Errors: as xr_evtchn_open().
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_gntdev_open(out: *mut *mut xr_gntdev) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let handle = GrantDevice::open()?;
        out.set(give(Grants::unrestricted(handle))?);
        Ok(0)
    })
}

/// Revokes the handle, as Linux cannot restrict it: its descriptor is /dev/null from then
/// on. What is mapped from the guest stays mapped. A handle with a broker is restricted
/// already, and stays as it is.
///
/// Returns 0: no new grant of any domain is mapped through it.
/// Errors: EBUSY: grants of other domains are still mapped, and the handle is revoked all the
/// same; EPERM: a handle with a broker, of another guest; EINVAL, EBADF.
/// Threads: any; waits for calls of other threads that name a domain.
/// Fork: usable; the parent's own descriptor is not revoked with it.
#[unsafe(no_mangle)]
pub extern "C" fn xr_gntdev_restrict(gntdev: *mut xr_gntdev, domid: u16) -> c_int {
    guard(|| {
        let handle = hold(gntdev)?;
        let guest = arguments::guest(domid)?;
        match handle.state()? {
            State::Unrestricted(grants) => grants.clone().restrict(guest).map(drop)?,
            State::Restricted(grants) => only(domid, grants.guest())?,
        }
        Ok(0)
    })
}

/// Pages that can be mapped at a time, of the launcher's `--grants brokered=PAGES`.
///
/// Returns the number; 0 for a handle without a broker, which has no such limit.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_gntdev_quota(gntdev: *const xr_gntdev) -> c_int {
    guard(|| {
        Ok(match hold(gntdev)?.state()? {
            State::Unrestricted(_) => 0,
            State::Restricted(grants) => arguments::count(grants.quota() as usize),
        })
    })
}

/// Maps `count` pages that a guest granted, in the order given: all of them, or none. On a
/// handle with a broker `domid` is its guest's or 0. `*out` is the caller's, to be closed by
/// xr_close(), which gives the grants back. It is not there in a forked child.
///
/// Returns 0.
/// Errors: EINVAL: no references, or Xen refuses one; E2BIG: too many for one call; EDQUOT:
/// more than the broker's quota; EPIPE: the broker is gone; EPERM: a handle with a broker, of
/// another guest; ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
/// Threads: any.
/// Fork: not in a child, with a broker; else usable.
/// Pointers: `grants` leads to `count` references, `out` to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_gntdev_map(
    gntdev: *mut xr_gntdev,
    domid: u16,
    grants: *const u32,
    count: usize,
    writable: c_int,
    out: *mut *mut xr_memory,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let handle = hold(gntdev)?;
        // A reference is a number and nothing else (`repr(transparent)`).
        let grants = grants.cast::<GrantRef>();
        // SAFETY: as above.
        let grants = unsafe { arguments::slice(grants, count, "grants") }?;
        let access = arguments::access(writable);
        let memory = match handle.state()? {
            State::Unrestricted(device) => device.map(arguments::guest(domid)?, grants, access)?,
            State::Restricted(device) => {
                only(domid, device.guest())?;
                device.map(grants, access)?
            }
        };
        out.set(give(Memory::Mapped(memory))?);
        Ok(0)
    })
}

/// Copies between granted pages and local memory: one system call, or one question to the
/// broker for 256 copies or 1 MiB. Each copy has a status of its own afterwards: one that Xen
/// refuses does not stop the others.
///
/// Returns how many Xen refused: look at each `status` unless it is 0.
/// Errors: EINVAL: a copy that makes no sense, and none was made; ERANGE: beyond a page, and
/// none was made; EPIPE: the broker is gone; EPERM, ENXIO, EBADF, and the kernel's own: then
/// no status is meaningful, and some may have been copied.
/// Threads: any.
/// Fork: not in a child, with a broker; else usable.
/// Pointers: `copies` leads to `count` of them, the local memory of each is there, and none is written
/// to by two.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_gntdev_copy(
    gntdev: *mut xr_gntdev,
    copies: *mut xr_grant_copy,
    count: usize,
) -> c_int {
    guard(|| {
        let handle = hold(gntdev)?;
        // SAFETY: by this function's contract.
        let copies = unsafe { arguments::slice_mut(copies, count, "copies") }?;
        let statuses: Vec<_> = match handle.state()? {
            State::Unrestricted(device) => {
                // SAFETY: by this function's contract.
                let segment = |copy: &xr_grant_copy| unsafe { segment(copy) };
                let mut segments = copies.iter().map(segment).collect::<Outcome<Vec<_>>>()?;
                device.copy(&mut segments)?;
                segments.iter().map(CopySegment::status).collect()
            }
            State::Restricted(device) => {
                let guest = device.guest();
                // SAFETY: as above.
                let of_guest = |copy: &xr_grant_copy| unsafe { of_guest(copy, guest) };
                let mut own = copies.iter().map(of_guest).collect::<Outcome<Vec<_>>>()?;
                device.copy(&mut own)?;
                own.iter().map(GuestCopy::status).collect()
            }
        };
        let mut refused = 0;
        for (copy, status) in copies.iter_mut().zip(statuses) {
            copy.status = status.map_or_else(|GrantError { status }| status.into(), |()| 0);
            refused += usize::from(copy.status != 0);
        }
        Ok(arguments::count(refused))
    })
}

/// # Safety
/// Its local memory is there for `'a`.
unsafe fn segment<'a>(copy: &xr_grant_copy) -> Outcome<CopySegment<'a>> {
    let place = |domid, grant, offset| -> Outcome<_> {
        let (guest, grant) = (arguments::guest(domid)?, GrantRef::new(grant));
        Ok(GrantedByte {
            guest,
            grant,
            offset,
        })
    };
    let at = place(copy.domid, copy.grant, copy.offset)?;
    let local = copy.local.cast::<u8>();
    Ok(match copy.way {
        XR_COPY_READ => {
            // SAFETY: by this function's contract.
            CopySegment::read(at, unsafe {
                arguments::slice_mut(local, copy.length, "local")
            }?)?
        }
        XR_COPY_WRITE => {
            // SAFETY: as above.
            CopySegment::write(at, unsafe {
                arguments::slice(local, copy.length, "local")
            }?)?
        }
        XR_COPY_BETWEEN => {
            let to = place(copy.to_domid, copy.to_grant, copy.to_offset)?;
            CopySegment::between(at, to, copy.length)?
        }
        other => return Err(no_way(other)),
    })
}

/// # Safety
/// As [`segment`].
unsafe fn of_guest<'a>(copy: &xr_grant_copy, guest: GuestId) -> Outcome<GuestCopy<'a>> {
    let place = |domid, grant, offset| -> Outcome<_> {
        only(domid, guest)?;
        let grant = GrantRef::new(grant);
        Ok(GrantOffset { grant, offset })
    };
    let at = place(copy.domid, copy.grant, copy.offset)?;
    let local = copy.local.cast::<u8>();
    Ok(match copy.way {
        XR_COPY_READ => {
            // SAFETY: by this function's contract.
            GuestCopy::read(at, unsafe {
                arguments::slice_mut(local, copy.length, "local")
            }?)?
        }
        XR_COPY_WRITE => {
            // SAFETY: as above.
            GuestCopy::write(at, unsafe {
                arguments::slice(local, copy.length, "local")
            }?)?
        }
        XR_COPY_BETWEEN => {
            let to = place(copy.to_domid, copy.to_grant, copy.to_offset)?;
            GuestCopy::between(at, to, copy.length)?
        }
        other => return Err(no_way(other)),
    })
}

fn no_way(way: u32) -> Failure {
    Failure::argument(format!("there is no way {way} to copy"))
}

/// Opens /dev/xen/gntalloc. xr_restrict_all() revokes it. `*out` is the caller's, to be
/// closed by xr_close(); NULL after an error.
///
/// Returns 0.
/// Errors: as xr_evtchn_open().
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_gntalloc_open(out: *mut *mut xr_gntalloc) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let handle = GrantAllocator::open()?;
        out.set(give(Allocator(handle))?);
        Ok(0)
    })
}

/// Allocates `pages` zeroed pages and grants them to a guest, which may write to them if
/// `writable`. The references to tell the guest, one a page, are written to `grants`. `*out`
/// is the caller's, to be closed by xr_close(), which takes the grants back as soon as the
/// guest has unmapped them.
///
/// Returns 0.
/// Errors: EINVAL: no pages; E2BIG: more than 65535; ENOSPC: the driver's limit (1024 in all,
/// its module parameter `limit`); ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `grants` has room for `pages` references, `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_gntalloc_grant(
    gntalloc: *mut xr_gntalloc,
    domid: u16,
    pages: usize,
    writable: c_int,
    grants: *mut u32,
    out: *mut *mut xr_memory,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let handle = hold(gntalloc)?;
        // SAFETY: as above.
        let to = unsafe { arguments::slice_mut(grants, pages, "grants") }?;
        let guest = arguments::guest(domid)?;
        let memory = handle.0.grant(guest, pages, arguments::access(writable))?;
        for (to, grant) in to.iter_mut().zip(memory.refs()) {
            *to = grant.get();
        }
        out.set(give(Memory::Granted(memory))?);
        Ok(0)
    })
}
