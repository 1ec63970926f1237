// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `keyring`: a session keyring of its own, empty.

use std::ptr;

use nix::errno::Errno;

use super::mechanism::{Mechanism, MechanismError};

/// `KEYCTL_JOIN_SESSION_KEYRING` of `linux/keyctl.h`.
const JOIN_SESSION_KEYRING: libc::c_ulong = 1;

/// Leaves the launcher's session keyring for a new one without a name.
pub(crate) fn join_new() -> Result<(), MechanismError> {
    let name = ptr::null::<libc::c_char>();
    // SAFETY: no name means a new keyring; nothing is read.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name) };
    Errno::result(result).map(drop).map_err(|errno| {
        let remedy = match errno {
            Errno::EDQUOT => "the user's quota of keys is used up: see /proc/key-users",
            Errno::ENOSYS => {
                "this kernel has no keys (CONFIG_KEYS): leave it out by `--without keyring`"
            }
            _ => "or leave it out by `--without keyring`",
        };
        MechanismError::new(
            Mechanism::Keyring,
            format!("join a new session keyring: {errno}"),
            remedy,
        )
    })
}
