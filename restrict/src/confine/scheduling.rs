// SPDX-License-Identifier: MIT OR Apache-2.0
//! Part of the mechanism `rlimits`: a program is scheduled as any other, and its memory is
//! laid out at random, whatever its launcher asked for itself. And who ends programs can go
//! before them.

use std::io;

use nix::errno::Errno;

use super::mechanism::{Mechanism, MechanismError};

/// Gives up what the launcher had. Needs no privilege: each step takes something away.
pub(crate) fn ordinary() -> Result<(), MechanismError> {
    let ordinary = libc::sched_param { sched_priority: 0 };
    schedule(libc::SCHED_OTHER, ordinary)
        .map_err(|errno| failed("be scheduled as others are", errno))?;

    // SAFETY: takes numbers; -1 is an answer too, and no lower than others that matter.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if nice < 0 {
        // SAFETY: takes numbers.
        let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
        Errno::result(result).map_err(|errno| failed("be as nice as others", errno))?;
    }
    // SAFETY: takes a number.
    let result = unsafe { libc::personality(0) };
    Errno::result(result).map_err(|errno| failed("have no odd personality", errno))?;
    Ok(())
}

/// A thread that has the processor before all that are scheduled as usual, however many of
/// those there are, until this is dropped. Children inherit it.
pub(super) struct Ahead {
    before: (libc::c_int, libc::sched_param),
}

impl Ahead {
    /// `None`: it may not (CAP_SYS_NICE).
    pub(super) fn of_others() -> Option<Self> {
        let mut parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: takes a number; 0 is the caller.
        let policy = unsafe { libc::sched_getscheduler(0) };
        // SAFETY: writes the struct, which lives.
        let read = unsafe { libc::sched_getparam(0, &raw mut parameters) };
        let before = (Errno::result(policy).ok()?, parameters);
        Errno::result(read).ok()?;
        let first = libc::sched_param { sched_priority: 1 };
        match before.0 {
            libc::SCHED_FIFO | libc::SCHED_RR => {}
            _ => schedule(libc::SCHED_RR, first).ok()?,
        }
        Some(Self { before })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let (policy, parameters) = self.before;
        // What gives something up is not refused.
        let _ = schedule(policy, parameters);
    }
}

fn schedule(policy: libc::c_int, parameters: libc::sched_param) -> nix::Result<()> {
    // SAFETY: reads the struct, which lives; 0 is the caller.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    Errno::result(result).map(drop)
}

fn failed(what: &str, errno: Errno) -> MechanismError {
    let reason = format!("{what}: {}", io::Error::from(errno));
    let remedy = "or leave it out by `--without rlimits`";
    MechanismError::new(Mechanism::Rlimits, reason, remedy)
}
