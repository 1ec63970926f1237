// SPDX-License-Identifier: MIT OR Apache-2.0
//! The border: no panic passes it, and none is printed.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use libc::c_int;

use crate::failure::{Failure, Outcome};

thread_local! {
    /// Calls that this thread is in: more than one in a callback.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Every exported function is one call of this, or does nothing that could go wrong.
#[inline]
pub(crate) fn guard(body: impl FnOnce() -> Outcome) -> c_int {
    static QUIET: Once = Once::new();
    if !QUIET.is_completed() {
        QUIET.call_once(keep_quiet);
    }
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let outcome = catch_unwind(AssertUnwindSafe(body));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    match outcome {
        Ok(Ok(value)) => value,
        Ok(Err(failure)) => failure.told(),
        Err(payload) => {
            // To drop it could panic again.
            std::mem::forget(payload);
            let text = "a bug in xen-restrict was met and contained: please report it";
            Failure::new(libc::ENOTRECOVERABLE, text).told()
        }
    }
}

/// A library does not write to its program's standard error.
#[cold]
fn keep_quiet() {
    let others = take_hook();
    set_hook(Box::new(move |info| {
        if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
            others(info);
        }
    }));
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
        assert_eq!(DEPTH.get(), 0);
    }
}
