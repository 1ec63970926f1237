// SPDX-License-Identifier: MIT OR Apache-2.0
//! The border: no panic passes it, and none is printed. No thread is cancelled behind it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libc::c_int;

use crate::failure::{Failure, Outcome};

/// Every exported function is one call of this, or does nothing that could go wrong.
#[inline]
pub(crate) fn guard(body: impl FnOnce() -> Outcome) -> c_int {
    let _uncancelled = Uncancelled::begin();
    #[cfg(not(any(test, feature = "fuzzing")))]
    quiet::keep();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(failure)) => failure.told(),
        Err(payload) => {
            // To drop it could panic again.
            std::mem::forget(payload);
            contained()
        }
    }
}

#[cold]
fn contained() -> c_int {
    let text = "a bug in xen-restrict was met and contained: please report it";
    Failure::new(libc::ENOTRECOVERABLE, text).told()
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

/// glibc cancels a thread by unwinding it, which no frame of Rust's survives. So meanwhile a
/// request of `pthread_cancel(3)` stays pending, also in callbacks.
struct Uncancelled {
    before: c_int,
}

impl Uncancelled {
    const DISABLE: c_int = 1;

    #[inline]
    fn begin() -> Self {
        let mut before = Self::DISABLE;
        // SAFETY: writes the place, which lives.
        unsafe { pthread_setcancelstate(Self::DISABLE, &raw mut before) };
        Self { before }
    }
}

impl Drop for Uncancelled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: takes a number that the other call gave.
        unsafe { pthread_setcancelstate(self.before, std::ptr::null_mut()) };
    }
}

/// A library does not write to its program's standard error. Its copy of Rust's library is its
/// own, so nobody else's panics are kept quiet; but for tests, which are written in Rust.
#[cfg(not(any(test, feature = "fuzzing")))]
mod quiet {
    use std::{panic::set_hook, sync::Once};

    static QUIET: Once = Once::new();

    #[inline]
    pub(super) fn keep() {
        // A hook cannot be set by a thread that is panicking.
        if !QUIET.is_completed() && !std::thread::panicking() {
            set();
        }
    }

    #[cold]
    fn set() {
        QUIET.call_once(|| set_hook(Box::new(|_| {})));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_number() {
        let number = guard(|| {
            let nothing: [u8; 0] = [];
            Ok(nothing[std::hint::black_box(1)].into())
        });
        assert_eq!(number, -libc::ENOTRECOVERABLE);
        assert_eq!(guard(|| Ok(3)), 3);
    }
}
