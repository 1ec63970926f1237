// SPDX-License-Identifier: MIT OR Apache-2.0
//! One thing is wrong, and exactly the check for it fails.

use std::{collections::BTreeSet, fs::File, os::fd::AsRawFd};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    mount::{MntFlags, umount2},
};
use xen_restrict::{
    audit::{Expectation, Moment, Role, Verdict, audit},
    confine::{
        Mechanism::{
            self, Capabilities, CgroupNs, Env, Fds, Identity, IpcNs, MountNs, NetNs, NoNewPrivs,
            PidNs, Rlimits, Root, Seccomp, Session, Umask, UtsNs, XenRequests,
        },
        Profile,
    },
};

use crate::support::{PLAN, Subject, assert_holds, failing};

#[test]
fn what_is_confined_in_all_ways_holds() {
    for flaws in [
        &[][..],
        &["thread"],
        &["child"],
        &["thread", "child", "harmless", "null"],
    ] {
        let subject = Subject::with(flaws);
        let report = subject.audit().unwrap();
        assert_holds(&report);
        assert_eq!((report.moment, report.pid), (Moment::AtRest, subject.pid));
        let expected = 1 + usize::from(flaws.contains(&"child"));
        assert_eq!(report.processes.len(), expected);
        assert_eq!(report.processes[0].role, Role::Program);
        let threads = 1 + usize::from(flaws.contains(&"thread"));
        assert_eq!(report.processes[0].threads.len(), threads);
    }
}

#[test]
fn each_flaw_is_found_and_nothing_else() {
    let flaws: &[(&str, &[Mechanism], &str)] = &[
        ("uid", &[Identity], "uid 0"),
        (
            "saved-uid",
            &[Identity],
            "uids [1900000001, 1900000001, 1900000002",
        ),
        ("group", &[Identity], "groups [4711]"),
        ("thread-uid", &[Identity], "uid 0"),
        ("capability", &[Capabilities], "permitted 0x2000"),
        ("bounding", &[Capabilities], "bounding 0x1f"),
        ("thread-capability", &[Capabilities], "permitted 0x2000"),
        ("no-new-privs", &[NoNewPrivs], "off"),
        ("seccomp", &[XenRequests, Seccomp], "no filter"),
        ("thread-seccomp", &[XenRequests, Seccomp], "no filter"),
        ("ipc-ns", &[IpcNs], "the machine's own"),
        ("net-ns", &[NetNs], "the machine's own"),
        ("loopback", &[NetNs], "own, with lo up"),
        ("pid-ns", &[PidNs], "the machine's own"),
        ("uts-ns", &[UtsNs], "the machine's own"),
        ("neighbour", &[UtsNs], "is in as well"),
        ("cgroup-ns", &[CgroupNs], "the machine's own"),
        ("root", &[Root], "the machine's root directory"),
        ("ramfs", &[Root], "a ramfs"),
        ("writable-root", &[Root], "can be written to"),
        ("bind", &[Root], "\"/other\" mounted, which was not named"),
        (
            "writable-bind",
            &[Root],
            "\"/named\" mounted, to be written to",
        ),
        (
            "whole-bind",
            &[Root],
            "whole root file system at \"/named/doc\"",
        ),
        ("current-directory", &[Root], "is outside"),
        ("core", &[Rlimits], "core=1, hard 1"),
        ("nofile", &[Rlimits], "nofile=2049"),
        ("umask", &[Umask], "022"),
        ("thread-umask", &[Umask], "000"),
        ("child-umask", &[Umask], "027"),
        ("session", &[Session], "is in as well"),
        ("directory", &[Fds], "a directory, \"/etc\""),
        ("directory-by-path", &[Fds], "a directory, \"/etc\""),
        ("child-directory", &[Fds], "a directory, \"/\""),
        ("thread-directory", &[Fds], "a directory, \"/\""),
        ("outside-file", &[Fds], "a file from outside"),
        ("outside-socket", &[Fds], "another network namespace"),
        ("device", &[Fds], "character device 5:2"),
        ("block-device", &[Fds], "a block device"),
        ("namespace", &[Fds], "a namespace"),
        ("process", &[Fds], "a process"),
        ("inotify", &[Fds], "inotify"),
    ];
    for (flaw, checks, words) in flaws {
        let subject = Subject::with(&[flaw, "thread"]);
        let report = subject.audit().unwrap();
        let expected: BTreeSet<_> = checks.iter().copied().collect();
        assert_eq!(failing(&report), expected, "{flaw}: {:#?}", report.findings);
        assert_eq!((report.verdict, report.holds()), (Verdict::Fails, false));
        for check in *checks {
            let seen = &report.finding(*check).unwrap().seen;
            assert!(seen.contains(words), "{flaw}: {seen}");
        }
    }
}

