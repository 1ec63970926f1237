// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pid 1 of the program's pid namespace: it waits for orphans, and ends with the
//! supervisor; with it the kernel ends all others.
//!
//! It runs with the program's identity and less: no descriptor, no file, few calls.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::signal::{
        SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
    },
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
        match fds::place(&[], [Some(life), Some(ready)], true) {
            Ok([Some(life), Some(ready)]) => {
                let outcome = self.confine(life.as_fd());
                let confined = outcome.is_ok();
                let message = outcome.map_or_else(Message::from, |()| Message::Ready);
                if wire::tell(ready.as_fd(), &message, None).is_ok() && confined {
                    drop(ready);
                    reap_orphans(&life);
                }
            }
            Ok(_) => {}
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
        wake_for_children()?;
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

/// What ends without a parent is waited for here, or it would stay as a zombie. Returns
/// when the supervisor has ended: the signal that tells of it is sent with the rights that
/// it had at last, and may have been none.
fn reap_orphans(life: &OwnedFd) {
    let blocked = all_but(Signal::SIGCHLD);
    loop {
        while waitpid(None, Some(WaitPidFlag::WNOHANG))
            .is_ok_and(|status| status != WaitStatus::StillAlive)
        {}
        let mut fds = [PollFd::new(life.as_fd(), PollFlags::POLLIN)];
        // With a handler that does nothing, SIGCHLD ends the wait.
        if matches!(ppoll(&mut fds, None, Some(blocked)), Ok(1..)) {
            return;
        }
    }
}

fn all_but(signal: Signal) -> SigSet {
    let mut set = SigSet::all();
    set.remove(signal);
    set
}

/// A signal that is ignored by default would not wake it.
fn wake_for_children() -> Result<(), MechanismError> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    let set = unsafe { sigaction(Signal::SIGCHLD, &action) };
    set.map(drop).map_err(|errno| {
        MechanismError::new(
            Mechanism::PidNs,
            format!("init: SIGCHLD: {errno}"),
            "start it again",
        )
    })
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
