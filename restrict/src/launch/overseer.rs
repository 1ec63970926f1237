// SPDX-License-Identifier: MIT OR Apache-2.0
//! Somebody who has a say in whether a program runs, and goes on.

use super::error::LaunchError;

/// Asked by the supervisor, in its process: an auditor, for example, that is a child of it.
pub trait Overseer {
    /// All is applied, and the program waits: it is still unknown to all, and a child of
    /// this process that nobody has waited for. The last moment with all privileges.
    ///
    /// # Errors
    /// The program is not started.
    fn prepared(&mut self, pid: i32) -> Result<(), LaunchError>;

    /// It is the program now.
    fn started(&mut self);

    /// Asked whenever a child of this process may have ended, and at other times. If not,
    /// the program is killed.
    fn agrees(&mut self) -> bool;
}

/// Nobody.
impl Overseer for () {
    fn prepared(&mut self, _: i32) -> Result<(), LaunchError> {
        Ok(())
    }

    fn started(&mut self) {}

    fn agrees(&mut self) -> bool {
        true
    }
}
