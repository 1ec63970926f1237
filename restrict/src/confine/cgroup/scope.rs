// SPDX-License-Identifier: MIT OR Apache-2.0
//! A control group that systemd makes for a program which it has not started itself: a
//! transient scope, delegated. `systemd-run` asks for it, and a program waits in it until the
//! calling process has moved there, too.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    absent, failed,
    own::Own,
    parent::{Parent, has_controllers_in, joined, not_in_version_1, systemd_runs},
};
use crate::confine::mechanism::MechanismError;

const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
/// It ends when it has read all, and says again what it reads: then it is there.
const WAITS: &str = "/bin/cat";
/// Where systemd has control groups, and the units that it was asked for.
const ROOT: &str = "/sys/fs/cgroup";
const TRANSIENT: &str = "/run/systemd/transient";
/// In the order in which a machine that shuts down stops: what ends guests, these, and then
/// what guests need.
const ORDER: [&str; 3] = [
    "-pBefore=xendomains.service",
    "-pAfter=network.target",
    "-pAfter=remote-fs.target",
];
/// For systemd to answer; libxl gives a device model a minute.
const PATIENCE: Duration = Duration::from_secs(20);
/// One that executes itself anew (an upgrade has it do so) is gone for a moment.
const TRIES: usize = 3;
const REMEDY: &str = "see `journalctl -b _PID=1`, or leave out the mechanism cgroup";

/// Whether control groups are systemd's, so that [`scope`] is the way to one.
///
/// # Errors
/// They are, and it has not the controllers pids and memory to give, or there is no
/// `systemd-run`.
pub fn has_scopes() -> Result<bool, MechanismError> {
    if !systemd_runs() {
        return Ok(false);
    }
    not_in_version_1(&Own::find()?)?;
    has_controllers_in(Path::new(ROOT))?;
    for program in [SYSTEMD_RUN, WAITS] {
        if !Path::new(program).is_file() {
            let reason = format!("the control groups are systemd's, and there is no {program}");
            return Err(absent(
                reason,
                "install it; or start it in a unit with `Delegate=yes`",
            ));
        }
    }
    Ok(true)
}

/// Asks systemd for a scope, and moves the calling process into it: out of its service, or of
/// the session of whoever started it, and away from their end. It is beneath `system.slice`, and
/// ends with its last process, by `systemctl stop`, or when the machine is shut down: after
/// `xendomains.service`, before the network and what is mounted from it.
///
/// `name` is that of a unit, without its kind; another number follows at each try. `weight` is
/// its part of processors next to the 100 of others (`CPUWeight=`).
///
/// # Errors
/// systemd refuses three times, does not answer within 20 seconds, or what it has made is not a
/// delegated group with the controllers pids and memory.
pub fn scope(name: &str, description: &str, weight: u64) -> Result<Parent, MechanismError> {
    let deadline = Instant::now() + PATIENCE;
    let mut number = 1;
    loop {
        let name = format!("{name}-{number}");
        match once(&name, description, weight, deadline) {
            Err(_) if number < TRIES && Instant::now() < deadline => number += 1,
            done => return done,
        }
    }
}

fn once(
    name: &str,
    description: &str,
    weight: u64,
    deadline: Instant,
) -> Result<Parent, MechanismError> {
    let mut waits = Command::new(SYSTEMD_RUN)
        .args(["--scope", "--collect", "--slice=system.slice"])
        .args(["-pDelegate=yes", &format!("-pCPUWeight={weight}")])
        .args(ORDER)
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
    let parent = match is_there(&mut waits, deadline) {
        Ok(true) => is_its(name, &waits).and_then(|own| joined(&own)),
        Ok(false) => Err(refused(name, &mut waits)),
        Err(error) => Err(failed(format!("hear of the scope {name}"), &error)),
    };
    // The end of its input ends it; it must be gone before the group can have others in it.
    drop(waits.stdin.take());
    if parent.is_err() {
        // It may never have begun to read. One that has ended is not hit.
        let _ = waits.kill();
    }
    let ended = waits.wait();
    ended.map_err(|error| failed(format!("wait for {WAITS}"), &error))?;
    parent
}

/// False: it has ended.
fn is_there(waits: &mut Child, deadline: Instant) -> io::Result<bool> {
    let (Some(to), Some(from)) = (&mut waits.stdin, &mut waits.stdout) else {
        return Ok(false);
    };
    // Where it has ended already, reading tells.
    let _ = to.write_all(b"\n");
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::EINTR) => {}
            ready => {
                ready?;
                return Ok(from.read(&mut [0])? == 1);
            }
        }
    }
}

/// The group of what waits, if that is the scope, and systemd knows it.
fn is_its(name: &str, waits: &Child) -> Result<Own, MechanismError> {
    let own = Own::of(waits.id())?;
    let unit = format!("{name}.scope");
    let is_in = own.group.file_name().is_some_and(|group| *group == *unit);
    if is_in && Path::new(TRANSIENT).join(&unit).exists() {
        return Ok(own);
    }
    Err(absent(
        format!(
            "systemd has made no {unit}: its program is in {:?}",
            own.group
        ),
        REMEDY,
    ))
}

fn refused(name: &str, waits: &mut Child) -> MechanismError {
    const MOST: u64 = 1000;
    let mut said = Vec::new();
    if let Some(stderr) = waits.stderr.take() {
        let _ = stderr.take(MOST).read_to_end(&mut said);
    }
    let said = said.trim_ascii().escape_ascii();
    absent(format!("systemd makes no scope {name}: {said}"), REMEDY)
}
