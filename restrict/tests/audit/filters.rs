// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filters that are read.

use std::{fs, thread, time::Duration};

use xen_restrict::{
    audit::{AuditError, Expectation, Moment, Verdict, audit},
    confine::Mechanism::XenRequests,
};

use crate::support::{Subject, assert_holds};

fn reading(subject: &Subject) -> Expectation {
    Expectation {
        filters: true,
        ..subject.expectation()
    }
}

fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn a_filter_that_refuses_is_proved() {
    let subject = Subject::with(&["thread", "child"]);
    let report = audit(subject.pid, &reading(&subject)).unwrap();
    assert_holds(&report);
    let finding = report.finding(XenRequests).unwrap();
    assert_eq!(
        (finding.verdict, report.moment),
        (Verdict::Holds, Moment::Stopped)
    );
    assert!(
        finding.seen.starts_with("as in phase sealed"),
        "{finding:?}"
    );
    // It goes on as before.
    while state(subject.pid) != 'S' {
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_mapping_costs_dom0_is_told() {
    let finding = |flaws: &[&str], filters| {
        let subject = Subject::with(flaws);
        let mut record = serde_json::to_value(subject.record()).unwrap();
        record["seal_mapping"] = flaws.contains(&"mapped").into();
        let record: xen_restrict::launch::Record = serde_json::from_value(record).unwrap();
        let expectation = Expectation {
            filters,
            ..record.try_into().unwrap()
        };
        let report = audit(subject.pid, &expectation).unwrap();
        report.finding(XenRequests).unwrap().seen.clone()
    };
    for filters in [true, false] {
        let seen = finding(&[], filters);
        let cost = "mapping its guest can take of dom0's memory up to 32768 MiB for each of ";
        assert!(seen.contains(cost), "{seen}");
        let seen = finding(&["mapped"], filters);
        assert!(seen.ends_with("guest memory is mapped for good"), "{seen}");
    }
}

#[test]
fn a_filter_for_set_up_is_not_enough_once_it_is_sealed() {
    let subject = Subject::with(&["set-up"]);
    let report = audit(subject.pid, &reading(&subject)).unwrap();
    let finding = report.finding(XenRequests).unwrap();
    assert_eq!(finding.verdict, Verdict::Fails, "{finding:?}");
    let mut record = serde_json::to_value(subject.record()).unwrap();
    record["sealed"] = false.into();
    let record: xen_restrict::launch::Record = serde_json::from_value(record).unwrap();
    let expectation = Expectation {
        filters: true,
        ..record.try_into().unwrap()
    };
    let finding = audit(subject.pid, &expectation).unwrap();
    let finding = finding.finding(XenRequests).unwrap();
    assert_eq!(finding.verdict, Verdict::Holds, "{finding:?}");
    assert!(
        finding.seen.starts_with("as in phase set-up"),
        "{finding:?}"
    );
}

#[test]
fn a_filter_that_lets_everything_through_is_found_out() {
    let subject = Subject::with(&["no-new-privs"]);
    let finding = audit(subject.pid, &reading(&subject)).unwrap();
    let finding = finding.finding(XenRequests).unwrap();
    assert_eq!(finding.verdict, Verdict::Fails, "{finding:?}");
    assert!(
        finding.seen.contains("privcmd HYPERCALL through"),
        "{finding:?}"
    );
}

#[test]
fn a_thread_that_runs_is_stopped_and_goes_on() {
    let subject = Subject::with(&["spins"]);
    let report = audit(subject.pid, &reading(&subject)).unwrap();
    assert_holds(&report);
    assert_eq!((report.moment, report.looks), (Moment::Stopped, 1));
    assert_eq!(state(subject.pid), 'R');
}

#[test]
fn a_process_that_is_stopped_already_stays_so() {
    let subject = Subject::with(&["thread"]);
    // SAFETY: a process of this test's own.
    unsafe { libc::kill(subject.pid, libc::SIGSTOP) };
    while state(subject.pid) != 'T' {
        thread::yield_now();
    }
    assert_holds(&audit(subject.pid, &reading(&subject)).unwrap());
    assert_eq!(state(subject.pid), 'T');
    // SAFETY: as above.
    unsafe { libc::kill(subject.pid, libc::SIGCONT) };
}

#[test]
fn a_process_that_is_traced_is_left_alone() {
    let subject = Subject::with(&[]);
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: this request takes no address.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, subject.pid, none, none) };
    assert_eq!(seized, 0);
    let error = audit(subject.pid, &reading(&subject)).unwrap_err();
    assert!(matches!(error, AuditError::NotStopped { .. }), "{error}");
    assert!(error.to_string().contains("traces it"), "{error}");
    // Without stopping it there is nothing in the way.
    assert_holds(&subject.audit().unwrap());
}
