// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `parent-death`: SIGKILL when the supervisor ends.
//!
//! A change of credentials takes it back, and the process could do so itself. So in
//! a pid namespace it is our init that carries it, and ends all others with itself.

use std::{io, os::fd::BorrowedFd};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::mechanism::{Mechanism, MechanismError};

/// Asks for it. `life` is the end of a pipe whose other end the supervisor alone has:
/// it may have ended before, and in a pid namespace getppid(2) does not tell.
pub(crate) fn follow(life: BorrowedFd<'_>) -> Result<(), MechanismError> {
    let signal = libc::c_ulong::try_from(libc::SIGKILL).unwrap_or_default();
    let zero: libc::c_ulong = 0;
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, zero, zero, zero) };
    Errno::result(result).map_err(failed)?;
    let mut fds = [PollFd::new(life, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO).map_err(failed)? {
        0 => Ok(()),
        _ => Err(failed(Errno::ESRCH)),
    }
}

fn failed(errno: Errno) -> MechanismError {
    let reason = match errno {
        Errno::ESRCH => "the supervisor is gone already".into(),
        _ => format!("prctl: {}", io::Error::from(errno)),
    };
    MechanismError::new(Mechanism::ParentDeath, reason, "start it again")
}
