// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program under `dm-restrict run`, and what it says.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::fd::AsFd as _,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::dom0::Dom0;

#[derive(Clone, Copy)]
pub(super) enum Profile {
    Strict,
    Libxl,
}

impl Profile {
    pub(super) const BOTH: [Self; 2] = [Self::Strict, Self::Libxl];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Libxl => "libxl",
        }
    }

    /// With a program to follow. Dom0 of the lab has less memory than a device model may
    /// have if nothing else is said.
    pub(super) fn run(self, domid: &str, options: &[&str]) -> Command {
        let mut command = Command::new("dm-restrict");
        command.args(["run", "--domid", domid, "--profile", self.name()]);
        if matches!(self, Self::Strict) {
            command.args(["--cgroup", "memory.max=32M"]);
        }
        command.args(options).arg("--");
        command
    }

    /// What has not followed its supervisor.
    pub(super) fn reap(self, domid: &str) {
        let reaped = Command::new("dm-restrict")
            .args(["reap", "--domid", domid])
            .output();
        let reaped = reaped.expect("it runs");
        assert!(reaped.status.success(), "{reaped:?}");
    }
}

pub(super) struct Attacker {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Attacker {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let says = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, says }
    }

    /// Its next line; `None`: it has ended.
    pub(super) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.says.read_line(&mut line).expect("a pipe");
        (read > 0).then(|| line.trim().to_owned())
    }

    /// Forgets what it has said.
    pub(super) fn skip(&mut self) {
        let ready = |says: &BufReader<ChildStdout>| {
            let mut fds = [PollFd::new(says.get_ref().as_fd(), PollFlags::POLLIN)];
            !says.buffer().is_empty() || poll(&mut fds, PollTimeout::ZERO) == Ok(1)
        };
        while ready(&self.says) && self.line().is_some() {}
    }

    /// What it took, in its own words, and what dom0's memory had less at worst: MiB.
    pub(super) fn takes(&mut self, dom0: &Dom0) -> (String, u64) {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut lost = 0;
        loop {
            lost = lost.max(dom0.memory_less());
            let mut fds = [PollFd::new(self.says.get_ref().as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(5_u8)) != Ok(0) {
                break;
            }
            assert!(Instant::now() < deadline, "it says nothing");
        }
        let said = self.line();
        lost = lost.max(dom0.memory_less());
        let said = said.unwrap_or_else(|| {
            let status = self.child.wait().expect("a child");
            if status.code() == Some(125) {
                let mut why = String::new();
                let mut stderr = self.child.stderr.take().expect("piped");
                stderr.read_to_string(&mut why).expect("text");
                panic!("{why}");
            }
            format!("ended: {}", status.code().unwrap_or_default())
        });
        (said, lost)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // Its supervisor passes it on.
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
