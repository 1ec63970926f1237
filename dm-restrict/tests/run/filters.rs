// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filters in place: what a program that was taken over would try, Xen's requests in
//! both phases, and the names of what was refused.

use xen_restrict::confine::xen_requests::{Allowed, Mapping, POLICY, Phase};

use crate::support::launcher::{Ended, Launcher};

/// Of `EPERM` and `ENOSYS`; what is not there at all has no other answer.
fn refused(ended: &Ended) {
    let missing = ["clone3", "io_setup", "no-such-call"];
    let mut tried = 0;
    for line in ended.stdout.lines() {
        let (call, answer) = line.split_once(' ').unwrap();
        let expected = if missing.contains(&call) {
            "ENOSYS"
        } else {
            "EPERM"
        };
        assert_eq!(answer, expected, "{call}");
        tried += 1;
    }
    assert!(tried >= 20, "{ended:?}");
}

#[test]
fn what_an_attacker_would_try_is_refused() {
    refused(&Launcher::new().probe_does(["attempts"]).with_code(0));
}

#[test]
fn what_was_refused_is_named() {
    let ended = Launcher::new()
        .options(["--log-denied"])
        .probe_does(["attempts"])
        .with_code(0);
    refused(&ended);
    for (call, shown) in [
        ("mount", "mount of thread"),
        ("clone-newuser", "clone(0x10000011,"),
        ("clone3", "clone3 of thread"),
        ("socket-inet", "socket(0x2, 0x1,"),
        ("ioctl-TIOCSTI", "ioctl 0x5412 of thread"),
        ("no-such-call", "system call 999 of thread"),
    ] {
        let said = ended
            .stderr
            .lines()
            .any(|line| line.starts_with(&format!("dm-restrict: denied: {shown}")));
        assert!(said, "{call}: {ended:?}");
    }
    let quiet = Launcher::new().probe_does(["attempts"]).with_code(0);
    assert_eq!(quiet.stderr, "");
}

/// Every request of Xen's devices, on /dev/null, which knows none: what arrives there is
/// ENOTTY.
pub(crate) fn requests() -> Vec<String> {
    POLICY
        .iter()
        .map(|row| format!("ioctl={:x}", row.number))
        .collect()
}

#[track_caller]
pub(crate) fn answered(lines: &[&str], allowed: impl Fn(Allowed) -> bool) {
    answered_with(Mapping::Always, lines, allowed);
}

#[track_caller]
fn answered_with(mapping: Mapping, lines: &[&str], allowed: impl Fn(Allowed) -> bool) {
    assert_eq!(lines.len(), POLICY.len());
    for (line, row) in lines.iter().zip(POLICY) {
        let expected = if allowed(row.until(mapping)) {
            "ioctl ENOTTY"
        } else {
            "ioctl EPERM"
        };
        assert_eq!(*line, expected, "{}", row.request);
    }
}

const BOTH: [&[&str]; 5] = [
    &[],
    &["--log-denied"],
    &["--without", "seccomp"],
    &["--without", "seccomp", "--log-denied"],
    &["--profile", "libxl"],
];

#[test]
fn requests_of_the_set_up_are_refused_when_it_is_ready() {
    let mappings = [
        (Mapping::Always, &[][..]),
        (Mapping::UntilSealed, &["--seal-mapping"]),
    ];
    for (options, (mapping, how)) in BOTH.iter().flat_map(|o| mappings.map(|m| (*o, m))) {
        let sealed = ["notify=READY=1".to_owned(), "sleep=1000".into()];
        let actions = requests().into_iter().chain(sealed).chain(requests());
        let ended = Launcher::new()
            .options(options)
            .options(how)
            .probe_does(actions)
            .with_code(0);
        let lines: Vec<_> = ended.stdout.lines().collect();
        let (before, after) = lines.split_at(POLICY.len());
        answered_with(mapping, before, |allowed| allowed.during(Phase::SetUp));
        assert_eq!(after[0], "notify ok");
        answered_with(mapping, &after[1..], |allowed| {
            allowed.during(Phase::Sealed)
        });
    }
}

#[test]
fn a_program_whose_guest_runs_already_is_sealed_before_it_starts() {
    for options in BOTH {
        let launcher = Launcher::new()
            .options(options)
            .options(["--seal-after", "0"]);
        let ended = launcher.probe_does(requests()).with_code(0);
        let lines: Vec<_> = ended.stdout.lines().collect();
        answered(&lines, |allowed| allowed.during(Phase::Sealed));
    }
}

#[test]
fn one_that_says_nothing_is_sealed_in_time() {
    let actions = std::iter::once("sleep=3000".to_owned()).chain(requests());
    let ended = Launcher::new()
        .options(["--seal-after", "1"])
        .probe_does(actions)
        .with_code(0);
    let lines: Vec<_> = ended.stdout.lines().collect();
    answered(&lines, |allowed| allowed.during(Phase::Sealed));
}

#[test]
fn without_the_filters_they_arrive() {
    let options = ["--without", "seccomp", "--without", "xen-requests"];
    let ended = Launcher::new()
        .options(options)
        .probe_does(requests())
        .with_code(0);
    answered(&ended.stdout.lines().collect::<Vec<_>>(), |_| true);
    // The list of system calls has the requests too, but not the phases.
    let options = ["--without", "xen-requests"];
    let ended = Launcher::new()
        .options(options)
        .probe_does(requests())
        .with_code(0);
    let lines: Vec<_> = ended.stdout.lines().collect();
    answered(&lines, |allowed| allowed != Allowed::Never);
}
