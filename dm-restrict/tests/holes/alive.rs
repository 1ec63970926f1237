// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dom0 and the other guest are unharmed.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use xen_restrict::{Access, Gfn, GuestMemory, Port, PrivCmd};

use crate::probe::b;

/// What a kernel says that was damaged.
const DAMAGE: &[&str] = &[
    "BUG",
    "Oops",
    "WARNING",
    "Call Trace",
    "Bad page",
    "general protection",
    "multicall(s) failed",
    "unable to",
];

/// Guest B's status page (`lab/guest`).
pub(crate) struct B(GuestMemory);

const COMMAND: usize = 0x10;
const ARGUMENT: usize = 0x18;
const DONE: usize = 0x20;
const ITERATIONS: usize = 0x28;
const PORT: usize = 0x38;
const EVENTS: usize = 0x40;

impl B {
    pub(crate) fn look() -> Self {
        let guest = PrivCmd::open().unwrap().guest(b());
        Self(guest.map(&[Gfn::new(0x200)], Access::ReadWrite).unwrap())
    }

    fn get(&self, field: usize) -> u64 {
        self.0.get(field).unwrap()
    }

    /// One that dom0 can bind.
    pub(crate) fn port(&self) -> Port {
        Port::new(self.get(PORT).try_into().unwrap())
    }

    /// That it got on this port.
    pub(crate) fn events(&self) -> u64 {
        self.get(EVENTS)
    }

    /// It does its I/O: three writes and reads of a port that nobody answers.
    pub(crate) fn works(&self) {
        let (done, before) = (self.get(DONE), self.get(ITERATIONS));
        self.0.set(ARGUMENT, &3_u64).unwrap();
        self.0.set(COMMAND, &1_u64).unwrap();
        eventually("B does what it is told", || self.get(DONE) != done);
        assert_eq!(self.get(ITERATIONS), before + 3);
    }
}

/// What the kernel's log was like before.
pub(crate) struct Log(Vec<String>);

impl Log {
    pub(crate) fn look() -> Self {
        Self(run("dmesg", &[]).lines().map(str::to_owned).collect())
    }

    /// That the kernel is not damaged, by what it has said since.
    pub(crate) fn is_clean(&self) {
        let now = Self::look();
        let new = now.0.iter().filter(|line| !self.0.contains(line));
        let bad = |line: &&String| DAMAGE.iter().any(|word| line.contains(word));
        let bad: Vec<_> = new.filter(bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

/// All of it.
pub(crate) fn dom0_and_b_are_unharmed(before: &Log) {
    let path = format!("/local/domain/{}/name", b().get());
    assert_eq!(run("xenstore-read", &[&path]).trim(), "B");
    let list = run("xl", &["list"]);
    for name in ["Domain-0 ", "A ", "B "] {
        let there = list.lines().any(|line| line.starts_with(name));
        assert!(there, "no {name}in\n{list}");
    }
    B::look().works();
    before.is_clean();
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Ports of dom0 that are connected with a guest's.
pub(crate) fn ports_connected_with_b() -> Vec<String> {
    let whom = format!("Remote Domain {},", b().get());
    let listed = run("lsevtchn", &["0"]);
    let mine = listed.lines().filter(|line| line.contains(&whom));
    let port = |line: &str| Some(line.split(':').next()?.trim().to_owned());
    mine.filter_map(port).collect()
}
