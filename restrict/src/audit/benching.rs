// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit's readers, for `benches/`.
#![allow(clippy::missing_panics_doc, reason = "a bench fails by panicking")]

use seccompiler::sock_filter;

use super::{
    descriptor,
    filters::{self, Ask},
    process::{self, parse_status},
    procfs::ProcDir,
    status::{self, Status},
};

/// Whether `/proc/PID/status` is understood.
#[must_use]
pub fn status(text: &[u8]) -> bool {
    Status::parse(text).is_some()
}

/// Opens, reads and understands it.
#[must_use]
pub fn status_of_this_process() -> bool {
    ProcDir::at("/proc/self").is_ok_and(|dir| parse_status(&dir).is_ok())
}

/// At how many places a file is mapped, of `/proc/PID/maps`.
#[must_use]
pub fn maps(text: &[u8]) -> usize {
    process::map_files(text).map_or(0, |files| files.len())
}

/// How many mounts there are, of `/proc/PID/mountinfo`.
#[must_use]
pub fn mounts(text: &[u8]) -> usize {
    status::mounts(text).map_or(0, |mounts| mounts.len())
}

/// Whether descriptors wait in a socket, of `/proc/PID/fdinfo/FD`.
#[must_use]
pub fn descriptor_info(text: &[u8]) -> bool {
    descriptor::waiting(text)
}

/// Filters as they are dumped of a process.
#[derive(Debug)]
pub struct Filters(Vec<filters::Program>);

impl Filters {
    pub(crate) fn new(programs: &[Vec<sock_filter>]) -> Self {
        let read = programs.iter().map(|program| filters::as_read(program));
        Self(read.collect())
    }

    /// Whether they let nothing through that they should refuse.
    #[must_use]
    pub fn hold(&self) -> bool {
        filters::let_through(&self.0, Ask::Untrusted).is_none()
    }
}
