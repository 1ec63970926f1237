// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks at a running process from outside, and proves what it can do.
//!
//! Every thread, and every process that belongs to it, is held against each
//! [`Mechanism`](crate::confine::Mechanism). Every handle on a Xen device is asked, by a
//! duplicate, what it may act on. Nothing is changed by that, for the process or a guest.
//!
//! ```no_run
//! use xen_restrict::audit::{Expectation, audit};
//! let report = audit(4711, &Expectation::default())?;
//! for finding in &report.findings {
//!     println!("{}: {}, {}", finding.check, finding.seen, finding.verdict.name());
//! }
//! assert!(report.holds());
//! # Ok::<(), xen_restrict::audit::AuditError>(())
//! ```
//!
//! # What is proved
//!
//! A process that is looked at can change meanwhile. If none of its threads ran, which
//! the kernel's counters tell, all that was found is of one moment
//! ([`Moment::AtRest`]). Else it is looked at until it was the same so many times that
//! this is not by chance; what fails at any look is reported in any case.
//!
//! What nobody outside can see is [`Verdict::NotObservable`]: which ports an event
//! channel handle has bound, of whom memory is mapped, and mechanisms for which the
//! kernel has no file.

#[cfg(feature = "fuzzing")]
pub(crate) mod benching;
mod checks;
mod descriptor;
mod error;
mod expectation;
mod filters;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod laws;
mod look;
mod place;
mod probe;
mod process;
mod procfs;
mod report;
mod scope;
mod series;
pub(crate) mod status;
mod sys;
mod text;
mod vantage;

use std::{fs, os::fd::OwnedFd};

use nix::errno::Errno;
use seccompiler::BpfProgram;

pub use error::AuditError;
pub use expectation::Expectation;
pub use report::{Finding, HandleFinding, HandleState, Moment, ProcessSeen, Report, Role, Verdict};

use filters::{Program, as_read};
use process::Target;
use procfs::{ProcDir, Unread};
use scope::Neighbours;
use status::{Stat, thread_group};
use vantage::{Vantage, too_old};

/// Looks at process `pid`, a number of this process's pid namespace, and at all that
/// belong to it: what it started, what is in its pid namespace if that is its own, and
/// what has its uid if that is one domain's alone.
///
/// Takes root. The process is not stopped, unless [`Expectation::filters`] asks for it.
///
/// # Errors
/// It could not be looked at, it ended, or it changed all the time: [`AuditError`].
/// Nothing is proved then. That a check fails is no error.
pub fn audit(pid: i32, expectation: &Expectation) -> Result<Report, AuditError> {
    let vantage = Vantage::new()?;
    let target = open(pid, expectation)?;
    let known = Known {
        neighbours: Neighbours::look()?,
        loaded: Vec::new(),
        members: None,
    };
    series::run(&target, expectation, &vantage, &known)
}

/// A program that this process started a moment ago, in namespaces and a session that are new.
pub(crate) struct New {
    /// Those that it has loaded, and those of its init.
    pub(crate) filters: [Vec<BpfProgram>; 2],
    /// A /proc of its pid namespace.
    pub(crate) members: Option<OwnedFd>,
}

/// Whether nobody but it and `init` is in its pid namespace.
pub(crate) fn is_alone(pid: i32, init: i32, new: &New) -> Result<bool, AuditError> {
    let Some(members) = &new.members else {
        return Ok(true);
    };
    let alone = ProcDir::of_namespace(members).and_then(|proc| scope::alone(pid, init, &proc));
    alone.map_err(|unread| AuditError::of(pid, unread))
}

/// The same of such a program. So whether others are in its namespaces is not looked for, in all
/// threads of the machine, and of its filters it is known what they do.
pub(crate) fn audit_new(
    pid: i32,
    expectation: &Expectation,
    new: &New,
) -> Result<Report, AuditError> {
    let vantage = Vantage::new()?;
    let target = open(pid, expectation)?;
    let read = |list: &Vec<BpfProgram>| list.iter().map(|program| as_read(program)).collect();
    let filters = new.filters.iter().map(read);
    // Where tests have evaluated them.
    let filters = filters.filter(|_| cfg!(target_arch = "x86_64"));
    let members = new.members.as_ref().map(ProcDir::of_namespace);
    let known = Known {
        neighbours: Neighbours::default(),
        loaded: filters.collect(),
        members: members
            .transpose()
            .map_err(|unread| AuditError::of(pid, unread))?,
    };
    series::run(&target, expectation, &vantage, &known)
}

/// What is known before the process is looked at.
struct Known {
    neighbours: Neighbours,
    /// Lists of filters that were proved when they were made.
    loaded: Vec<Vec<Program>>,
    /// The /proc of its pid namespace.
    members: Option<ProcDir>,
}

/// What is wrong with filters whose supervisor is known.
#[cfg(test)]
pub(crate) fn wrong_with(programs: &[BpfProgram]) -> Option<String> {
    let programs: Vec<_> = programs.iter().map(|program| as_read(program)).collect();
    filters::let_through(&programs, filters::Ask::Trusted)
}

/// Takes hold of the process that is meant.
fn open(pid: i32, expectation: &Expectation) -> Result<Target, AuditError> {
    let target = match Target::open(pid) {
        Err(Unread::Gone) => return Err(no_process(pid)),
        target => target.map_err(|unread| AuditError::of(pid, unread))?,
    };
    target.may_duplicate().map_err(|errno| match errno {
        Errno::EPERM if yama_forbids() => AuditError::Yama,
        Errno::EPERM => AuditError::Denied {
            pid,
            what: "descriptors".into(),
        },
        other => too_old("pidfd_getfd", other),
    })?;
    if let Some(record) = &expectation.record {
        let text = target
            .dir
            .read("stat")
            .map_err(|unread| AuditError::of(pid, unread))?;
        let seen = Stat::parse(&text).map_or(0, |stat| stat.started);
        if seen != record.start_time {
            return Err(AuditError::AnotherProcess {
                pid,
                recorded: record.start_time,
                seen,
            });
        }
    }
    Ok(target)
}

fn no_process(pid: i32) -> AuditError {
    let status = ProcDir::of(pid)
        .and_then(|dir| dir.read("status"))
        .unwrap_or_default();
    match thread_group(&status) {
        Some(group) if group != pid => AuditError::Thread { pid },
        _ => AuditError::NoSuchProcess { pid },
    }
}

fn yama_forbids() -> bool {
    fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() == "3")
}
