// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor by itself: what it takes while a program runs, and what a program is
//! that does not end with it.

use std::fs;

use nix::sys::signal::{Signal, kill};

use crate::support::launcher::{Launcher, eventually, processes_of};

fn status(pid: impl std::fmt::Display) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .trim()
}

#[test]
fn a_supervisor_has_little_memory_of_its_own() {
    const MOST_KIB: u64 = 2048;
    // With all that it can have to do.
    let mut running = Launcher::for_domain()
        .options(["--log-denied", "--proc", "--dev", "--audit"])
        .start_probe(["attempts", "notify=READY=1", "say=here", "forever"]);
    while running.line() != "here" {}
    let status = status(running.supervisor());
    let anonymous = field(&status, "RssAnon:").trim_end_matches(" kB");
    let anonymous: u64 = anonymous.parse().unwrap();
    assert!(anonymous < MOST_KIB, "{anonymous} KiB");
    running.signal(Signal::SIGKILL);
    eventually(|| processes_of(running.uid()).is_empty().then_some(()));
}

/// Only a pid namespace ends it then. It is as confined as before.
#[test]
fn a_program_that_unfollows_without_a_pid_namespace_stays_and_stays_confined() {
    let mut running = Launcher::for_domain()
        .options(["--without", "pid-ns"])
        .start_probe(["unfollow", "say=here", "forever"]);
    assert_eq!(running.line(), "unfollow ok");
    running.line();
    let (uid, program) = (running.uid(), running.program());
    running.signal(Signal::SIGKILL);
    // Kept, as its directory is the program's root.
    let _ended = running.wait();
    let status = status(program);
    let uids = format!("{uid}\t{uid}\t{uid}\t{uid}");
    for (name, value) in [
        ("Uid:", uids.as_str()),
        ("CapEff:", "0000000000000000"),
        ("CapBnd:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
    ] {
        assert_eq!(field(&status, name), value, "{name}");
    }
    kill(program, Signal::SIGKILL).unwrap();
    eventually(|| processes_of(uid).is_empty().then_some(()));
}
