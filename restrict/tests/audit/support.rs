// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes to look at, and what they are held against.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::json;
use xen_restrict::{
    audit::{AuditError, Expectation, Report, Verdict, audit},
    confine::Mechanism,
    launch::Record,
};

use crate::subject::{GID, LIMITS, UID};

/// Tells the child process of a test what it is to be.
pub(crate) const PLAN: &str = "AUDIT_SUBJECT";

/// A process that confined itself, and waits.
pub(crate) struct Subject {
    starter: Child,
    pub(crate) pid: i32,
}

impl Subject {
    /// One with these flaws; `subject.rs` knows what each is.
    pub(crate) fn with(flaws: &[&str]) -> Self {
        Self::with_env(flaws, &[])
    }

    pub(crate) fn with_env(flaws: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut starter = Command::new(env::current_exe().unwrap())
            .args([
                "subject::waits",
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env_clear()
            .env(PLAN, flaws.join(" "))
            .envs(variables.iter().copied())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(starter.stdout.take().unwrap()).lines();
        let pid = lines.map_while(Result::ok).find_map(|line| {
            // The harness's own words may stand before it in the line.
            let (_, pid) = line.split_once("subject ")?;
            pid.parse().ok()
        });
        let pid = pid.unwrap_or_else(|| {
            let _ = starter.kill();
            panic!(
                "{flaws:?}: it takes root: run the tests as root ({:?})",
                starter.wait()
            )
        });
        Self { starter, pid }
    }

    /// What it is held against: all that it does without a flaw.
    pub(crate) fn expectation(&self) -> Expectation {
        Expectation::try_from(self.record()).unwrap()
    }

    pub(crate) fn record(&self) -> Record {
        let record = json!({
            "version": 1, "domid": null, "instance": "test", "pid": self.pid,
            "start_time": started(self.pid), "init_pid": null,
            "supervisor_pid": 1, "profile": "strict", "without": [],
            "absent": [{"mechanism": "cgroup", "reason": "of this test"}],
            "uid": UID, "gid": GID,
            "rlimits": LIMITS.map(|(name, _, value)| format!("{name}={value}")),
            "cgroup": null, "cgroup_limits": [],
            "fds": [{"number": 0, "name": "stdin"}, {"number": 9, "name": "log"}],
            "env": [PLAN], "read_only": ["/named"], "read_write": [], "landlock_abi": null,
            "program": ["subject"], "started": 0, "sealed": true
        });
        serde_json::from_value(record).unwrap()
    }

    pub(crate) fn audit(&self) -> Result<Report, AuditError> {
        audit(self.pid, &self.expectation())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // SAFETY: kills what this test started, and was not waited for by its parent, which
        // waits for its own end.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let _ = self.starter.kill();
        let _ = self.starter.wait();
    }
}

pub(crate) fn started(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(19).unwrap().parse().unwrap()
}

/// The checks that fail.
pub(crate) fn failing(report: &Report) -> BTreeSet<Mechanism> {
    let failing = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fails);
    failing.map(|finding| finding.check).collect()
}

/// That all is as it should be, or as nobody can see.
pub(crate) fn assert_holds(report: &Report) {
    use Verdict::{Holds, NotAsked, NotObservable};
    for finding in &report.findings {
        let expected = match finding.check {
            Mechanism::Cgroup => NotAsked,
            Mechanism::Landlock | Mechanism::ParentDeath | Mechanism::Keyring => NotObservable,
            Mechanism::XenRequests if finding.verdict == NotObservable => NotObservable,
            _ => Holds,
        };
        assert_eq!(finding.verdict, expected, "{finding:#?}");
    }
    assert!(report.handles.is_empty(), "{:#?}", report.handles);
    assert!(report.holds() && report.verdict == Holds);
}

/// The descriptors that this process has, but for the one that lists them.
pub(crate) fn open_descriptors() -> Vec<(i32, PathBuf)> {
    let entries = fs::read_dir("/proc/self/fd").unwrap();
    let mut all: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let number = entry.file_name().to_str().unwrap().parse().unwrap();
            Some((number, fs::read_link(entry.path()).ok()?))
        })
        .filter(|(_, target)| !target.ends_with("fd"))
        .collect();
    all.sort();
    all
}