#[test]
fn a_shared_mount_namespace_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().to_str().unwrap();
    let subject = Subject::with(&["mount-ns", &format!("at={at}")]);
    let report = subject.audit();
    drop(subject);
    // Who was killed may not be gone yet.
    umount2(&directory.path().join("named"), MntFlags::MNT_DETACH).unwrap();
    umount2(directory.path(), MntFlags::MNT_DETACH).unwrap();
    assert_eq!(failing(&report.unwrap()), BTreeSet::from([MountNs]));
}

#[test]
fn a_controlling_terminal_is_found() {
    let ends = nix::pty::openpty(None, None).unwrap();
    for end in [&ends.master, &ends.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    }
    let name = std::fs::read_link(format!("/proc/self/fd/{}", ends.slave.as_raw_fd())).unwrap();
    let subject = Subject::with(&[&format!("terminal={}", name.display())]);
    let report = subject.audit().unwrap();
    assert_eq!(failing(&report), BTreeSet::from([Session]));
    assert!(report.finding(Session).unwrap().seen.contains("terminal"));
}

#[test]
fn one_more_variable_is_found() {
    let subject = Subject::with_env(&[], &[("SECRET\u{1b}[2J", "value")]);
    let report = subject.audit().unwrap();
    assert_eq!(failing(&report), BTreeSet::from([Env]));
    let seen = &report.finding(Env).unwrap().seen;
    assert_eq!(seen, r#""SECRET\x1b[2J""#);
    assert!(
        !format!("{report:?}").contains("value"),
        "values are nobody's business"
    );
}

#[test]
fn what_is_left_out_is_shown_and_not_asked_for() {
    let subject = Subject::with(&["umask", "net-ns"]);
    let mut expectation = subject.expectation();
    expectation.without = vec![Umask, NetNs];
    let report = audit(subject.pid, &expectation).unwrap();
    assert!(report.holds());
    let finding = report.finding(Umask).unwrap();
    assert_eq!(finding.verdict, Verdict::NotAsked);
    assert_eq!(finding.expected, "left out by name");
    assert!(finding.seen.starts_with("022"), "{finding:?}");

    expectation.profile = Profile::Libxl;
    expectation.without.clear();
    let report = audit(subject.pid, &expectation).unwrap();
    let finding = report.finding(NetNs).unwrap();
    assert_eq!(
        (finding.verdict, &*finding.expected),
        (Verdict::NotAsked, "not in profile libxl")
    );
    assert!(report.holds(), "{:#?}", report.findings);
}

#[test]
fn without_a_record_the_profile_is_expected() {
    let subject = Subject::with(&[]);
    let report = audit(subject.pid, &Expectation::default()).unwrap();
    // Nobody wrote down that these were named, or which limits were meant.
    let failing = failing(&report);
    let expected = BTreeSet::from([Env, Rlimits, Mechanism::Cgroup]);
    assert!(
        failing.is_subset(&expected) && failing.contains(&Env),
        "{:#?}",
        report.findings
    );
    assert!(report.finding(Env).unwrap().seen.contains(PLAN));
    assert_eq!(report.finding(Root).unwrap().verdict, Verdict::Holds);
}

#[test]
fn of_another_uid_than_recorded() {
    let subject = Subject::with(&[]);
    let mut record = serde_json::to_value(subject.record()).unwrap();
    record["uid"] = 7.into();
    let expectation: Expectation = serde_json::from_value::<xen_restrict::launch::Record>(record)
        .unwrap()
        .try_into()
        .unwrap();
    let report = audit(subject.pid, &expectation).unwrap();
    assert_eq!(failing(&report), BTreeSet::from([Identity]));
}

#[test]
fn an_ordinary_process_fails_in_most_ways() {
    let mut sleep = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let file = File::open("/proc/self/status").unwrap();
    let report = audit(sleep.id().cast_signed(), &Expectation::default()).unwrap();
    drop(file);
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    for check in [
        Identity,
        Capabilities,
        NoNewPrivs,
        Seccomp,
        MountNs,
        NetNs,
        Root,
        Umask,
    ] {
        assert_eq!(
            report.finding(check).unwrap().verdict,
            Verdict::Fails,
            "{check}"
        );
    }
    let order: Vec<_> = report
        .findings
        .iter()
        .map(|finding| finding.check)
        .collect();
    assert_eq!(order, Mechanism::ALL);
}
