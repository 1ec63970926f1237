// SPDX-License-Identifier: MIT OR Apache-2.0
//! One guest: its memory and its resources. `dm_op.rs` has the operations on it.

use libc::c_int;
use xen_restrict::{self as restrict, Gfn, IoreqServerId, Resource};

use crate::{
    arguments::{self, Out},
    failure::{Failure, Outcome},
    guard::guard,
    handle::{Finish, give, hold},
    memory::Memory,
    xr_guest, xr_memory,
};

pub(crate) struct Guest(pub(crate) restrict::Guest);

impl Finish for Guest {}

/// An ioreq server's pages; `id` is the server's.
pub const XR_RESOURCE_IOREQ_SERVER: u32 = 0;
/// The guest's grant table; `id` is 0.
pub const XR_RESOURCE_GRANT_TABLE: u32 = 1;
/// The trace buffer of a virtual processor (Xen 4.15, Intel); `id` is its number.
pub const XR_RESOURCE_VMTRACE: u32 = 2;

/// The guest's domid.
///
/// Returns it, 1 to 32751.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_guest_domid(guest: *const xr_guest) -> c_int {
    guard(|| Ok(hold(guest)?.0.id().get().into()))
}

/// Maps `count` pages of the guest's memory, of 4096 bytes each, in the order given. The
/// mapping is there even where some pages, or all, are not: xr_memory_missing() tells them;
/// a page that is paged out (ENOENT there) can be there later: xr_memory_retry(). `*out` is the
/// caller's, to be closed by xr_close(). It is not there in a forked child.
///
/// Returns 0.
/// Errors: EINVAL: no pages; E2BIG: 2^31 or more; EPERM: the handle is restricted to
/// another guest; ESRCH: no such domain; ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `gfns` leads to `count` frame numbers, `out` to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_map(
    guest: *mut xr_guest,
    gfns: *const u64,
    count: usize,
    writable: c_int,
    out: *mut *mut xr_memory,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let guest = hold(guest)?;
        // A frame's number and nothing else (`repr(transparent)`), and not looked at before the
        // length is.
        let gfns = gfns.cast::<Gfn>();
        // SAFETY: as above.
        let gfns = unsafe { arguments::slice(gfns, count, "gfns") }?;
        let memory = guest.0.map(gfns, arguments::access(writable))?;
        out.set(give(Memory::Guest(memory))?);
        Ok(0)
    })
}

/// How many pages a resource (XR_RESOURCE_...) has (Linux 5.12, Xen 4.15; before, how many
/// one call maps).
///
/// Returns 0, and the number in `*frames`.
/// Errors: EINVAL: no such resource; EPERM, ESRCH, ENXIO, EBADF, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `frames` leads to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_resource_frames(
    guest: *mut xr_guest,
    resource: u32,
    id: u32,
    frames: *mut u64,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let frames = unsafe { Out::new(frames, "frames") }?;
        let number = hold(guest)?.0.resource_frames(named(resource, id)?)?;
        frames.set(number);
        Ok(0)
    })
}

/// Maps `frames` pages of a resource (XR_RESOURCE_...) from page `first` on (Linux 4.18).
/// `*out` is the caller's, to be closed by xr_close(). It is not there in a forked child.
///
/// Returns 0.
/// Errors: EINVAL: no such resource, or it has no such pages; EPERM, ESRCH, ENXIO, EBADF,
/// EMFILE, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_map_resource(
    guest: *mut xr_guest,
    resource: u32,
    id: u32,
    first: u32,
    frames: u32,
    writable: c_int,
    out: *mut *mut xr_memory,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let (guest, resource) = (hold(guest)?, named(resource, id)?);
        let access = arguments::access(writable);
        let memory = guest.0.map_resource(resource, first, frames, access)?;
        out.set(give(Memory::Resource(memory))?);
        Ok(0)
    })
}

fn named(resource: u32, id: u32) -> Outcome<Resource> {
    match resource {
        XR_RESOURCE_IOREQ_SERVER => match u16::try_from(id) {
            Ok(id) => Ok(Resource::IoreqServer(IoreqServerId::new(id))),
            Err(_) => Err(Failure::argument(format!("{id} is no ioreq server's"))),
        },
        XR_RESOURCE_GRANT_TABLE => Ok(Resource::GrantTable),
        XR_RESOURCE_VMTRACE => Ok(Resource::VmTrace { vcpu: id }),
        other => Err(Failure::argument(format!("there is no resource {other}"))),
    }
}
