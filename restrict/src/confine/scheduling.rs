// SPDX-License-Identifier: MIT OR Apache-2.0
//! Part of the mechanism `rlimits`: a program is scheduled as any other, and its memory is
//! laid out at random, whatever its launcher asked for itself.

use std::io;

use nix::errno::Errno;

use super::mechanism::{Mechanism, MechanismError};

/// Gives up what the launcher had. Needs no privilege: each step takes something away.
pub(crate) fn ordinary() -> Result<(), MechanismError> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads the struct, which lives; 0 is the caller.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) };
    Errno::result(result).map_err(|errno| failed("be scheduled as others are", errno))?;

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

fn failed(what: &str, errno: Errno) -> MechanismError {
    let reason = format!("{what}: {}", io::Error::from(errno));
    let remedy = "or leave it out by `--without rlimits`";
    MechanismError::new(Mechanism::Rlimits, reason, remedy)
}
