// SPDX-License-Identifier: MIT OR Apache-2.0
//! A control group that systemd makes for a program which it has not started itself: a
//! transient scope, delegated. `systemd-run` asks for it, and a program waits in it until the
//! calling process has moved there, too.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{
    absent, failed,
    own::Own,
    parent::{Parent, joined, not_in_version_1, systemd_runs},
};
use crate::confine::mechanism::MechanismError;

const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
/// It ends when it has read all, and says again what it reads: then it is there.
const WAITS: &str = "/bin/cat";
const LEAVE_OUT: &str = "or leave out the mechanism cgroup";

/// Whether control groups are systemd's, so that [`scope`] is the way to one.
///
/// # Errors
/// They are, and version 1 has those that are needed, or there is no `systemd-run`.
pub fn has_scopes() -> Result<bool, MechanismError> {
    if !systemd_runs() {
        return Ok(false);
    }
    not_in_version_1(&Own::find()?)?;
    for program in [SYSTEMD_RUN, WAITS] {
        if !Path::new(program).is_file() {
            let reason = format!("the control groups are systemd's, and there is no {program}");
            return Err(absent(reason, "install systemd as a whole"));
        }
    }
    Ok(true)
}

/// Asks systemd for the scope `name`, and moves the calling process into it: out of its
/// service, or of the session of whoever started it, and away from their end. It is beneath
/// `system.slice`, and ends with its last process, by `systemctl stop`, or when the machine is
/// shut down after all that is stopped in order (`DefaultDependencies=no`).
///
/// `name` is that of a unit, without its kind.
///
/// # Errors
/// systemd refuses, or what it has made is not a delegated group with the controllers pids and
/// memory.
pub fn scope(name: &str, description: &str) -> Result<Parent, MechanismError> {
    let mut waits = Command::new(SYSTEMD_RUN)
        .args(["--scope", "--quiet", "--collect", "--slice=system.slice"])
        .args(["-pDelegate=yes", "-pDefaultDependencies=no"])
        .args([
            format!("--unit={name}"),
            format!("--description={description}"),
        ])
        .args(["--", WAITS])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("start {SYSTEMD_RUN}"), &error))?;
    let parent = match is_there(&mut waits) {
        Ok(true) => Own::of(waits.id()).and_then(|own| joined(&own)),
        Ok(false) => Err(refused(name, &mut waits)),
        Err(error) => Err(failed(format!("hear of the scope {name}"), &error)),
    };
    // The end of its input ends it; it must be gone before the group can have others in it.
    drop(waits.stdin.take());
    let ended = waits.wait();
    ended.map_err(|error| failed(format!("wait for {WAITS}"), &error))?;
    parent
}

/// False: it has ended.
fn is_there(waits: &mut Child) -> io::Result<bool> {
    let (Some(to), Some(from)) = (&mut waits.stdin, &mut waits.stdout) else {
        return Ok(false);
    };
    // Where it has ended already, reading tells.
    let _ = to.write_all(b"\n");
    Ok(from.read(&mut [0])? == 1)
}

fn refused(name: &str, waits: &mut Child) -> MechanismError {
    const MOST: u64 = 1000;
    let mut said = Vec::new();
    if let Some(stderr) = waits.stderr.take() {
        let _ = stderr.take(MOST).read_to_end(&mut said);
    }
    let said = said.trim_ascii().escape_ascii();
    absent(format!("systemd makes no scope {name}: {said}"), LEAVE_OUT)
}
