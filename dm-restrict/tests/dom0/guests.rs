// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program belongs to one guest, for as long as that lives.

use std::process::Command;

use crate::support::{Idle, alone, eventually, nothing_is_left, outcome, run};

/// A guest of this test's own.
fn create() -> String {
    let made = Command::new("xl")
        .args(["create", "-q", "/guest/guest.cfg", "name=\"C\""])
        .status();
    assert!(made.unwrap().success());
    let domid = outcome(Command::new("xl").args(["domid", "C"]));
    assert_eq!(domid.code, 0, "{domid:?}");
    domid.stdout.trim().to_owned()
}

#[test]
fn without_the_domain_nothing_is_started() {
    let _alone = alone();
    let outcome = outcome(run("32000").args(["--", "/bin/busybox", "true"]));
    assert_eq!(outcome.code, 125);
    assert!(
        outcome.stderr.contains("domain 32000 does not exist"),
        "{}",
        outcome.stderr
    );
    nothing_is_left("32000");
}

#[test]
fn a_program_ends_with_its_guest() {
    let _alone = alone();
    let domid = create();
    let mut idle = Idle::start(&mut run(&domid));
    assert!(
        Command::new("xl")
            .args(["destroy", "C"])
            .status()
            .unwrap()
            .success()
    );
    let mut status = None;
    eventually("the program ends", || {
        status = idle.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(128 + 9));
    nothing_is_left(&domid);
}
