// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that do the same in their own ways, told by lines what to do.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::fd::AsFd as _,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::guest;

pub(crate) struct Peer {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, to, from }
    }

    /// One line, and the numbers that it answers.
    pub(crate) fn ask(&mut self, line: &str) -> Vec<f64> {
        self.say(line);
        self.answer()
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.to, "{line}").expect("it listens");
    }

    pub(crate) fn answer(&mut self) -> Vec<f64> {
        let mut answer = String::new();
        self.from.read_line(&mut answer).expect("it answers");
        let numbers: Result<Vec<f64>, _> = answer.split_whitespace().map(str::parse).collect();
        numbers
            .ok()
            .filter(|numbers| !numbers.is_empty())
            .unwrap_or_else(|| panic!("{answer:?}"))
    }

    pub(crate) fn has_answered(&self) -> bool {
        let mut fds = [PollFd::new(self.from.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program in another role.
pub(crate) fn ourselves() -> Command {
    Command::new(env::current_exe().expect("its own path"))
}

/// A program with the handles of guest A, confined as strictly as can be.
pub(crate) fn confined(program: &Command) -> Command {
    let mut command = Command::new("dm-restrict");
    command
        .args(["run", "--domid", &guest::domid(), "--xen", "evtchn,gntdev"])
        .args(["--grants", "brokered", "--fd", "stdin=0", "--"])
        .arg(program.get_program())
        .args(program.get_args());
    command
}

/// Xen's own libraries: grants and vchan (benches/on_xen/peer.c).
pub(crate) fn xen_libraries() -> Command {
    Command::new("xen_libraries")
}

/// Xen's own libraries, as a device model uses them (benches/on_xen/device_model.c).
pub(crate) fn xen_device_model() -> Command {
    Command::new("xen_device_model")
}
