// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program that makes the attempts, started by `dm-restrict run` for guest A.

use std::{
    env, fs,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use xen_restrict::GuestId;

pub(crate) fn from_lab(variable: &str) -> String {
    env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run these tests with `cargo lab test`"))
}

pub(crate) fn a() -> GuestId {
    from_lab("XEN_LAB_A").parse().unwrap()
}

pub(crate) fn b() -> GuestId {
    from_lab("XEN_LAB_B").parse().unwrap()
}

/// A uid is reaped when its last program ends: one test at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running kernel.
pub(crate) fn linux() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-', '+']).map(|n| n.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// What the profile has against the holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    As(&'static str),
    /// What libxl does, and no more: a uid of its own, restricted handles, an empty root.
    None,
}

/// Makes an attempt; returns what was said of each request.
pub(crate) fn attempt(filter: Filter, words: &[&str]) -> Vec<String> {
    let mut command = Command::new(from_lab("XEN_LAB_DM_RESTRICT"));
    command.args(["run", "--domid", &from_lab("XEN_LAB_A"), "--profile"]);
    match filter {
        Filter::As(profile) => command.arg(profile),
        Filter::None => command
            .args(["libxl", "--without", "xen-requests"])
            .args(["--env", "HOLE_PROBE_UNFILTERED=1"]),
    };
    let program = from_lab("XEN_LAB_HOLE_PROBE");
    let output = command.args(["--", &program]).args(words);
    let output = output.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with("over\n"), "{words:?}: {said}{error}");
    said.lines().map(str::to_owned).collect()
}
