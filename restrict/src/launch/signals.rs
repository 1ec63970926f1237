// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of signals: who started the supervisor may have had them ignored, and
//! exec keeps that.

use std::{io, mem, ptr};

use nix::{
    errno::Errno,
    sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask},
};

/// Passed on to the program, as it was not in the launcher's process group.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];
/// `_NSIG` of Linux, real-time signals counted.
const LAST: libc::c_int = 64;

/// Those to pass on; not what the launcher ignores: `nohup dm-restrict run ...`.
pub(crate) fn passed_on() -> SigSet {
    let heeded = PASSED_ON
        .into_iter()
        .filter(|signal| !is_ignored(*signal as libc::c_int));
    heeded.collect()
}

/// Children of this process leave a status when they end: they would not, and the number
/// of one would be another's at once, where SIGCHLD is ignored.
pub(crate) fn children_leave_a_status() -> io::Result<()> {
    match is_ignored(libc::SIGCHLD) {
        true => Ok(set_default(libc::SIGCHLD)?),
        false => Ok(()),
    }
}

/// What the supervisor blocks and ignores is not passed on to a program.
pub(crate) fn default_all() {
    for signal in 1..=LAST {
        // SIGKILL and SIGSTOP say EINVAL, and so does the C library of its own two.
        let _ = set_default(signal);
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: a struct of numbers, of which zero is one.
    let mut now: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: changes nothing; the struct lives.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut now) };
    result == 0 && now.sa_sigaction == libc::SIG_IGN
}

fn set_default(signal: libc::c_int) -> Result<(), Errno> {
    // SAFETY: as above; no flag, and an empty mask.
    let mut default: libc::sigaction = unsafe { mem::zeroed() };
    default.sa_sigaction = libc::SIG_DFL;
    // SAFETY: no handler is installed; the struct lives.
    let result = unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    Errno::result(result).map(drop)
}
