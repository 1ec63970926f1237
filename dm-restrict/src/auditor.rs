// SPDX-License-Identifier: MIT OR Apache-2.0
//! `run --audit`: the supervisor gives up what an audit takes before the program runs, so
//! a child of its own keeps it, and waits.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, dup2_stdout, fork, pipe2, read, write},
};

use crate::{audit, say};

/// A child that will look at the program.
pub(crate) struct Auditor {
    child: Pid,
    go: OwnedFd,
}

impl Auditor {
    /// Call it while the program waits, and this process has one thread.
    pub(crate) fn prepare(program: i32) -> io::Result<Self> {
        let (wait, go) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: this process has one thread, so the child may do all that this one may.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { child, go }),
            ForkResult::Child => {
                drop(go);
                let code = Self::look(program, &ManuallyDrop::new(wait));
                // SAFETY: ends the process; nothing of the supervisor's, whose copy this
                // is, runs.
                unsafe { libc::_exit(code.into()) }
            }
        }
    }

    fn look(program: i32, wait: &OwnedFd) -> u8 {
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
        let Ok(wait) = keep_only(wait) else {
            return 2;
        };
        // Without a word the program was not started, and the supervisor says why. What
        // is found goes where messages go: standard output is the program's.
        if read(&wait, &mut [0]) != Ok(1) || dup2_stdout(io::stderr().as_fd()).is_err() {
            return 2;
        }
        let code = audit::audit_process(program);
        if code != 0 {
            say("the audit failed: the program ends");
            // The supervisor waits for us before it waits for another program.
            let _ = kill(Pid::from_raw(program), Signal::SIGKILL);
        }
        code
    }

    /// The program runs: look at it.
    pub(crate) fn go(&self) {
        // A child that is gone is found out by `passed`.
        let _ = write(&self.go, b"g");
    }

    /// Whether every check held.
    pub(crate) fn passed(self) -> bool {
        drop(self.go);
        loop {
            match waitpid(self.child, None) {
                Err(Errno::EINTR) => {}
                other => return matches!(other, Ok(WaitStatus::Exited(_, 0))),
            }
        }
    }
}

/// The supervisor's descriptors tell others that it lives, so this child has none of them.
fn keep_only(fd: &OwnedFd) -> Result<OwnedFd, Errno> {
    const KEPT: RawFd = 3;
    if fd.as_raw_fd() != KEPT {
        // SAFETY: in a forked child, where nobody uses what has this number.
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), KEPT) })?;
    }
    let (first, last, flags): (libc::c_uint, _, libc::c_uint) = (4, libc::c_uint::MAX, 0);
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    // SAFETY: placed above; `fd` is not used again, nor dropped.
    Ok(unsafe { OwnedFd::from_raw_fd(KEPT) })
}
