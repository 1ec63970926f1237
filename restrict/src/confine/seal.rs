// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program locks itself down, when it has what it needs and before its guest can
//! influence it.

mod checks;
mod steps;
mod supervisor;
mod threads;

use std::path::PathBuf;

use super::{
    mechanism::{Mechanism, MechanismError},
    xen_requests::Mapping,
};

/// What [`apply`](Self::apply) will do: by default all that a process can do to itself.
///
/// | mechanism | |
/// |---|---|
/// | `identity` | refused where a thread is root: start it as another user |
/// | `capabilities` | the calling thread's are given up; no other thread has one |
/// | `rlimits` | core 1, or 0 where that is the hard limit; locks, memlock, msgqueue 0 |
/// | `no-new-privs` | on |
/// | `landlock` | only the [paths that are named](Self::read_only) |
/// | `seccomp` | the allowlist of system calls |
/// | `xen-requests` | those of a sealed program |
///
/// It also clears the process's *dumpable* flag, and tells a supervisor, if the
/// variable `NOTIFY_SOCKET` names one, that the program is sealed and ready. What is
/// open stays open. A program that was started by `dm-restrict run` has all of these
/// from there; sealing ends its set-up phase, and clears the flag.
///
/// The other mechanisms are for who starts a program: a process that runs cannot
/// well change its namespaces, root, descriptors and parents under its own feet.
///
/// ```no_run
/// use xen_restrict::confine::{Mechanism, Seal};
///
/// // Handles are open and restricted, files are open, threads may run.
/// let sealed = Seal::new().without(Mechanism::Landlock).apply()?;
/// assert!(sealed.applied().contains(&Mechanism::Seccomp));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is sealed before `apply`"]
pub struct Seal {
    without: Vec<Mechanism>,
    read_only: Vec<PathBuf>,
    read_write: Vec<PathBuf>,
    mapping: Mapping,
}

impl Seal {
    /// All of it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a mechanism out.
    pub fn without(mut self, mechanism: Mechanism) -> Self {
        self.without.push(mechanism);
        self
    }

    /// Landlock leaves this file or directory, and what is beneath, for reading.
    pub fn read_only(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_only.push(path.into());
        self
    }

    /// The same, for reading and writing.
    pub fn read_write(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_write.push(path.into());
        self
    }

    /// No guest memory can be mapped from then on: what is mapped stays. A device model that
    /// maps its guest once takes nothing of dom0's memory by it any more.
    pub fn seal_mapping(mut self) -> Self {
        self.mapping = Mapping::UntilSealed;
        self
    }

    /// Seals the process, for good, all threads: those that are there, and with them
    /// all that it starts.
    ///
    /// It looks first, and then looks again. Threads are found in /proc. Without one
    /// it works in a process that was started with no-new-privs and without
    /// capabilities that could come back, as `dm-restrict run` starts it: there it
    /// leaves Landlock to who started it.
    ///
    /// # Errors
    /// One mechanism cannot be applied, or does not reach all threads. Then the program
    /// is to end, as it is not sealed: some mechanisms may be in force, which the
    /// error names.
    pub fn apply(self) -> Result<Sealed, MechanismError> {
        steps::apply(&self)
    }

    fn has(&self, mechanism: Mechanism) -> bool {
        !self.without.contains(&mechanism)
    }
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    applied: Vec<Mechanism>,
    absent: Option<MechanismError>,
    told: bool,
}

impl Sealed {
    /// In all threads, for good.
    #[must_use]
    pub fn applied(&self) -> &[Mechanism] {
        &self.applied
    }

    /// Landlock, where the machine does not have it or it was left to the launcher:
    /// why.
    #[must_use]
    pub fn absent(&self) -> Option<&MechanismError> {
        self.absent.as_ref()
    }

    /// Whether a supervisor was told of it.
    #[must_use]
    pub fn told_supervisor(&self) -> bool {
        self.told
    }
}
