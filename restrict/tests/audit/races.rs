// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that change while they are looked at: there is a clear answer, and it is never
//! wrong.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use xen_restrict::{
    audit::{AuditError, Expectation, Moment, Verdict, audit},
    confine::Mechanism::{Fds, Identity},
};

use crate::support::{Subject, assert_holds};

#[test]
fn one_that_runs_all_the_time_is_looked_at_until_it_is_certain() {
    let report = Subject::with(&["spins", "harmless"]).audit().unwrap();
    assert_holds(&report);
    assert_eq!(report.moment, Moment::Running);
    assert!(report.looks >= 12, "{}", report.looks);
}

/// It holds a directory at each moment, but never by one number for long.
#[test]
fn a_directory_that_is_moved_to_and_fro_is_never_missed() {
    let subject = Subject::with(&["flips"]);
    let (mut failed, mut changing) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while failed + changing < 100 && Instant::now() < deadline {
        match subject.audit() {
            Ok(report) => {
                let finding = report.finding(Fds).unwrap();
                assert_eq!(finding.verdict, Verdict::Fails, "{report:#?}");
                failed += 1;
            }
            Err(AuditError::Changing { .. }) => changing += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(failed > 0, "{failed} {changing}");
}

#[test]
fn one_that_opens_and_closes_all_the_time_gets_a_clear_answer() {
    let subject = Subject::with(&["opens"]);
    for _ in 0..3 {
        match subject.audit() {
            Ok(report) => assert_holds(&report),
            Err(error) => assert!(matches!(error, AuditError::Changing { .. }), "{error}"),
        }
    }
}

/// A root shell that becomes a process without rights, or ends, at any moment.
#[test]
fn one_that_ends_or_executes_gets_a_clear_answer() {
    let mut answers = [0; 3];
    for round in 0..300 {
        // Some stay, so that however slow this machine is, some are there to be looked at.
        let stays = if round % 10 == 0 { "600" } else { "0.02" };
        let mut shell = Command::new("sh")
            .args([
                "-c",
                "echo x; exec setpriv --reuid=1900000001 --clear-groups sleep $0",
                stays,
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        std::thread::sleep(Duration::from_micros(round % 50 * 100));
        let pid = shell.id().cast_signed();
        match audit(pid, &Expectation::default()) {
            Ok(report) => {
                // Root's before, and its gid is root's after: in no case does it hold.
                assert_eq!(report.finding(Identity).unwrap().verdict, Verdict::Fails);
                answers[0] += 1;
            }
            Err(AuditError::Ended { .. } | AuditError::NoSuchProcess { .. }) => answers[1] += 1,
            Err(AuditError::Changing { .. }) => answers[2] += 1,
            Err(other) => panic!("{other}"),
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
    assert!(answers[0] > 0, "{answers:?}");
}

/// Processes that belong to it come and go.
#[test]
fn children_that_come_and_go_are_each_looked_at() {
    let mut shell = Command::new("sh")
        .args(["-c", "while :; do sleep 0.003; done"])
        .spawn()
        .unwrap();
    let pid = shell.id().cast_signed();
    for _ in 0..20 {
        match audit(pid, &Expectation::default()) {
            Ok(report) => assert_eq!(report.verdict, Verdict::Fails),
            Err(error) => assert!(matches!(error, AuditError::Changing { .. }), "{error}"),
        }
    }
    shell.kill().unwrap();
    shell.wait().unwrap();
}

/// Of such a process the kernel shows less: what is not seen is not said to hold.
#[test]
fn one_whose_first_thread_has_ended_is_not_said_to_hold() {
    let subject = Subject::with(&["thread", "directory", "leader-ends"]);
    for filters in [false, true] {
        let expectation = Expectation {
            filters,
            ..subject.expectation()
        };
        match audit(subject.pid, &expectation) {
            Ok(report) => assert_eq!(report.finding(Fds).unwrap().verdict, Verdict::Fails),
            Err(error) => assert!(matches!(error, AuditError::Changing { .. }), "{error}"),
        }
    }
}
