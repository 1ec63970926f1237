// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program locks itself down.

use libc::{c_char, c_int};
use xen_restrict::confine::Seal;

use crate::{
    arguments::{self, Growing},
    failure::{Failure, Outcome},
    guard::guard,
    launch::mechanisms,
};

/// What xr_seal() does: by default all that a process can do to itself. Set all to 0, and
/// `size` to sizeof.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_seal_options {
    /// sizeof(xr_seal_options).
    pub size: usize,
    /// Names of mechanisms to be left out, up to NULL; or NULL.
    pub without: *const *const c_char,
    /// Paths that can still be read, with all beneath, up to NULL; or NULL.
    pub read_only: *const *const c_char,
    /// Paths that can still be read and written, up to NULL; or NULL.
    pub read_write: *const *const c_char,
    /// XR_SEAL_MAPPING, or 0.
    pub flags: u64,
}

// SAFETY: numbers, and pointers which may be null, without padding.
unsafe impl Growing for xr_seal_options {
    const FIRST: usize = 40;
}

/// No memory of the guest can be mapped from then on; what is mapped stays.
pub const XR_SEAL_MAPPING: u64 = 1;

/// Mechanisms that are in force in every thread, for good.
pub const XR_SEALED: c_int = 0;
/// A supervisor was told of it.
pub const XR_SEALED_SUPERVISOR_TOLD: c_int = 1;
/// This machine has no Landlock, or it was left to the launcher.
pub const XR_SEALED_WITHOUT_LANDLOCK: c_int = 2;

/// Seals the process, for good, all threads: those that are there, and with them all that it
/// starts. Capabilities, limits, no-new-privs, Landlock, the filters of system calls and of
/// requests of Xen's devices; the *dumpable* flag is cleared, and a supervisor, if
/// NOTIFY_SOCKET names one, is told that the program is ready. What is open stays open.
/// `options` may be NULL: all of it.
///
/// Returns XR_SEALED, XR_SEALED_SUPERVISOR_TOLD and XR_SEALED_WITHOUT_LANDLOCK, added up.
/// Errors: EOPNOTSUPP: one mechanism cannot be applied, or does not reach all threads, as
/// xr_error() says; then the program is to end, as some may be in force. EINVAL: no such
/// mechanism, or flag; E2BIG: `options` of a later version asks for what this one does not know.
/// Threads: any.
/// Fork: usable; it seals the child only.
/// Pointers: `options` is NULL or leads to a structure of its `size`, whose lists end with NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_seal(options: *const xr_seal_options) -> c_int {
    guard(|| {
        let mut seal = Seal::new();
        if !options.is_null() {
            // SAFETY: by this function's contract.
            let options = unsafe { arguments::growing(options, "options") }?;
            // SAFETY: as above.
            seal = unsafe { named(seal, &options) }?;
        }
        let sealed = seal.apply()?;
        let told = i32::from(sealed.told_supervisor()) * XR_SEALED_SUPERVISOR_TOLD;
        let without = i32::from(sealed.absent().is_some()) * XR_SEALED_WITHOUT_LANDLOCK;
        Ok(XR_SEALED | told | without)
    })
}

/// # Safety
/// Each list is NULL or ends with NULL.
unsafe fn named(mut seal: Seal, options: &xr_seal_options) -> Outcome<Seal> {
    // SAFETY: by this function's contract.
    for mechanism in unsafe { mechanisms(options.without, "without") }? {
        seal = seal.without(mechanism);
    }
    // SAFETY: as above.
    for path in unsafe { arguments::texts(options.read_only, "read_only") }? {
        seal = seal.read_only(path);
    }
    // SAFETY: as above.
    for path in unsafe { arguments::texts(options.read_write, "read_write") }? {
        seal = seal.read_write(path);
    }
    match options.flags {
        0 => Ok(seal),
        XR_SEAL_MAPPING => Ok(seal.seal_mapping()),
        other => Err(Failure::argument(format!("there are no flags {other:#x}"))),
    }
}
