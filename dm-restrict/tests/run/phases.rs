// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a supervisor may be tricked into while a program is set up: who can seal it, and
//! who cannot keep it from that.

use std::{os::unix::process::CommandExt as _, process::Command};

use nix::sys::signal::Signal;

use super::{
    filters::{answered, requests},
    instances::{beside, of_domain},
};
use crate::support::launcher::{Launcher, Running, eventually};
use xen_restrict::confine::xen_requests::{Allowed, POLICY};

/// Threads that ask without a pause look as if they were inside of a request, so sealing is
/// reported late, or done; from its beginning on nothing is let through.
#[test]
fn a_flood_of_questions_stops_neither_the_seal_nor_the_end() {
    let mut running = of_domain().start_probe(["flood=32", "forever"]);
    assert_eq!(running.line(), "flooding");
    let (text, _, code) = beside(&running, &["list"]);
    assert!(code == 0 && text.contains("set-up"), "{text}");
    let (_, error, code) = beside(&running, &["seal", "--domid", "7"]);
    let late = code == 1 && error.contains("new requests of the set-up phase are refused");
    assert!(code == 0 || late, "{code}: {error}");
    assert_eq!(running.line(), "refused");
    assert_eq!(running.record()["sealed"], code == 0);
    running.signal(Signal::SIGTERM);
    let ended = running.wait().with_code(128 + 15);
    assert_eq!(ended.stdout, "", "a request was let through");
}

/// More threads than can be followed are refused before the seal, too.
#[test]
fn who_asks_by_more_threads_than_can_be_followed_is_refused() {
    let mut running = of_domain().start_probe(["flood=200", "forever"]);
    while running.line() != "refused" {}
    assert_eq!(running.record()["sealed"], false);
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
}

#[test]
fn whichever_of_its_processes_says_that_it_is_ready_seals_all() {
    let actions = ["child-notify=READY=1".to_owned(), "sleep=1000".into()];
    let ended = Launcher::new()
        .probe_does(actions.into_iter().chain(requests()))
        .with_code(0);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "notify ok");
    answered(&lines[lines.len() - POLICY.len()..], |allowed| {
        allowed == Allowed::Always
    });
}

#[test]
fn nobody_else_can_say_that_it_is_ready() {
    let start = |word: &str| -> Running {
        let mut running = Launcher::for_domain().start_probe([word, "say=here", "forever"]);
        while running.line() != "here" {}
        running
    };
    let (silent, ready) = (start("say=silent"), start("notify=READY=1"));
    eventually(|| (ready.record()["sealed"] == true).then_some(()));
    assert_eq!(silent.record()["sealed"], false);
    // Its socket is in its own root, where only root can look in.
    let socket = format!("/proc/{}/root/notify", silent.program());
    let stat = |uid: u32| {
        let mut command = Command::new("stat");
        command.arg(&socket).uid(uid).output().unwrap().status
    };
    assert!(stat(0).success(), "{socket}");
    assert!(!stat(65533).success(), "{socket}");
    for running in [silent, ready] {
        running.signal(Signal::SIGTERM);
        running.wait().with_code(128 + 15);
    }
}
