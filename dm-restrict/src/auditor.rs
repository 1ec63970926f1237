// SPDX-License-Identifier: MIT OR Apache-2.0
//! `run --audit`: the supervisor gives up what an audit takes before the program runs, so
//! a child of its own keeps it, and waits. Without its word that all holds the program
//! does not go on.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, dup2_stdout, fork, pipe2, read, write},
};
use xen_restrict::launch::{LaunchError, Overseer};

use crate::{audit, say};

/// A child that will look at the program, when there is one.
#[derive(Default)]
pub(crate) struct Auditor(State);

#[derive(Default)]
enum State {
    #[default]
    None,
    /// It waits for the word, or looks.
    Looks(Child),
    Over(Verdict),
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Holds,
    /// It has said why.
    Fails,
    /// It has not looked to the end.
    Killed(Signal),
}

struct Child {
    pid: Pid,
    go: OwnedFd,
}

impl Overseer for Auditor {
    fn prepared(&mut self, program: i32) -> Result<(), LaunchError> {
        let child = Child::prepare(program).map_err(|source| LaunchError::System {
            what: "start an auditor: the program is not started without one",
            source,
        })?;
        self.0 = State::Looks(child);
        Ok(())
    }

    fn started(&mut self) {
        if let State::Looks(child) = &self.0 {
            // A child that is gone is found out when it is asked for.
            let _ = write(&child.go, b"g");
        }
    }

    fn agrees(&mut self) -> bool {
        if let State::Looks(child) = &self.0
            && let Some(verdict) = child.over(Some(WaitPidFlag::WNOHANG))
        {
            self.0 = State::Over(verdict);
        }
        match self.0 {
            State::Over(verdict) => verdict == Verdict::Holds,
            _ => true,
        }
    }
}

impl Auditor {
    /// Waits until it has looked: whether every check held.
    pub(crate) fn passed(self) -> bool {
        let verdict = match self.0 {
            State::None => Verdict::Fails,
            State::Over(verdict) => verdict,
            State::Looks(child) => loop {
                if let Some(verdict) = child.over(None) {
                    break verdict;
                }
            },
        };
        if let Verdict::Killed(signal) = verdict {
            say(&format!(
                "the auditor was killed by {signal} before it had looked: the program was not left \
                 running without an audit; start it again"
            ));
        }
        verdict == Verdict::Holds
    }
}

impl Child {
    /// Call it while the program waits, and this process has one thread.
    fn prepare(program: i32) -> io::Result<Self> {
        let process = pidfd_open(program)?;
        let (wait, go) = pipe2(OFlag::O_CLOEXEC)?;
        // SAFETY: this process has one thread, so the child may do all that this one may.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { pid: child, go }),
            ForkResult::Child => {
                drop(go);
                let (wait, process) = (ManuallyDrop::new(wait), ManuallyDrop::new(process));
                let code = look(program, [wait.as_fd(), process.as_fd()]);
                // SAFETY: ends the process; nothing of the supervisor's, whose copy this
                // is, runs.
                unsafe { libc::_exit(code.into()) }
            }
        }
    }

    /// Whether every check held, once it has ended.
    fn over(&self, flags: Option<WaitPidFlag>) -> Option<Verdict> {
        match waitpid(self.pid, flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => None,
            Ok(WaitStatus::Exited(_, 0)) => Some(Verdict::Holds),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Verdict::Killed(signal)),
            _ => Some(Verdict::Fails),
        }
    }
}

/// In the child.
fn look(program: i32, fds: [BorrowedFd<'_>; 2]) -> u8 {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let Ok([wait, process]) = keep_only(fds) else {
        say("the auditor could not let go of descriptors");
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
        // At once; the supervisor does the same when we have ended.
        end(process.as_fd());
    }
    code
}

/// While it is not waited for, or whoever has its number by then is another.
fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel just made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn end(process: BorrowedFd<'_>) {
    let (fd, info) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: a descriptor that is open, and no details.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, info, 0) };
}

/// The supervisor's descriptors tell others that it lives, so this child has none of them.
fn keep_only<const N: usize>(fds: [BorrowedFd<'_>; N]) -> Result<[OwnedFd; N], Errno> {
    const FIRST: RawFd = 3;
    let end = FIRST + RawFd::try_from(N).map_err(|_| Errno::EMFILE)?;
    // Above all targets first: so none is replaced before it was placed.
    let mut above = [0; N];
    for (copy, fd) in above.iter_mut().zip(fds) {
        *copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(end))?;
    }
    for (target, copy) in (FIRST..).zip(above) {
        // SAFETY: in a forked child, where nobody uses what has this number.
        Errno::result(unsafe { libc::dup2(copy, target) })?;
    }
    let (first, last, flags) = (end.cast_unsigned(), libc::c_uint::MAX, 0_u32);
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
    let mut numbers = FIRST..;
    // SAFETY: placed above; what was there before is not used again, nor dropped.
    Ok([(); N].map(|()| unsafe { OwnedFd::from_raw_fd(numbers.next().unwrap_or_default()) }))
}
