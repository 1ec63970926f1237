// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `no-new-privs`.

use nix::errno::Errno;

use super::mechanism::{Mechanism, MechanismError};

/// From here on, exec gives no privilege; for good, and for all children.
pub(crate) fn set() -> Result<(), MechanismError> {
    let (one, zero): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) };
    Errno::result(result).map(drop).map_err(|errno| {
        let remedy = "or leave it out, and what needs it: `--without no-new-privs --without landlock --without seccomp`";
        MechanismError::new(Mechanism::NoNewPrivs, format!("prctl: {errno}"), remedy)
    })
}
