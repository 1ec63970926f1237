// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a call failed: a number of `errno(3)` for the caller's program, and a text for who
//! reads its log.

use std::{cell::RefCell, error::Error, ffi::CString, io};

use libc::{c_char, c_int};
use xen_restrict::{
    AccessError, Cause, HandoverError, InvalidGuestId,
    audit::AuditError,
    confine::{IdentityError, MechanismError, ReapError},
    launch::{LaunchError, SealError},
};

/// The outcome of a call before it is C's.
pub(crate) type Outcome<T = c_int> = Result<T, Failure>;

#[derive(Debug)]
pub(crate) struct Failure {
    errno: c_int,
    text: String,
}

impl Failure {
    #[cold]
    pub(crate) fn new(errno: c_int, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { errno, text }
    }

    /// An argument that can never work.
    #[cold]
    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::new(libc::EINVAL, text)
    }

    #[cold]
    fn of(errno: c_int, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        Self { errno, text }
    }

    #[cfg(test)]
    pub(crate) fn errno(&self) -> c_int {
        self.errno
    }

    /// Keeps the text for the thread, and returns the number as C gets it.
    #[cold]
    pub(crate) fn told(self) -> c_int {
        let mut bytes = self.text.into_bytes();
        bytes.retain(|byte| *byte != 0);
        let text = CString::new(bytes).unwrap_or_default();
        // A thread that ends has no text any more, and a call inside of this none.
        let _ = LAST.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                *last = text;
            }
        });
        -self.errno
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// The text of the last call of this thread that failed; never null.
pub(crate) fn last() -> *const c_char {
    let text = LAST.try_with(|last| last.try_borrow().map(|text| text.as_ptr()));
    text.ok().and_then(Result::ok).unwrap_or(c"".as_ptr())
}

impl From<xen_restrict::Error> for Failure {
    fn from(error: xen_restrict::Error) -> Self {
        Self::of(errno_of(&error.cause), &error)
    }
}

fn errno_of(cause: &Cause) -> c_int {
    match cause {
        Cause::NotXen => libc::ENODEV,
        Cause::NodeMissing { .. } => libc::ENOENT,
        Cause::PermissionDenied => libc::EACCES,
        Cause::WrongDevice { .. } => libc::ENOTTY,
        Cause::NotOpen => libc::EBADF,
        Cause::KernelTooOld => libc::ENOSYS,
        Cause::AlreadyRestricted
        | Cause::RestrictedElsewhere { .. }
        | Cause::NotRestricted
        | Cause::NotBrokered
        | Cause::Latched { .. }
        | Cause::Restricted => libc::EPERM,
        Cause::NotInForce { .. } | Cause::ShortRead(_) => libc::EIO,
        Cause::Leftovers(_) => libc::EBUSY,
        Cause::Revoked => libc::ENXIO,
        Cause::NoSuchDomain => libc::ESRCH,
        Cause::TooMany { .. } => libc::E2BIG,
        Cause::Invalid { .. } => libc::EINVAL,
        Cause::Quota { .. } => libc::EDQUOT,
        Cause::BrokerGone => libc::EPIPE,
        Cause::Access(error) => errno_of_access(error),
        Cause::RingOverflow => libc::EOVERFLOW,
        Cause::WouldBlock => libc::EAGAIN,
        Cause::Kernel(error) => errno_of_io(error),
        _ => libc::EIO,
    }
}

fn errno_of_access(error: &AccessError) -> c_int {
    match error {
        AccessError::Missing(_) => libc::EFAULT,
        AccessError::ReadOnly => libc::EROFS,
        _ => libc::ERANGE,
    }
}

fn errno_of_io(error: &io::Error) -> c_int {
    error
        .raw_os_error()
        .filter(|errno| *errno > 0)
        .unwrap_or(libc::EIO)
}

fn errno_of_launch(error: &LaunchError) -> c_int {
    match error {
        LaunchError::Option(_) => libc::EINVAL,
        LaunchError::NotFound { .. } => libc::ENOENT,
        LaunchError::NotExecutable { .. } => libc::EACCES,
        LaunchError::Mechanism(_) => libc::EOPNOTSUPP,
        LaunchError::Helper { .. } => libc::ENOEXEC,
        LaunchError::System { source, .. } => errno_of_io(source),
        other => match other.exit_code() {
            127 => libc::ENOENT,
            126 => libc::EACCES,
            _ => libc::ECANCELED,
        },
    }
}

