// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program is and has when it starts.

use std::fs;

use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, setrlimit},
        signal::Signal,
        stat::{Mode, umask},
    },
    unistd::setgroups,
};

use crate::support::{
    deny::{Deny, When},
    launcher::{Ended, Launcher, eventually},
};

/// Descriptors that a careless launcher leaves open, and all else that it may pass on.
fn careless(launcher: Launcher) -> Launcher {
    launcher
        .hook(|| {
            let (first, last) = (3_u32, libc::c_uint::MAX);
            // SAFETY: sets a flag.
            Errno::result(unsafe {
                libc::syscall(
                    libc::SYS_close_range,
                    first,
                    last,
                    libc::CLOSE_RANGE_CLOEXEC,
                )
            })?;
            for number in [500, 509, 900, 3000] {
                // SAFETY: a new number in a process that is about to execute a program.
                Errno::result(unsafe { libc::dup2(2, number) })?;
            }
            for signal in [Signal::SIGHUP as i32, Signal::SIGCHLD as i32, 34, 64] {
                // SAFETY: no handler is installed.
                unsafe { libc::signal(signal, libc::SIG_IGN) };
            }
            nix::sys::signal::SigSet::all().thread_set_mask()?;
            umask(Mode::empty());
            setgroups(&[nix::unistd::Gid::from_raw(4)])?;
            Ok(())
        })
        .with(|command| {
            command
                .env("SECRET", "of the launcher")
                .env("LISTEN_FDS", "7");
        })
}

fn has(ended: &Ended, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(ended.value(key), *value, "{key} of {ended:?}");
    }
}

fn env(ended: &Ended) -> Vec<&str> {
    ended
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("env "))
        .collect()
}

/// What both profiles promise.
fn unprivileged(ended: &Ended) {
    let three = format!("{0} {0} {0}", ended.uid);
    has(
        ended,
        &[
            ("uids", &three),
            ("gids", &three),
            ("groups", "[]"),
            ("effective", "0"),
            ("permitted", "0"),
            ("inheritable", "0"),
            ("ambient", "0"),
            ("seccomp", "2"),
            ("cwd", "/"),
            ("blocked", "[]"),
            ("rlimit memlock", "0 0"),
            ("rlimit locks", "0 0"),
            ("rlimit msgqueue", "0 0"),
        ],
    );
}

#[test]
fn strict_leaves_nothing() {
    let launcher = careless(Launcher::new()).options(["--env", "NAMED=value=with=signs"]);
    let ended = launcher.probe_does(["report"]).with_code(0);
    unprivileged(&ended);
    has(
        &ended,
        &[
            ("bounding", "0"),
            // NOROOT, NO_CAP_AMBIENT_RAISE; locks of these, and of the two that are off.
            ("securebits", "eb"),
            ("no-new-privs", "1"),
            ("fds", "0 1 2"),
            ("umask", "077"),
            ("pid", "2"),
            ("ppid", "0"),
            ("pgrp", "2"),
            ("sid", "2"),
            ("ignored", "[]"),
            ("rlimit nice", "0 0"),
            ("rlimit rtprio", "0 0"),
        ],
    );
    assert_eq!(
        env(&ended),
        ["NAMED=value=with=signs", "NOTIFY_SOCKET=/notify"]
    );
}

#[test]
fn libxl_does_what_its_column_says() {
    let launcher = careless(Launcher::new()).options(["--profile", "libxl"]);
    let ended = launcher.probe_does(["report"]).with_code(0);
    unprivileged(&ended);
    has(
        &ended,
        &[
            ("securebits", "0"),
            ("no-new-privs", "0"),
            ("fds", "0 1 2"),
            ("umask", "000"),
            ("rlimit fsize", "262144 262144"),
            ("rlimit core", "1 1"),
        ],
    );
    assert_ne!(ended.value("bounding"), "0");
    assert!(env(&ended).contains(&"SECRET=of the launcher"), "{ended:?}");
    assert!(!env(&ended).contains(&"LISTEN_FDS=7"), "{ended:?}");
}

#[test]
fn descriptors_that_are_left_open_come_along_when_they_are_left_out_and_harmless() {
    let launcher = careless(Launcher::new()).options(["--without", "fds"]);
    let ended = launcher.probe_does(["report"]).with_code(0);
    // None of the supervisor's.
    has(&ended, &[("fds", "0 1 2 500 509 900 3000")]);
}

#[test]
fn securebits_of_the_launcher_do_not_keep_capabilities() {
    const KEEP_CAPS_AND_NO_SETUID_FIXUP: libc::c_ulong = 1 << 2 | 1 << 4;
    for profile in ["strict", "libxl"] {
        let launcher = Launcher::new().options(["--profile", profile]).hook(|| {
            let bits = KEEP_CAPS_AND_NO_SETUID_FIXUP;
            // SAFETY: takes numbers.
            let result = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0) };
            Errno::result(result)?;
            Ok(())
        });
        unprivileged(&launcher.probe_does(["report"]).with_code(0));
    }
}

