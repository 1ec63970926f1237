// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where nothing can be said.

use std::{process::Command, thread};

use xen_restrict::{
    audit::{AuditError, Expectation, audit},
    confine::Mechanism,
};

use crate::support::Subject;

#[test]
fn there_is_no_such_process() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().cast_signed();
    child.wait().unwrap();
    for pid in [pid, i32::MAX] {
        let error = audit(pid, &Expectation::default()).unwrap_err();
        assert!(matches!(error, AuditError::NoSuchProcess { .. }), "{error}");
    }
}

#[test]
fn a_zombie_has_ended() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id().cast_signed();
    while !std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .unwrap()
        .contains(") Z ")
    {
        thread::yield_now();
    }
    let error = audit(pid, &Expectation::default()).unwrap_err();
    let gone = matches!(
        error,
        AuditError::Ended { .. } | AuditError::NoSuchProcess { .. }
    );
    assert!(gone, "{error}");
    child.wait().unwrap();
}

#[test]
fn a_thread_is_not_taken_for_a_process() {
    let tid = thread::spawn(|| nix::unistd::gettid().as_raw())
        .join()
        .unwrap();
    let (tell, wait) = std::sync::mpsc::channel();
    let (end, until) = std::sync::mpsc::channel::<()>();
    let other = thread::spawn(move || {
        tell.send(nix::unistd::gettid().as_raw()).unwrap();
        let _ = until.recv();
    });
    let live = wait.recv().unwrap();
    let error = audit(live, &Expectation::default()).unwrap_err();
    assert!(matches!(error, AuditError::Thread { .. }), "{tid} {error}");
    drop(end);
    other.join().unwrap();
}

#[test]
fn a_number_that_is_anothers_by_now() {
    let subject = Subject::with(&[]);
    let mut record = serde_json::to_value(subject.record()).unwrap();
    record["start_time"] = 1.into();
    let record: xen_restrict::launch::Record = serde_json::from_value(record).unwrap();
    let error = audit(subject.pid, &record.try_into().unwrap()).unwrap_err();
    assert!(
        matches!(error, AuditError::AnotherProcess { recorded: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_record_of_another_version_is_not_guessed_at() {
    let subject = Subject::with(&[]);
    for (field, value) in [
        ("profile", "loose".into()),
        ("without", serde_json::json!(["gravity"])),
        ("domid", 0.into()),
        ("rlimits", serde_json::json!(["colour=red"])),
    ] {
        let mut record = serde_json::to_value(subject.record()).unwrap();
        record[field] = value;
        let record: xen_restrict::launch::Record = serde_json::from_value(record).unwrap();
        let error = Expectation::try_from(record).unwrap_err();
        assert!(
            matches!(error, AuditError::Record { .. }),
            "{field}: {error}"
        );
    }
}

/// In a process of its own, without the rights.
#[test]
fn each_missing_right_is_named() {
    let subject = Subject::with(&[]);
    for missing in ["net_admin", "sys_ptrace", "sys_admin"] {
        let output = Command::new("setpriv")
            .arg(format!("--bounding-set=-{missing}"))
            .arg(std::env::current_exe().unwrap())
            .args([
                "errors::without_a_right",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env("AUDIT_PID", subject.pid.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let name = format!("CAP_{}", missing.to_uppercase());
        assert!(
            text.contains(&format!(
                "error: looking into another process takes root; {name}"
            )),
            "{text}"
        );
    }
}

#[test]
#[ignore = "another test starts it"]
fn without_a_right() {
    let Ok(pid) = std::env::var("AUDIT_PID") else {
        return;
    };
    match audit(pid.parse().unwrap(), &Expectation::default()) {
        Ok(report) => println!("verdict: {:?}", report.verdict),
        Err(error) => println!("error: {error}"),
    }
}

#[test]
fn an_audit_from_inside_a_container_is_refused() {
    for (options, words) in [
        (
            &["--pid", "--fork", "--mount-proc"][..],
            "first pid namespace",
        ),
        (&["--user", "--map-root-user"], "first user namespace"),
        (&["--pid", "--fork"], "/proc is not of this pid namespace"),
    ] {
        let output = Command::new("unshare")
            .args(options)
            .arg(std::env::current_exe().unwrap())
            .args([
                "errors::without_a_right",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env("AUDIT_PID", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(words), "{options:?}: {output:?}");
    }
}

#[test]
fn an_expectation_says_what_it_has() {
    let expectation = Subject::with(&[]).expectation();
    assert!(expectation.has(Mechanism::Umask) && !expectation.has(Mechanism::Cgroup));
}
