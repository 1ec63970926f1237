// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be thought of what was seen: one function per mechanism.

mod cgroup;
mod credentials;
mod descriptors;
mod handles;
mod mapped_files;
mod mapping;
mod namespaces;
mod rest;
mod rlimits;
mod root;

use std::cell::OnceCell;

use super::{
    expectation::Expectation,
    filters::Filters,
    look::Snapshot,
    process::{Process, Thread},
    report::{Finding, Moment, ProcessSeen, Report, Role, Verdict},
    scope::Neighbours,
    text,
    vantage::Vantage,
};
use crate::{GuestId, confine::Mechanism};

/// What a check has before it.
pub(super) struct View<'a> {
    pub(super) expectation: &'a Expectation,
    pub(super) vantage: &'a Vantage,
    pub(super) neighbours: &'a Neighbours,
    pub(super) snapshot: &'a Snapshot,
    /// Those of all threads, where they were read.
    pub(super) filters: Option<&'a Filters>,
    /// What libxl has inserted, once somebody asks.
    pub(super) inserted: OnceCell<Vec<String>>,
}

/// What a check says.
struct Judged {
    expected: String,
    seen: String,
    verdict: Verdict,
}

impl Judged {
    /// It holds unless something deviates.
    fn of(expected: impl Into<String>, seen: impl Into<String>, deviations: &[String]) -> Self {
        let (expected, holds) = (expected.into(), deviations.is_empty());
        match holds {
            true => Self {
                expected,
                seen: seen.into(),
                verdict: Verdict::Holds,
            },
            false => Self {
                expected,
                seen: text::some(deviations),
                verdict: Verdict::Fails,
            },
        }
    }

    fn new(expected: impl Into<String>, seen: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            expected: expected.into(),
            seen: seen.into(),
            verdict,
        }
    }
}

