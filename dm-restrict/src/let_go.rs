// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a supervisor has open for its program only.

use std::os::fd::{FromRawFd as _, OwnedFd};

use xen_restrict::launch::NamedFd;

/// Closes what was handed over, when the program has it: a file would keep its file system in
/// use, and a socket's peer would wait for two to close it. The standard ones stay.
pub(crate) fn let_go(fds: &[NamedFd]) {
    let numbers = fds.iter().map(NamedFd::number);
    for number in numbers.filter(|number| *number > libc::STDERR_FILENO) {
        // SAFETY: open since before the launch, which has copied it; no number is named twice,
        // and nobody but the program was meant to use it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}
