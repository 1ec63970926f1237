// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the command, also where /etc/passwd and /etc/subuid are the test's own.

#[allow(dead_code, reason = "not every test program needs it")]
pub(crate) mod deny;
#[allow(dead_code, reason = "not every test program needs it")]
pub(crate) mod launcher;
#[allow(dead_code, reason = "not every test program needs it")]
pub(crate) mod programs;
#[allow(dead_code, reason = "not every test program needs it")]
pub(crate) mod static_program;

use std::{fs, path::Path, process::Command};

/// How a run of the command ended.
#[derive(Debug)]
#[allow(dead_code, reason = "not every test program needs it")]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

#[allow(dead_code, reason = "not every test program needs it")]
pub(crate) fn dm_restrict(arguments: &[&str]) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_dm-restrict")).args(arguments))
}

/// The command where these lines are added to this machine's passwd, and
/// subuid is this one: in a mount namespace of its own, so nobody else sees it.
#[allow(dead_code, reason = "not every test program needs it")]
pub(crate) fn with_users(passwd: &str, subuid: &str, arguments: &[&str]) -> Run {
    with_users_under(&[], passwd, subuid, arguments)
}

/// The same, started by `wrapper`.
pub(crate) fn with_users_under(
    wrapper: &[&str],
    passwd: &str,
    subuid: &str,
    arguments: &[&str],
) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let machine = fs::read_to_string("/etc/passwd").unwrap();
    fs::write(dir.path().join("passwd"), machine + passwd).unwrap();
    fs::write(dir.path().join("subuid"), subuid).unwrap();
    fs::write(dir.path().join("nsswitch.conf"), "passwd: files\n").unwrap();
    assert!(
        Path::new("/etc/subuid").exists() && Path::new("/etc/nsswitch.conf").exists(),
        "the test covers /etc/subuid and /etc/nsswitch.conf: create them, empty if need be"
    );
    let run = run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(
            "set -e; for file in passwd subuid nsswitch.conf; do mount --bind \"$0/$file\" \
             /etc/$file; done; mount -t tmpfs tmpfs /run; exec \"$@\"",
        )
        .arg(dir.path())
        .args(wrapper)
        .arg(env!("CARGO_BIN_EXE_dm-restrict"))
        .args(arguments));
    assert!(
        run.stderr.is_empty() || run.stderr.starts_with("dm-restrict:"),
        "a mount namespace takes root: run the tests as root ({run:?})"
    );
    run
}

fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}
