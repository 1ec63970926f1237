// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that do the same in their own ways, told by lines what to do.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

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

    /// One line, and the number that it answers.
    pub(crate) fn ask(&mut self, line: &str) -> f64 {
        writeln!(self.to, "{line}").expect("it listens");
        let mut answer = String::new();
        self.from.read_line(&mut answer).expect("it answers");
        answer
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{line}: {answer:?}"))
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

/// Xen's own libraries (benches/on_xen/peer.c).
pub(crate) fn xen_libraries() -> Command {
    Command::new("xen_libraries")
}
