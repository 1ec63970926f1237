// SPDX-License-Identifier: MIT OR Apache-2.0
//! Started by somebody who is not root: it says what is missing, and does what is left.

use nix::{
    sys::{
        resource::{Resource, setrlimit},
        signal::Signal,
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use crate::support::launcher::{Ended, Launcher, eventually, processes_of};

/// Under a uid of its own.
fn unprivileged(left_out: &[String]) -> Launcher {
    let launcher = Launcher::bare().copied();
    let (uid, gid) = (Uid::from_raw(launcher.uid()), Gid::from_raw(launcher.uid()));
    let options = left_out.iter().flat_map(|name| ["--without", name]);
    launcher
        .options(["--no-xen", "--bind-linked"])
        .options(options)
        .hook(move || {
            setgroups(&[])?;
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)?;
            Ok(())
        })
}

/// What it names, one after the other.
fn missing() -> (Vec<String>, Vec<Ended>) {
    let mut left_out = vec!["identity".to_owned()];
    let mut refusals = Vec::new();
    loop {
        let ended = unprivileged(&left_out).probe_does(["exit=5"]);
        if ended.code == 5 {
            return (left_out, refusals);
        }
        let message = ended
            .stderr
            .lines()
            .last()
            .unwrap()
            .strip_prefix("dm-restrict: ")
            .unwrap();
        let (mechanism, rest) = message.split_once([':', ' ']).unwrap();
        // `root needs mount-ns: leave out both`.
        let named = rest.strip_prefix("needs ").map_or(mechanism, |_| mechanism);
        assert!(
            !left_out.iter().any(|name| name == named) && left_out.len() < 20,
            "{ended:?}"
        );
        left_out.push(named.to_owned());
        assert_eq!(ended.code, 125, "{ended:?}");
        refusals.push(ended);
    }
}

#[test]
fn what_takes_root_is_named_until_nothing_is_missing() {
    let (mut left_out, refusals) = missing();
    for refusal in &refusals {
        let helps = ["start it as root", "leave out both", "--without"];
        assert!(
            helps.iter().any(|words| refusal.stderr.contains(words)),
            "{refusal:?}"
        );
    }
    left_out.sort();
    let expected = [
        "capabilities",
        "cgroup-ns",
        "identity",
        "ipc-ns",
        "mount-ns",
        "net-ns",
        "pid-ns",
        "root",
        "uts-ns",
    ];
    assert_eq!(left_out, expected);
}

#[test]
fn what_does_not_take_root_is_in_force() {
    let (left_out, _) = missing();
    let launcher = unprivileged(&left_out);
    let uid = launcher.uid();
    let directory = launcher.writable_dir("files");
    let file = directory.join("file");
    let ended = launcher
        .option("--bind-rw")
        .option(directory)
        .probe_does([
            "report",
            "read=/etc/passwd",
            &format!("create={}", file.display()),
            "ioctl=84500",
        ])
        .with_code(0);
    for (key, value) in [
        ("uids", format!("{uid} {uid} {uid}").as_str()),
        ("effective", "0"),
        ("no-new-privs", "1"),
        ("seccomp", "2"),
        ("fds", "0 1 2"),
        ("umask", "077"),
        ("cwd", "/"),
        ("rlimit nofile", "1024 1024"),
        // What is read beneath `/` is not: by Landlock alone.
        ("read", "EACCES"),
        ("create", "ok"),
        ("ioctl", "EPERM"),
    ] {
        assert_eq!(ended.value(key), value, "{key}");
    }
    assert_eq!(ended.value("pid"), ended.value("sid"));
    assert!(!ended.stdout.contains("\nenv "), "{ended:?}");
    assert!(ended.stderr.contains("warning: not root"), "{ended:?}");
}

#[test]
fn a_core_limit_of_0_cannot_be_raised_and_that_is_told() {
    let (left_out, _) = missing();
    unprivileged(&left_out)
        .hook(|| Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?))
        .probe_does(["report"])
        .refused(125, &["rlimits: set core=1", "hard limit", "as root"]);
}

#[test]
fn it_ends_with_its_supervisor() {
    let (left_out, _) = missing();
    let mut running = unprivileged(&left_out).start_probe(["say=here", "forever"]);
    running.line();
    running.signal(Signal::SIGKILL);
    eventually(|| processes_of(running.uid()).is_empty().then_some(()));
}
