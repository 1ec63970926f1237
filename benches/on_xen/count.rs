// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls of a peer, counted from outside: emulation does not change them.

use nix::{
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::peers::Peer;

/// Of one more of what `line` says how often: `line(2 * few)` less `line(few)`.
pub(crate) fn system_calls(peer: &mut Peer, few: u32, line: impl Fn(u32) -> String) -> f64 {
    let mut count = |times| f64::from(of(peer, &line(times)));
    let (once, twice) = (count(few), count(2 * few));
    (twice - once) / f64::from(few)
}

/// From the line to its answer.
pub(crate) fn of(peer: &mut Peer, line: &str) -> u32 {
    let pid = Pid::from_raw(peer.pid());
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).expect("a child of this process");
    ptrace::interrupt(pid).expect("seized");
    waitpid(pid, None).expect("it stops");
    peer.say(line);
    let mut stops = 0;
    while !peer.has_answered() {
        ptrace::syscall(pid, None).expect("stopped");
        match waitpid(pid, None).expect("it stops") {
            WaitStatus::PtraceSyscall(_) => stops += 1,
            // The interruption once more, or a signal that is none of ours.
            WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => {}
            other => panic!("{other:?}"),
        }
    }
    ptrace::detach(pid, None::<Signal>).expect("stopped");
    peer.answer();
    // Begin and end of each.
    stops / 2
}