fn errno_of_handover(error: &HandoverError) -> c_int {
    match error {
        HandoverError::Missing { .. } => libc::ENOENT,
        HandoverError::NotForUs { .. } | HandoverError::Again => libc::EALREADY,
        HandoverError::NotOpen { .. } | HandoverError::NotInherited { .. } => libc::EBADF,
        HandoverError::NotRevoked => libc::EPERM,
        HandoverError::Handle(error) => errno_of(&error.cause),
        HandoverError::Kernel(error) => errno_of_io(error),
        _ => libc::EINVAL,
    }
}

fn errno_of_reap(error: &ReapError) -> c_int {
    match error {
        ReapError::NotRoot => libc::EPERM,
        ReapError::NotExclusive { .. } => libc::EACCES,
        ReapError::NoReaper | ReapError::ReaperUser(_) => libc::ENOENT,
        ReapError::Left { .. } => libc::EBUSY,
        _ => libc::EIO,
    }
}

fn errno_of_audit(error: &AuditError) -> c_int {
    match error {
        AuditError::NoSuchProcess { .. }
        | AuditError::Ended { .. }
        | AuditError::AnotherProcess { .. } => libc::ESRCH,
        AuditError::Thread { .. } | AuditError::Record { .. } => libc::EINVAL,
        AuditError::Changing { .. } => libc::EAGAIN,
        AuditError::NotRoot { .. }
        | AuditError::Yama
        | AuditError::Filtered
        | AuditError::Denied { .. } => libc::EPERM,
        AuditError::KernelTooOld { .. } => libc::ENOSYS,
        _ => libc::EIO,
    }
}

fn errno_of_seal(error: &SealError) -> c_int {
    match error {
        SealError::NotRunning { .. } => libc::ESRCH,
        SealError::Unreachable(error) => errno_of_io(error),
        _ => libc::EAGAIN,
    }
}

/// Each error with what its number is.
macro_rules! failures {
    ($($error:ty: $errno:expr;)*) => {$(
        impl From<$error> for Failure {
            #[cold]
            fn from(error: $error) -> Self {
                #[allow(clippy::redundant_closure_call, reason = "one form for all")]
                Self::of($errno(&error), &error)
            }
        }
    )*};
}

failures! {
    AccessError: errno_of_access;
    io::Error: errno_of_io;
    InvalidGuestId: |_| libc::EINVAL;
    LaunchError: errno_of_launch;
    HandoverError: errno_of_handover;
    ReapError: errno_of_reap;
    AuditError: errno_of_audit;
    MechanismError: |_| libc::EOPNOTSUPP;
    IdentityError: |_| libc::ENOENT;
    xen_restrict::confine::UserDbError: |_| libc::EIO;
    xen_restrict::confine::UnknownMechanism: |_| libc::EINVAL;
    xen_restrict::confine::UnknownProfile: |_| libc::EINVAL;
    xen_restrict::confine::InvalidLimit: |_| libc::EINVAL;
    xen_restrict::launch::InvalidOption: |_| libc::EINVAL;
    serde_json::Error: |_| libc::EIO;
    SealError: errno_of_seal;
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn text() -> String {
        // SAFETY: of this thread, and copied at once.
        unsafe { CStr::from_ptr(last()) }
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_text_is_of_the_threads_own_last_failure() {
        assert_eq!(text(), "");
        assert_eq!(Failure::new(libc::EPERM, "one").told(), -libc::EPERM);
        assert_eq!(Failure::argument("tw\0o").told(), -libc::EINVAL);
        assert_eq!(text(), "two");
        std::thread::spawn(|| assert_eq!(text(), ""))
            .join()
            .unwrap();
    }

    #[test]
    fn no_number_is_success() {
        let odd = [0, -1, i32::MIN].map(io::Error::from_raw_os_error);
        for error in odd.into_iter().chain([io::ErrorKind::Other.into()]) {
            assert_eq!(Failure::from(error).told(), -libc::EIO);
        }
    }
}
