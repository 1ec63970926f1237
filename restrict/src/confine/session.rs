// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `session`: no controlling terminal, no process group of others.

use nix::unistd::setsid;

use super::mechanism::{Mechanism, MechanismError};

/// Starts a session. The caller is a child that was just forked.
pub(crate) fn start() -> Result<(), MechanismError> {
    setsid().map(drop).map_err(|errno| {
        let remedy = "or leave it out by `--without session`";
        MechanismError::new(Mechanism::Session, format!("setsid: {errno}"), remedy)
    })
}
