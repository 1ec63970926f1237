// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library's launcher: it has the command run the program.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, thread, time::Duration};

use xen_restrict::{
    confine::Mechanism,
    launch::{Ended, Launch, LaunchError},
};

/// Needs no user database of its own: Debian has this user everywhere.
const USER: &str = "games";

fn launch(script: &str) -> Launch {
    Launch::without_xen()
        .user(USER)
        .helper(env!("CARGO_BIN_EXE_dm-restrict"))
        .bind_linked()
        .program("sh", ["-c", script])
}

#[test]
fn it_runs_when_spawn_returns_and_its_status_comes_back() {
    let mut shell = launch("exit 7").spawn().unwrap();
    assert_eq!(shell.wait().unwrap(), Ended::Exited(7));

    let mut shell = launch("while :; do :; done").spawn().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", shell.pid())).unwrap();
    assert!(status.starts_with("Name:\tsh\n"), "{status}");
    // SAFETY: a child of this process that was not waited for.
    let sent = unsafe { libc::kill(shell.supervisor_pid().cast_signed(), libc::SIGTERM) };
    assert_eq!(sent, 0);
    assert_eq!(shell.wait().unwrap().exit_code(), 128 + 15);
}

#[test]
fn variables_do_not_show_on_the_command_line() {
    let secret = "A=b\nc";
    let mut shell = launch("test \"$SECRET\" = \"A=b\nc\" && while :; do :; done")
        .env("SECRET", secret)
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(200));
    for pid in [shell.supervisor_pid().cast_signed(), shell.pid()] {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let needle = b"SECRET=";
        assert!(!line.windows(needle.len()).any(|part| part == needle));
    }
    let environment = fs::read(format!("/proc/{}/environ", shell.pid())).unwrap();
    assert_eq!(environment, b"SECRET=A=b\nc\0NOTIFY_SOCKET=/notify\0");
    // SAFETY: as above.
    unsafe { libc::kill(shell.supervisor_pid().cast_signed(), libc::SIGKILL) };
    shell.wait().unwrap();
}

#[test]
fn it_outlives_the_thread_that_started_it() {
    let mut shell = thread::spawn(|| launch("sleep() { while :; do :; done; }; sleep").spawn())
        .join()
        .unwrap()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(Path::new(&format!("/proc/{}", shell.pid())).exists());
    // SAFETY: a child of this process that was not waited for.
    unsafe { libc::kill(shell.supervisor_pid().cast_signed(), libc::SIGKILL) };
    shell.wait().unwrap();
}

#[test]
fn errors_are_those_of_the_command() {
    let cases: [(Launch, &str); 4] = [
        (
            launch("").program("/nonexistent/x", [""]),
            "there is no such program",
        ),
        (launch("").user("no-such-user"), "no-such-user"),
        (
            launch("").bind_read_only("/nonexistent/y"),
            "/nonexistent/y",
        ),
        (launch("").helper("/nonexistent/z"), "/nonexistent/z"),
    ];
    for (launch, says) in cases {
        let error = launch.spawn().unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let missing = launch("")
        .program("/nonexistent/x", [""])
        .spawn()
        .unwrap_err();
    assert_eq!(missing.exit_code(), 127);
    let error = launch("")
        .require(Mechanism::Cgroup)
        .without(Mechanism::Cgroup)
        .spawn();
    assert!(matches!(error, Err(LaunchError::Option(_))), "{error:?}");
}

#[test]
fn nothing_of_the_launcher_comes_along() {
    // Open across exec, but not named.
    let file = fs::File::open("/etc/passwd").unwrap();
    // SAFETY: duplicates a descriptor.
    let leaked = unsafe { libc::dup(std::os::fd::AsRawFd::as_raw_fd(&file)) };
    assert!(leaked > 0);
    let script =
        "set -- /proc/self/fd/*; echo $# >&2; for fd; do test -e $fd && echo $fd; done; exit $#";
    let mut shell = launch(script).proc().spawn().unwrap();
    let pid = shell.supervisor_pid();
    let held: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| fs::read_link(entry.path()))
                .collect()
        })
        .unwrap_or_default();
    let passwd = |link: &std::io::Result<_>| {
        link.as_ref()
            .is_ok_and(|path| *path == Path::new("/etc/passwd"))
    };
    assert!(!held.iter().any(passwd), "the supervisor has it: {held:?}");
    // 0, 1, 2, and the directory while it is read.
    assert_eq!(shell.wait().unwrap(), Ended::Exited(4));
    // SAFETY: closes what was duplicated above.
    unsafe { libc::close(leaked) };
}
