// SPDX-License-Identifier: MIT OR Apache-2.0
//! More questions than a supervisor can like.

use std::{
    ffi::OsStr,
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    thread,
};

use nix::errno::Errno;
use xen_restrict::confine::xen_requests::POLICY;

static REFUSED: AtomicBool = AtomicBool::new(false);
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// So many threads ask for a request of the set-up phase, without a pause and for good.
/// Tells when all have begun, when the first is refused, and of each that is let through
/// although it began after that.
pub(crate) fn flood(threads: &OsStr) {
    let threads: u32 = threads.to_str().unwrap().parse().unwrap();
    for _ in 0..threads {
        thread::spawn(move || ask(threads));
    }
}

fn ask(threads: u32) {
    let mut first = true;
    let asked = POLICY
        .iter()
        .find(|row| row.request == "privcmd MMAP_RESOURCE");
    let asked = asked.unwrap().number.into();
    loop {
        let late = REFUSED.load(SeqCst);
        // SAFETY: a null argument: a driver that reads one says EFAULT.
        let answer = unsafe { libc::ioctl(0, asked, 0) };
        let refused = Errno::result(answer) == Err(Errno::EPERM);
        if refused && !REFUSED.swap(true, SeqCst) {
            say("refused");
        }
        if late && !refused {
            say("let through");
        }
        if first && BEGUN.fetch_add(1, SeqCst) + 1 == threads {
            say("flooding");
        }
        first = false;
    }
}

fn say(what: &str) {
    println!("{what}");
    std::io::stdout().flush().unwrap();
}
