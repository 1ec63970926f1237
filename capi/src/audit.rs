// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a running program can do.

use libc::{c_char, c_int};
use serde_json::json;
use xen_restrict::{
    audit::{Expectation, Verdict, audit},
    doctor,
    launch::running,
};

use crate::{
    arguments::{self, Growing, Out},
    failure::{Failure, Outcome},
    guard::guard,
    launch::mechanisms,
};

/// What xr_audit() holds a process against. Set all to 0, and `size` to sizeof.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_audit_options {
    /// sizeof(xr_audit_options).
    pub size: usize,
    /// The process, by its number here.
    pub pid: i32,
    /// The guest that its handles are to be restricted to; 0: all to one and the same.
    pub domid: u16,
    /// 1: every thread is stopped for a moment and its filters are read. A system call it
    /// waits in may fail with EINTR then. No other thread of the caller may wait for any
    /// child meanwhile, as waitpid(-1, ...) does: it would get these stops.
    pub filters: u16,
    /// "strict", "qemu" or "libxl"; NULL: what was recorded when dm-restrict started it, else strict.
    pub profile: *const c_char,
    /// Names of mechanisms that are not asked for, up to NULL; or NULL.
    pub without: *const *const c_char,
}

// SAFETY: numbers, and pointers which may be null, without padding.
unsafe impl Growing for xr_audit_options {
    const FIRST: usize = 32;
}

/// Everything holds.
pub const XR_HOLDS: c_int = 0;
/// Something fails, as the report says.
pub const XR_FAILS: c_int = 1;
/// Nothing fails, but not all could be looked at.
pub const XR_NOT_OBSERVED: c_int = 2;

/// Looks at a running process from outside, and at all that belong to it: whether each
/// mechanism of confinement is in force, and what each handle on Xen's devices may act on.
/// Nothing is changed by that. Takes root. A file system that does not answer keeps it
/// waiting.
///
/// `*json`, unless `json` is NULL, is the report in the form of `dm-restrict audit --json`:
/// a string that is the caller's, to be freed by free(3); NULL after an error.
///
/// Returns XR_HOLDS, XR_FAILS or XR_NOT_OBSERVED.
/// Errors: ESRCH: no such process, or it ended; EAGAIN: it changes all the time; EPERM: not
/// root, or Yama or a filter of this process's own forbids it; ENOSYS: Linux before 5.6; EINVAL, E2BIG: as xr_seal(); ENOMEM,
/// EIO.
/// Threads: any.
/// Fork: usable.
/// Pointers: `options` leads to a structure of its `size`, `json` is NULL or leads to a place for a
/// pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_audit(
    options: *const xr_audit_options,
    json: *mut *mut c_char,
) -> c_int {
    guard(|| {
        let wanted = !json.is_null();
        // SAFETY: by this function's contract.
        let json = wanted.then(|| unsafe { Out::none(json) }).transpose()?;
        // SAFETY: as above.
        let options = unsafe { arguments::growing(options, "options") }?;
        // SAFETY: as above.
        let expectation = unsafe { expectation(&options) }?;
        let report = audit(options.pid, &expectation)?;
        if let Some(json) = json {
            json.set(text(&json!({
                "version": 1,
                "verdict": report.verdict,
                "reports": [report],
                "errors": [],
            }))?);
        }
        Ok(match report.verdict {
            Verdict::Holds => XR_HOLDS,
            Verdict::Fails => XR_FAILS,
            _ => XR_NOT_OBSERVED,
        })
    })
}

/// # Safety
/// Its profile and list end with NUL and NULL, or are null.
unsafe fn expectation(options: &xr_audit_options) -> Outcome<Expectation> {
    // SAFETY: by this function's contract.
    let profile = unsafe { arguments::maybe_text(options.profile, "profile") }?;
    // By number it may be anybody's, and it is no matter where there are no records.
    let mut recorded = running().unwrap_or_default().into_iter();
    let recorded = recorded.find(|record| record.pid == options.pid && profile.is_none());
    let mut expectation = match recorded {
        Some(record) => Expectation::try_from(record)?,
        None => Expectation::default(),
    };
    if let Some(name) = profile {
        expectation.profile = name.parse()?;
    }
    if options.domid != 0 {
        expectation.domid = Some(arguments::guest(options.domid)?);
    }
    expectation.filters = options.filters != 0;
    // SAFETY: as above.
    let without = unsafe { mechanisms(options.without, "without") }?;
    expectation.without.extend(without);
    Ok(expectation)
}

/// Programs that dm-restrict, or xr_launch(), started and that run now, in the form of
/// `dm-restrict list --json`. `*json` is the caller's, to be freed by free(3); NULL after an
/// error.
///
/// Returns how many there are.
/// Errors: EIO, EACCES: /run/dm-restrict cannot be read; EINVAL, ENOMEM.
/// Threads: any.
/// Fork: usable.
/// Pointers: `json` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_list(json: *mut *mut c_char) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let json = unsafe { Out::none(json) }?;
        let running = running()?;
        json.set(text(&json!(running))?);
        Ok(arguments::count(running.len()))
    })
}

/// What this machine has for confinement, in the form of `dm-restrict doctor --json`. `*json`
/// is the caller's, to be freed by free(3); NULL after an error.
///
/// Returns 0, whatever was found.
/// Errors: EINVAL, ENOMEM.
/// Threads: any.
/// Fork: usable.
/// Pointers: `json` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_doctor(json: *mut *mut c_char) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let json = unsafe { Out::none(json) }?;
        json.set(text(&json!(doctor::examine()))?);
        Ok(0)
    })
}

/// For the caller, who frees it by free(3).
fn text(value: &serde_json::Value) -> Outcome<*mut c_char> {
    let text = serde_json::to_vec_pretty(value)?;
    // SAFETY: takes a number.
    let copy = unsafe { libc::malloc(text.len() + 1) }.cast::<u8>();
    if copy.is_null() {
        return Err(Failure::new(libc::ENOMEM, "there is no memory"));
    }
    // SAFETY: there is room, apart from `text`.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len()) };
    // SAFETY: the last byte of it.
    unsafe { copy.wrapping_add(text.len()).write(0) };
    Ok(copy.cast())
}