#[test]
fn namespaces_are_its_own() {
    for (profile, own) in [
        ("strict", &["mnt", "ipc", "net", "pid", "uts", "cgroup"][..]),
        ("libxl", &["mnt", "ipc"]),
    ] {
        let mut running = Launcher::new()
            .options(["--profile", profile])
            .start_probe(["say=here", "forever"]);
        assert_eq!(running.line(), "here");
        let namespace =
            |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        let [program, supervisor] =
            [running.program(), running.supervisor()].map(|pid| pid.to_string());
        for kind in ["mnt", "ipc", "net", "pid", "uts", "cgroup", "user"] {
            let is_own = namespace(&program, kind) != namespace(&supervisor, kind);
            assert_eq!(is_own, own.contains(&kind), "{profile} {kind}");
        }
        // The one that the launcher made is where it was.
        for kind in ["ipc", "net", "pid", "uts", "cgroup", "user"] {
            assert_eq!(
                namespace(&supervisor, kind),
                namespace("self", kind),
                "{kind}"
            );
        }
        running.signal(Signal::SIGTERM);
        running.wait().with_code(128 + 15);
    }
}

#[test]
fn no_program_runs_with_a_core_limit_of_0_by_which_the_machines_helper_would() {
    const CAP_SYS_RESOURCE: u32 = 24;
    let ours = capabilities("self".into());
    let can_raise = u64::from_str_radix(&ours[2], 16).unwrap() >> CAP_SYS_RESOURCE & 1 == 1;
    for profile in ["strict", "libxl"] {
        let ended = Launcher::new()
            .options(["--profile", profile])
            .hook(|| Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?))
            .probe_does(["report"]);
        // Not each root of a container may.
        match can_raise {
            true => assert_eq!(ended.with_code(0).value("rlimit core"), "1 1", "{profile}"),
            false => {
                ended.refused(125, &["rlimits: set core=1", "CAP_SYS_RESOURCE"]);
            }
        }
    }
}

/// Inheritable, permitted, effective, bounding, ambient.
fn capabilities(pid: String) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let lines = status.lines().filter(|line| line.starts_with("Cap"));
    let digits = lines.map(|line| line.split_whitespace().nth(1).unwrap());
    digits
        .map(|digits| digits.trim_start_matches('0').to_owned())
        .collect()
}

/// KILL and SETUID: it has nobody to look at, or cannot any more.
const SEALED: [&str; 5] = ["", "a0", "a0", "", ""];

#[test]
fn what_the_supervisor_needs_to_look_goes_when_it_need_not() {
    for options in [
        &["--seal-after", "0"][..],
        &["--seal-after", "0", "--log-denied"],
        &["--without", "xen-requests", "--without", "seccomp"],
    ] {
        let mut running = Launcher::new()
            .options(options)
            .start_probe(["say=here", "forever"]);
        running.line();
        let supervisor = capabilities(running.supervisor().to_string());
        running.signal(Signal::SIGTERM);
        running.wait().with_code(128 + 15);
        assert_eq!(supervisor, SEALED, "{options:?}");
    }
}

#[test]
fn nor_is_it_kept_when_nobody_can_be_asked_any_more() {
    const RECEIVE: u32 = 0xc050_2100;
    // The first request of the set-up phase is the last.
    let mut running = Launcher::new()
        .option("--log-denied")
        .deny(&[Deny {
            call: libc::SYS_ioctl,
            when: &[When::Is(1, RECEIVE)],
            errno: libc::EIO,
        }])
        .start_probe(["ioctl=84500", "say=here", "forever"]);
    assert_eq!(running.line(), "ioctl ENOSYS");
    running.line();
    let supervisor = running.supervisor().to_string();
    eventually(|| (capabilities(supervisor.clone()) == SEALED).then_some(()));
    running.signal(Signal::SIGTERM);
    let ended = running.wait();
    assert!(ended.stderr.contains("listener"), "{ended:?}");
    ended.with_code(128 + 15);
}

#[test]
fn what_the_supervisor_keeps_is_listed() {
    let mut running = Launcher::new().start_probe(["say=here", "forever"]);
    running.line();
    // Inheritable, permitted, effective, bounding, ambient: KILL and SETUID, and until
    // it is sealed SYS_PTRACE and DAC_READ_SEARCH.
    let supervisor = capabilities(running.supervisor().to_string());
    assert_eq!(supervisor, ["", "800a4", "800a4", "", ""]);
    let init = running.record()["init_pid"].to_string();
    assert_eq!(capabilities(init.clone()), ["", "", "", "", ""]);
    let fds = fs::read_dir(format!("/proc/{init}/fd")).unwrap().count();
    assert_eq!(fds, 1, "it sees by one that the supervisor lives");
    let limits = fs::read_to_string(format!("/proc/{}/limits", running.program())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>()[4..6],
        ["1", "1"],
        "{core}"
    );
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
}
