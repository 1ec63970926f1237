// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was applied to a running program: written down for `list` and `audit`.

use serde::{Deserialize, Serialize};

use crate::confine::xen_requests::Phase;

/// The version of the form.
pub const RECORD_VERSION: u32 = 1;

/// `applied.json` of an instance. Texts that are no UTF-8 are shown as well as it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// The guest, if there is one.
    pub domid: Option<u16>,
    /// The instance's name.
    pub instance: String,
    /// The program's process id, as its supervisor sees it.
    pub pid: i32,
    /// When that process was started: field 22 of its `/proc/PID/stat`. With the pid it
    /// names one process for good.
    pub start_time: u64,
    /// Pid 1 of its pid namespace.
    pub init_pid: Option<i32>,
    /// The supervisor's process id.
    pub supervisor_pid: i32,
    /// The profile's name.
    pub profile: String,
    /// Mechanisms that were left out by name.
    pub without: Vec<String>,
    /// Mechanisms that this machine does not have.
    pub absent: Vec<Absent>,
    /// What it runs under; that of the launcher, without `identity`.
    pub uid: u32,
    /// And its group.
    pub gid: u32,
    /// Limits as `NAME=VALUE`, soft and hard alike.
    pub rlimits: Vec<String>,
    /// The folder of its control group.
    pub cgroup: Option<String>,
    /// Limits of the control group as `NAME=VALUE`.
    pub cgroup_limits: Vec<String>,
    /// Descriptors by number, name by name.
    pub fds: Vec<RecordedFd>,
    /// Names of its environment variables.
    pub env: Vec<String>,
    /// Paths that it can read.
    pub read_only: Vec<String>,
    /// Paths that it can write.
    pub read_write: Vec<String>,
    /// The version of Landlock that is in force.
    pub landlock_abi: Option<u32>,
    /// The program, as it was named, and its arguments.
    pub program: Vec<String>,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// Whether it is sealed, as far as the supervisor knows.
    pub sealed: bool,
    /// Whether it maps guest memory until it is sealed only.
    #[serde(default)]
    pub seal_mapping: bool,
}

impl Record {
    /// How far it is, as far as the supervisor knows.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.sealed {
            true => Phase::Sealed,
            false => Phase::SetUp,
        }
    }
}

/// A mechanism that was to be applied and is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Absent {
    /// Its name.
    pub mechanism: String,
    /// Why.
    pub reason: String,
}

/// A descriptor that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedFd {
    /// Its number in the program.
    pub number: i32,
    /// Its name.
    pub name: String,
    /// Which file it was when the program was started; none if that could not be told.
    #[serde(default)]
    pub file: Option<RecordedFile>,
    /// Whether it could be written to by it.
    #[serde(default)]
    pub writes: bool,
}

/// A file, as `stat(2)` tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordedFile {
    /// The file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Which device it is, if it is one; else 0.
    pub special: u64,
}

impl RecordedFile {
    pub(crate) fn new(device: u64, inode: u64, special: u64) -> Self {
        Self {
            device,
            inode,
            special,
        }
    }
}
