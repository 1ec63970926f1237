// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles that a launcher handed over.

use std::{
    os::fd::{IntoRawFd, OwnedFd},
    sync::{Mutex, PoisonError},
};

use libc::{c_char, c_int};
use xen_restrict::Handover;

use crate::{
    arguments::{self, Out},
    evtchn::Events,
    failure::Failure,
    grants::Grants,
    guard::guard,
    handle::give,
    privcmd::PrivCmd,
    xr_evtchn, xr_gntdev, xr_privcmd,
};

/// What a launcher handed over. Each handle is the caller's, to be closed by xr_close(), and
/// NULL where it was not handed over.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_handover {
    /// The guest that this process serves.
    pub domid: u16,
    /// 0.
    pub reserved: [u16; 3],
    /// Restricted to the guest.
    pub privcmd: *mut xr_privcmd,
    /// Restricted to the guest.
    pub evtchn: *mut xr_evtchn,
    /// With a broker that maps the guest's grants only.
    pub gntdev: *mut xr_gntdev,
}

static OTHERS: Mutex<Vec<(String, OwnedFd)>> = Mutex::new(Vec::new());

/// Takes what `dm-restrict run`, or xr_launch(), handed over, by the environment that it
/// set, and proves of each Xen handle that it is what its name says and restricted to the
/// guest. Call it first of all in main(), and once: a descriptor that something else opened
/// could have a number of those. Descriptors with names of your own: xr_handover_fd().
///
/// Returns 0.
/// Errors: ENOENT: nothing was handed over; EALREADY: it was received before, or is for
/// another process; EBADF: a descriptor is not there; EPERM: a handle is not restricted to
/// the guest; ENOTTY: a descriptor is not what its name says; EINVAL: the environment makes
/// no sense; EMFILE, and the kernel's own. What was taken is closed then.
/// Threads: none other may be there.
/// Fork: usable, by the process that was launched only.
/// Pointers: `out` leads to a structure; the descriptors that the environment names are nobody else's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_handover_receive(out: *mut xr_handover) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::new(out, "out") }?;
        let mut given = xr_handover {
            domid: 0,
            reserved: [0; 3],
            privcmd: std::ptr::null_mut(),
            evtchn: std::ptr::null_mut(),
            gntdev: std::ptr::null_mut(),
        };
        out.set(given);
        // SAFETY: as above.
        let handover = unsafe { Handover::receive() }?;
        given.domid = handover.guest.get();
        // What was given before is never told after an error, and the table is all but empty.
        if let Some(handle) = handover.privcmd {
            given.privcmd = give(PrivCmd::restricted(handle))?;
        }
        if let Some(handle) = handover.events {
            given.evtchn = give(Events::restricted(handle))?;
        }
        if let Some(handle) = handover.grants {
            given.gntdev = give(Grants::restricted(handle))?;
        }
        *OTHERS.lock().unwrap_or_else(PoisonError::into_inner) = handover.others;
        out.set(given);
        Ok(0)
    })
}

/// Takes a descriptor that was handed over under a name of the launcher's user
/// (`--fd NAME=NUM`). It is the caller's then, and close-on-exec.
///
/// Returns the descriptor.
/// Errors: ENOENT: none of this name, or it was taken before; EINVAL.
/// Threads: any.
/// Fork: usable, in the process that received them only.
/// Pointers: `name` leads to a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_handover_fd(name: *const c_char) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let name = unsafe { arguments::text(name, "name") }?;
        let mut others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
        let at = others.iter().position(|(other, _)| other == name);
        let at = at.ok_or_else(|| {
            let text = format!("no descriptor {name:?} was handed over: see --fd");
            Failure::new(libc::ENOENT, text)
        })?;
        Ok(others.remove(at).1.into_raw_fd())
    })
}
