// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose uid a domain's device model gets, and how what runs under it is ended.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _};

use libc::{c_char, c_int};
use xen_restrict::{
    confine::{Identity, Reaper, Rule, UserDb},
    launch::{RUN_DIR, remove_stale},
};

use crate::{
    arguments::{self, Out},
    guard::guard,
};

/// The user was named by the caller.
pub const XR_RULE_EXPLICIT: u32 = 0;
/// The uid of user xen-qemuuser-range-base plus the domid.
pub const XR_RULE_RANGE_BASE: u32 = 1;
/// A user xen-qemuuser-domid<N> of its own.
pub const XR_RULE_PER_DOMAIN: u32 = 2;
/// User xen-qemuuser-shared: all guests' device models are one user, and can act on each
/// other.
pub const XR_RULE_SHARED: u32 = 3;
/// A rule that this version of the library has no number for.
pub const XR_RULE_OTHER: u32 = 4;

/// Whose uid and gid a device model runs under.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_identity_info {
    /// The uid; never 0, 65534, 65535 or 4294967295.
    pub uid: u32,
    /// The only group.
    pub gid: u32,
    /// XR_RULE_...
    pub rule: u32,
    /// 1 where the uid is this domain's alone, so that all under it is killed when the domain
    /// has ended; else 0.
    pub exclusive: u32,
}

/// Says whose uid the device model of a domain gets: `user`'s, if that is not NULL.
///
/// Returns 0.
/// Errors: ENOENT: there is no such user, or its uid is not to be given to a device model;
/// EIO: the user database cannot be read; EINVAL.
/// Threads: any.
/// Fork: usable.
/// Pointers: `user` is NULL or leads to a string that ends with NUL, `out` leads to a structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_identity(
    domid: u16,
    user: *const c_char,
    out: *mut xr_identity_info,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::new(out, "out") }?;
        // SAFETY: as above.
        let user = unsafe { arguments::maybe_text(user, "user") }?;
        let guest = arguments::guest(domid)?;
        let identity = Identity::choose(guest, user, &UserDb::from_system()?)?;
        out.set(xr_identity_info {
            uid: identity.uid(),
            gid: identity.gid(),
            rule: match identity.rule() {
                Rule::Explicit { .. } => XR_RULE_EXPLICIT,
                Rule::RangeBase { .. } => XR_RULE_RANGE_BASE,
                Rule::PerDomain { .. } => XR_RULE_PER_DOMAIN,
                Rule::Shared => XR_RULE_SHARED,
                _ => XR_RULE_OTHER,
            },
            exclusive: identity.is_exclusive().into(),
        });
        Ok(0)
    })
}

/// Kills every process of a domain's uid, which has to be the domain's alone, and removes
/// what killed supervisors left in /run/dm-restrict. For when the domain has ended. Takes
/// root, outside of containers; it waits 10 s at most for each of two things.
///
/// Returns how many processes there were: none is left.
/// Errors: EACCES: the uid is not this domain's alone; ENOENT: no user is set up for it, or
/// to reap under; EPERM: not root; EBUSY: some were left when time was up, as xr_error()
/// says; EIO: it could not look; EINVAL.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_reap(domid: u16) -> c_int {
    guard(|| {
        let guest = arguments::guest(domid)?;
        let db = UserDb::from_system()?;
        let identity = Identity::choose(guest, None, &db)?;
        let reaper = Reaper::new(&identity, &db, RUN_DIR)?;
        // Where this fails the reaper says what is missing: root, or the directory.
        let _ = DirBuilder::new().mode(0o755).create(RUN_DIR);
        let reaped = reaper.reap()?;
        remove_stale(guest)?;
        Ok(arguments::count(reaped.found))
    })
}
