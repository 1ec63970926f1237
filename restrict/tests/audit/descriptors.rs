// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process holds.

use std::{
    collections::BTreeSet,
    env,
    os::unix::net::{UnixDatagram, UnixListener},
    process::Command,
    time::Instant,
};

use xen_restrict::{
    audit::{Expectation, Verdict, audit},
    confine::Mechanism::Fds,
};

use crate::support::{Subject, assert_holds, failing, open_descriptors};

#[test]
fn what_leads_nowhere_is_harmless() {
    let report = Subject::with(&["harmless", "null"]).audit().unwrap();
    assert_holds(&report);
    assert!(
        report
            .finding(Fds)
            .unwrap()
            .seen
            .contains("named) in 1 table")
    );
}

#[test]
fn what_was_named_may_be_there() {
    assert_holds(&Subject::with(&["named-file"]).audit().unwrap());
}

#[test]
fn a_connection_to_somebody_outside_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let report = Subject::with(&[&format!("connects={}", path.display())])
        .audit()
        .unwrap();
    assert_eq!(failing(&report), BTreeSet::from([Fds]));
    let seen = &report.finding(Fds).unwrap().seen;
    assert!(
        seen.contains(&format!("a socket to process {}", std::process::id())),
        "{seen}"
    );
}

/// The kernel tells nobody to whom.
#[test]
fn datagrams_that_go_to_somebody_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _other = UnixDatagram::bind(&path).unwrap();
    let report = Subject::with(&[&format!("sends-to={}", path.display())])
        .audit()
        .unwrap();
    assert_eq!(failing(&report), BTreeSet::from([Fds]));
    let seen = &report.finding(Fds).unwrap().seen;
    assert!(seen.contains("a socket of datagrams to somebody"), "{seen}");
}

#[test]
fn a_descriptor_that_waits_in_a_socket_is_never_overlooked() {
    let report = Subject::with(&["in-flight"]).audit().unwrap();
    assert_eq!(report.verdict, Verdict::NotObserved, "{report:#?}");
    assert!(!report.holds());
    let [handle] = report.handles.as_slice() else {
        panic!("{:#?}", report.handles)
    };
    assert_eq!(
        (handle.verdict, &*handle.device),
        (Verdict::NotObserved, "hidden descriptors")
    );
    assert!(handle.seen.contains("wait in this socket"), "{handle:?}");
}

#[test]
fn a_listening_socket_may_hide_some() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let report = Subject::with(&[&format!("listens={}", path.display())])
        .audit()
        .unwrap();
    let [handle] = report.handles.as_slice() else {
        panic!("{:#?}", report.handles)
    };
    assert_eq!(handle.verdict, Verdict::NotObservable);
    assert!(report.holds());
}

/// Where the kernel can duplicate what another thread has (Linux 6.9), all of it is seen;
/// before, a socket there could be anything.
#[test]
fn a_thread_with_descriptors_of_its_own_is_looked_at() {
    let report = Subject::with(&["thread-files", "harmless"])
        .audit()
        .unwrap();
    let finding = report.finding(Fds).unwrap();
    match finding.verdict {
        Verdict::Holds => assert!(finding.seen.contains("in 2 tables"), "{finding:?}"),
        Verdict::NotObserved => assert!(finding.seen.contains("cannot be asked"), "{finding:?}"),
        other => panic!("{other:?}: {finding:?}"),
    }
}

/// In a process of its own, where no other test opens files.
#[test]
fn nothing_is_left_open() {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "descriptors::counts_its_own",
            "--exact",
            "--ignored",
            "--test-threads=1",
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
#[ignore = "another test starts it"]
fn counts_its_own() {
    let subject = Subject::with(&["harmless", "thread-files", "outside-socket"]);
    let before = open_descriptors();
    for filters in [false, true] {
        for _ in 0..10 {
            audit(
                subject.pid,
                &Expectation {
                    filters,
                    ..subject.expectation()
                },
            )
            .unwrap();
            assert_eq!(open_descriptors(), before);
        }
    }
}

#[test]
fn a_thousand_descriptors_take_no_time() {
    let subject = Subject::with(&["many"]);
    let start = Instant::now();
    let report = subject.audit().unwrap();
    let took = start.elapsed();
    assert_holds(&report);
    println!("1000 descriptors: {took:?}");
    assert!(
        report
            .finding(Fds)
            .unwrap()
            .seen
            .contains("named) in 1 table")
    );
}
