// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pid 1 of the program's pid namespace: it waits for orphans, and ends with the
//! supervisor; with it the kernel ends all others.
//!
//! It runs with the program's identity and less: no descriptor, no file, few calls.

use std::os::fd::{AsFd, BorrowedFd};

use nix::{
    errno::Errno,
    sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask},
    sys::wait::{WaitPidFlag, WaitStatus, waitpid},
};

use super::{
    filters::Filters,
    wire::{self, Message},
};
use crate::confine::{
    Mechanism, MechanismError, capabilities, credentials, fds, no_new_privs, parent_death,
};

/// What init takes over from the program's plan.
pub(crate) struct Init<'a> {
    pub(crate) has: &'a dyn Fn(Mechanism) -> bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Of `seccomp`, if it is in effect.
    pub(crate) filters: &'a Filters,
}

impl Init<'_> {
    /// Runs until it is killed. Tells by `ready` that it follows the supervisor, or why
    /// it does not.
    pub(crate) fn run(&self, life: BorrowedFd<'_>, ready: BorrowedFd<'_>) -> ! {
        // Signals of the namespace's processes have no effect on a pid 1 without handlers.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
        match fds::keep_only([life, ready]) {
            Ok([life, ready]) => {
                let outcome = self.confine(life.as_fd());
                let confined = outcome.is_ok();
                let message = outcome.map_or_else(Message::from, |()| Message::Ready);
                if wire::tell(ready.as_fd(), &message, None).is_ok() && confined {
                    drop((life, ready));
                    reap_orphans();
                }
            }
            // Nothing was closed then.
            Err(error) => drop(wire::tell(ready, &error.into(), None)),
        }
        // SAFETY: ends the process; nothing of the supervisor's, whose copy this is, runs.
        unsafe { libc::_exit(125) }
    }

    fn confine(&self, life: BorrowedFd<'_>) -> Result<(), MechanismError> {
        use Mechanism as M;
        let has = self.has;
        if has(M::Capabilities) {
            capabilities::give_up_for_good()?;
        }
        if has(M::Identity) {
            credentials::take(self.uid, self.gid)?;
        }
        if has(M::Capabilities) {
            capabilities::empty()?;
        }
        if has(M::ParentDeath) {
            parent_death::follow(life.as_fd())?;
        }
        undumpable()?;
        if has(M::NoNewPrivs) {
            no_new_privs::set()?;
            self.filters.load().map_err(|mut error| {
                error.reason.insert_str(0, "init: ");
                error
            })?;
        }
        Ok(())
    }
}

/// What ends without a parent is waited for here, or it would stay as a zombie.
fn reap_orphans() -> ! {
    let mut child_ended = SigSet::empty();
    child_ended.add(Signal::SIGCHLD);
    loop {
        while waitpid(None, Some(WaitPidFlag::WNOHANG))
            .is_ok_and(|status| status != WaitStatus::StillAlive)
        {}
        let _ = child_ended.wait();
    }
}

/// Nobody of the same uid traces it, or reads its memory.
fn undumpable() -> Result<(), MechanismError> {
    let zero: libc::c_ulong = 0;
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, zero, zero, zero, zero) };
    Errno::result(result).map(drop).map_err(|errno| {
        MechanismError::new(
            Mechanism::PidNs,
            format!("init: dumpable: {errno}"),
            "see `dm-restrict doctor`",
        )
    })
}