impl View<'_> {
    /// All checks, and all handles.
    pub(super) fn report(&self, pid: i32) -> Report {
        let domid = self.domid();
        let record = self.expectation.record.as_ref();
        let mut report = Report {
            pid,
            domid,
            instance: record.map(|record| text::plain(&record.instance)),
            profile: self.expectation.profile,
            without: self.expectation.without.clone(),
            phase: record.map(|record| record.phase()),
            verdict: Verdict::NotObserved,
            moment: Moment::Changing,
            looks: 0,
            processes: self.snapshot.processes.iter().map(introduce).collect(),
            findings: Mechanism::ALL
                .map(|mechanism| self.finding(mechanism, domid))
                .into(),
            handles: self.handles(domid),
        };
        report.verdict = report.worst();
        report
    }

    fn finding(&self, check: Mechanism, domid: Option<GuestId>) -> Finding {
        let Judged {
            expected,
            seen,
            verdict,
        } = self.judge(check, domid);
        let expectation = self.expectation;
        if expectation.has(check) {
            return Finding {
                check,
                expected,
                seen,
                verdict,
            };
        }
        let expected = if let Some(reason) = expectation.absent(check) {
            format!("not on this machine: {}", text::plain(reason))
        } else if expectation.without.contains(&check) {
            "left out by name".to_owned()
        } else {
            format!("not in profile {}", expectation.profile)
        };
        Finding {
            check,
            expected,
            seen,
            verdict: Verdict::NotAsked,
        }
    }

    fn judge(&self, check: Mechanism, domid: Option<GuestId>) -> Judged {
        match check {
            Mechanism::Identity => self.identity(domid),
            Mechanism::Capabilities => self.capabilities(),
            Mechanism::NoNewPrivs => self.no_new_privs(),
            Mechanism::XenRequests => self.xen_requests(),
            Mechanism::Seccomp => self.seccomp(),
            Mechanism::MountNs
            | Mechanism::IpcNs
            | Mechanism::NetNs
            | Mechanism::PidNs
            | Mechanism::UtsNs
            | Mechanism::CgroupNs => self.namespace(check),
            Mechanism::Root => self.root(),
            Mechanism::Landlock => self.landlock(),
            Mechanism::Rlimits => self.rlimits(),
            Mechanism::Cgroup => self.cgroup(),
            Mechanism::Fds => self.fds(),
            Mechanism::Env => self.env(),
            Mechanism::ParentDeath => self.parent_death(),
            Mechanism::Keyring => self.keyring(),
            Mechanism::Umask => self.umask(),
            Mechanism::Session => self.session(),
        }
    }

    /// Every thread.
    fn threads(&self) -> impl Iterator<Item = (&Process, &Thread)> {
        let processes = self.snapshot.processes.iter();
        processes.flat_map(|process| process.threads.iter().map(move |thread| (process, thread)))
    }

    /// What is wrong with threads, each kind of wrong once with those it is true of.
    fn deviations(&self, wrong: impl Fn(&Process, &Thread) -> Option<String>) -> Vec<String> {
        let found = self
            .threads()
            .filter_map(|(process, thread)| Some((wrong(process, thread)?, who(process, thread))));
        grouped(found)
    }

    /// The same, but for an init. It runs nothing of the program's, and nobody of the
    /// same uid can make it: so it needs less.
    fn deviations_but_init(
        &self,
        wrong: impl Fn(&Process, &Thread) -> Option<String>,
    ) -> Vec<String> {
        self.deviations(|process, thread| {
            (process.role != Role::Init)
                .then(|| wrong(process, thread))
                .flatten()
        })
    }

    /// The same for processes.
    fn of_processes(&self, wrong: impl Fn(&Process) -> Option<String>) -> Vec<String> {
        let processes = self.snapshot.processes.iter();
        let processes = processes.filter(|process| process.role != Role::Init);
        grouped(processes.filter_map(|process| Some((wrong(process)?, process.pid.to_string()))))
    }

    /// How many there are, to say of whom something is true.
    fn all(&self) -> String {
        let threads = text::count(self.threads().count(), "thread");
        match self.snapshot.processes.len() {
            1 => format!("in {threads}"),
            processes => format!("in {threads} of {processes} processes"),
        }
    }

    /// Those that are looked at, and their launcher's.
    fn own_pids(&self) -> Vec<i32> {
        let mut pids: Vec<_> = self.snapshot.processes.iter().map(|p| p.pid).collect();
        if let Some(record) = &self.expectation.record {
            pids.push(record.supervisor_pid);
            pids.extend(record.init_pid);
        }
        pids
    }
}

/// `12`, or `12, thread 34`.
fn who(process: &Process, thread: &Thread) -> String {
    if process.threads.len() == 1 {
        process.pid.to_string()
    } else {
        format!("{}, thread {}", process.pid, thread.tid)
    }
}

fn grouped(found: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for (wrong, who) in found {
        match groups.iter_mut().find(|(known, _)| *known == wrong) {
            Some((_, all)) => all.push(who),
            None => groups.push((wrong, vec![who])),
        }
    }
    let say = |(wrong, who): (String, Vec<String>)| match who.as_slice() {
        [one] => format!("{wrong} (process {one})"),
        [first, others @ ..] => format!("{wrong} (process {first}, and {} more)", others.len()),
        [] => wrong,
    };
    groups.into_iter().map(say).collect()
}

fn introduce(process: &Process) -> ProcessSeen {
    ProcessSeen {
        pid: process.pid,
        name: text::escaped(&process.name.0),
        exe: process.exe().map(text::escaped),
        start_time: process.started,
        role: process.role,
        threads: process.threads.iter().map(|thread| thread.tid).collect(),
    }
}

/// The process that was asked about.
fn is_program(process: &Process) -> bool {
    process.role == Role::Program
}

/// What the kernel shows to nobody outside, and what a launcher may have recorded.
fn unseen(expected: &str, recorded: bool) -> Judged {
    let seen = if recorded {
        "the launcher recorded that it applied it"
    } else {
        "nothing recorded"
    };
    Judged::new(expected, seen, Verdict::NotObservable)
}
