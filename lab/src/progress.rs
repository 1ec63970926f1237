// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lab is doing, with the seconds since it started, and what dom0 says meanwhile.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

thread_local! {
    /// What this thread keeps to itself for now.
    static KEPT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Starts the clock; the first call counts.
pub(crate) fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

/// A line of the lab's own.
pub(crate) fn say(text: &str) {
    let line = format!("[{:6.1}s] {text}\n", start().elapsed().as_secs_f64());
    if !keep(line.as_bytes()) {
        eprint!("{line}");
    }
}

/// What was said in dom0.
///
/// # Errors
/// Nobody takes it.
pub(crate) fn pass_on(said: &[u8]) -> io::Result<()> {
    if keep(said) {
        return Ok(());
    }
    let mut output = io::stdout();
    output.write_all(said)?;
    output.flush()
}

/// What this thread says during `action` comes at its end, for another is talking.
pub(crate) fn in_one_piece<T>(action: impl FnOnce() -> T) -> T {
    KEPT.set(Some(Vec::new()));
    let value = action();
    let kept = KEPT.take().unwrap_or_default();
    eprint!("{}", String::from_utf8_lossy(&kept));
    value
}

fn keep(said: &[u8]) -> bool {
    KEPT.with_borrow_mut(|kept| {
        let kept = kept.as_mut();
        kept.map(|kept| kept.extend_from_slice(said)).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_kept_by_its_thread_alone() {
        in_one_piece(|| {
            say("one");
            pass_on(b"two\n").unwrap();
            std::thread::spawn(|| assert!(!keep(b"three")))
                .join()
                .unwrap();
            let kept = KEPT.with_borrow(Clone::clone).unwrap();
            let kept = String::from_utf8(kept).unwrap();
            assert!(kept.ends_with("s] one\ntwo\n"), "{kept}");
        });
        assert!(!keep(b"four"));
    }
}
