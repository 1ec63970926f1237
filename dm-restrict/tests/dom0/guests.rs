// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program belongs to one guest, for as long as that lives.

use crate::support::{Guest, Idle, alone, eventually, nothing_is_left, outcome, run};

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
    let guest = Guest::create("C");
    let mut idle = Idle::start(&mut run(guest.domid()));
    guest.destroy();
    let mut status = None;
    eventually("the program ends", || {
        status = idle.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(128 + 9));
    nothing_is_left(guest.domid());
}
