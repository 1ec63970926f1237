// SPDX-License-Identifier: MIT OR Apache-2.0
//! A supervisor in a process of its own: the command `dm-restrict`, which has nothing of
//! this process, no memory and no descriptor but those that are named.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::fd::{AsRawFd, RawFd},
    process::{Child, Command, Stdio},
};

use super::{
    error::LaunchError,
    options::{EnvValue, Launch, NamedFd, Seal},
    supervise::Ended,
};

/// A program that runs, and its supervisor.
///
/// Dropped, both go on; [`wait`](Self::wait) collects the supervisor.
#[derive(Debug)]
pub struct Supervised {
    supervisor: Child,
    pid: i32,
}

impl Supervised {
    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The supervisor's process id: signals to it are passed on.
    #[must_use]
    pub fn supervisor_pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// Waits until the program has ended, and its supervisor.
    ///
    /// # Errors
    /// The supervisor cannot be waited for.
    pub fn wait(&mut self) -> io::Result<Ended> {
        Ok(Ended::of(self.supervisor.wait()?))
    }
}
