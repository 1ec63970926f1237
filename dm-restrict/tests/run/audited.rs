// SPDX-License-Identifier: MIT OR Apache-2.0
//! `run --audit`: a program goes on only where somebody has looked, and all holds.

use nix::sys::signal::Signal;

use crate::support::{
    deny::{self, Deny, When},
    launcher::{Launcher, Running, eventually},
};

const NEW_UTS: u32 = libc::CLONE_NEWUTS.cast_unsigned();

fn audited() -> Launcher {
    Launcher::new().option("--audit")
}

/// Its code is 125; what it says has these words.
#[track_caller]
fn ended(running: Running, words: &[&str]) {
    let ended = running.wait();
    for word in words {
        assert!(ended.stderr.contains(word), "no {word:?} in {ended:?}");
    }
    ended.with_code(125);
}

/// When the audit is done.
fn wait_for_verdict(running: &Running) {
    let tasks = format!("/proc/{0}/task/{0}/children", running.supervisor());
    // Init and the program are left.
    eventually(|| {
        let children = std::fs::read_to_string(&tasks).unwrap();
        (running.try_record().is_some() && children.split_whitespace().count() == 2).then_some(())
    });
}

#[test]
fn a_program_that_is_as_it_should_be_goes_on() {
    let mut running = audited().start_probe(["catch=SIGTERM", "say=runs", "forever"]);
    assert_eq!(running.line(), "runs");
    wait_for_verdict(&running);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.line(), "15");
    running.signal(Signal::SIGUSR1);
    running.wait().with_code(128 + 10);
}

#[test]
fn one_that_is_not_is_ended() {
    // A kernel that only says yes.
    let running = audited()
        .deny(&[Deny {
            call: libc::SYS_unshare,
            when: &[When::Is(0, NEW_UTS)],
            errno: 0,
        }])
        .start_probe(["forever"]);
    ended(running, &["uts-ns", "the audit failed"]);
}

#[test]
fn where_nobody_can_look_it_is_not_started() {
    let running = audited()
        .deny(&[Deny {
            call: libc::SYS_pidfd_open,
            when: &[],
            errno: libc::EMFILE,
        }])
        .start_probe(["say=runs", "forever"]);
    let ended = running.wait();
    ended.refused(125, &["start an auditor", "open files"]);
}

#[test]
fn when_the_auditor_is_killed_it_is_ended() {
    let killing = deny::killing(&[libc::SYS_pidfd_getfd, libc::SYS_kcmp]);
    let running = audited()
        .hook(move || deny::load(&killing))
        .start_probe(["forever"]);
    ended(running, &["the auditor was killed by SIGSYS"]);
}
