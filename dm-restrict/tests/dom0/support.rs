// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guests, and programs started by the command.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What the lab says: see `docs/lab.md`.
pub(crate) fn from_lab(variable: &str) -> String {
    env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run these tests with `cargo lab test`"))
}

/// The guest that programs serve.
pub(crate) fn a() -> String {
    from_lab("XEN_LAB_A")
}

/// The guest that must stay out of reach.
pub(crate) fn b() -> String {
    from_lab("XEN_LAB_B")
}

/// A uid is reaped when its last program ends: one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn dm_restrict() -> Command {
    Command::new(from_lab("XEN_LAB_DM_RESTRICT"))
}

/// `run` for `domid`, with a program that is to follow.
pub(crate) fn run(domid: &str) -> Command {
    let mut command = dm_restrict();
    command.args(["run", "--domid", domid]);
    command
}

/// How it ended, and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output
                .status
                .code()
                .unwrap_or_else(|| 1000 + output.status.signal().unwrap()),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn outcome(command: &mut Command) -> Outcome {
    command.stdin(Stdio::null()).output().unwrap().into()
}

/// A program that does nothing until it is ended, and its supervisor.
pub(crate) struct Idle(pub(crate) Child);

impl Idle {
    /// Runs when this returns.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command
            .args(["--", "/bin/busybox", "sleep", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut idle = Self(child);
        eventually("the program runs", || {
            if let Some(status) = idle.0.try_wait().unwrap() {
                panic!("it ended: {status}");
            }
            let supervisor = idle.0.id();
            records().iter().any(|record| {
                record["supervisor_pid"] == supervisor && comm(&record["pid"]) == "busybox"
            })
        });
        idle
    }

    pub(crate) fn record(&self) -> serde_json::Value {
        let supervisor = self.0.id();
        records()
            .into_iter()
            .find(|record| record["supervisor_pid"] == supervisor)
            .unwrap()
    }

    /// Ends it as an administrator would.
    pub(crate) fn end(mut self) -> Outcome {
        signal(self.0.id(), libc::SIGTERM);
        let status = self.0.wait().unwrap();
        let mut stderr = String::new();
        std::io::Read::read_to_string(self.0.stderr.as_mut().unwrap(), &mut stderr).unwrap();
        let code = status.code().unwrap();
        Outcome {
            code,
            stdout: String::new(),
            stderr,
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn comm(pid: &serde_json::Value) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What `list --json` says.
pub(crate) fn records() -> Vec<serde_json::Value> {
    let listed = outcome(dm_restrict().args(["list", "--json"]));
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
    serde_json::from_str(&listed.stdout).unwrap()
}

pub(crate) fn signal(pid: u32, signal: i32) {
    let pid = pid.cast_signed();
    // SAFETY: the process of a child that was not waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 180 s: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Processes with this uid, zombies too.
pub(crate) fn processes_of(uid: u32) -> Vec<String> {
    let line = format!("\nUid:\t{uid}\t");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("status")).ok())
        .filter(|status| status.contains(&line))
        .collect()
}

pub(crate) fn uid_of(domid: &str) -> u32 {
    65536 + domid.parse::<u32>().unwrap()
}

/// Nothing of any program is left.
pub(crate) fn nothing_is_left(domid: &str) {
    let directory = format!("/run/dm-restrict/{domid}");
    assert!(!Path::new(&directory).exists(), "{directory} is left");
    let left = processes_of(uid_of(domid));
    assert!(left.is_empty(), "{left:?}");
    let groups = fs::read_dir("/sys/fs/cgroup/dm-restrict");
    let groups: Vec<_> = groups
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert!(!groups.iter().any(|path| path.is_dir()), "{groups:?}");
}

/// A guest of a test's own, as long as this value lives.
pub(crate) struct Guest {
    name: &'static str,
    domid: String,
}

impl Guest {
    pub(crate) fn create(name: &'static str) -> Self {
        let named = format!("name=\"{name}\"");
        let made = outcome(Command::new("xl").args(["create", "-q", "/guest/guest.cfg", &named]));
        assert_eq!(made.code, 0, "{made:?}");
        let domid = outcome(Command::new("xl").args(["domid", name]));
        assert_eq!(domid.code, 0, "{domid:?}");
        let domid = domid.stdout.trim().to_owned();
        Self { name, domid }
    }

    pub(crate) fn domid(&self) -> &str {
        &self.domid
    }

    pub(crate) fn destroy(&self) {
        let gone = outcome(Command::new("xl").args(["destroy", self.name]));
        assert_eq!(gone.code, 0, "{gone:?}");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = Command::new("xl").args(["destroy", self.name]).output();
    }
}
