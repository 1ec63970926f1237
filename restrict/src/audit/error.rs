// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why nothing can be said about a process.

use std::io;

use super::procfs::Unread;

/// Why an audit came to no result. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// There is no such process.
    #[error("there is no process {pid}: `ps -e` shows those that run")]
    NoSuchProcess {
        /// The number that was asked about.
        pid: i32,
    },
    /// It ended while it was looked at.
    #[error("process {pid} ended while it was looked at: look again if it was started anew")]
    Ended {
        /// The process.
        pid: i32,
    },
    /// The number is another process's by now.
    #[error(
        "process {pid} is not the one that was recorded (it started at tick {seen}, not {recorded}): \
         the recorded one has ended"
    )]
    AnotherProcess {
        /// The number.
        pid: i32,
        /// When the recorded process started.
        recorded: u64,
        /// When this one did.
        seen: u64,
    },
    /// What a launcher recorded makes no sense to this version.
    #[error(
        "what was recorded of instance {instance} is not understood ({why}): audit it with the \
         version that started it"
    )]
    Record {
        /// Its name.
        instance: String,
        /// What is wrong.
        why: String,
    },
    /// The number is a thread's.
    #[error("{pid} is a thread, not a process: give the process's number, `ps -o pid= -q {pid}`")]
    Thread {
        /// The number.
        pid: i32,
    },
    /// It was never the same twice.
    #[error(
        "process {pid}, or another that belongs to it, changed each of {looks} times it was looked \
         at ({what}), so nothing is proved: look again when it is quiet, or stop it for the moment \
         with `--filters`"
    )]
    Changing {
        /// The process.
        pid: i32,
        /// How often it was looked at.
        looks: u32,
        /// What changed last.
        what: &'static str,
    },
    /// This process is not privileged enough.
    #[error("looking into another process takes root; {missing} is missing here")]
    NotRoot {
        /// Which capability.
        missing: &'static str,
    },
    /// The Yama security module forbids it to everybody.
    #[error(
        "looking into another process is switched off until the next boot: \
         /proc/sys/kernel/yama/ptrace_scope is 3, set it to 2 or below where it is configured"
    )]
    Yama,
    /// The kernel refuses, whatever this process may do.
    #[error(
        "the kernel refuses to show {what} of process {pid}, although this is root: a security \
         module (`cat /sys/kernel/security/lsm`) or a sandbox around this process forbids it"
    )]
    Denied {
        /// The process.
        pid: i32,
        /// What was to be looked at.
        what: String,
    },
    /// A filter would answer in the kernel's place.
    #[error(
        "a seccomp filter of this process refuses what has to be asked of Xen's devices, so the \
         kernel's answers would not be seen: audit outside of that sandbox"
    )]
    Filtered,
    /// Not where all can be seen.
    #[error(
        "this is not the machine's first {kind} namespace, so processes would be missed or \
         mistaken: audit outside of containers"
    )]
    NotInitial {
        /// `pid` or `user`.
        kind: &'static str,
    },
    /// /proc is of another pid namespace.
    #[error("/proc is not of this pid namespace: `mount -t proc proc /proc`")]
    ForeignProc,
    /// The kernel lacks something that an audit cannot do without.
    #[error("this kernel has no {call}: Linux 5.6 or later is needed (`uname -r`)")]
    KernelTooOld {
        /// Which system call.
        call: &'static str,
    },
    /// A process could not be stopped to read its filters.
    #[error("cannot stop thread {tid} to read its filters: {why}")]
    NotStopped {
        /// The thread.
        tid: i32,
        /// Why, and what to do.
        why: String,
    },
    /// The kernel's answer makes no sense, or it has no resources.
    #[error("cannot look at {what}{}: see the kernel's log", of_whom(*pid))]
    Proc {
        /// The process; 0 is this one.
        pid: i32,
        /// What was to be looked at.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl AuditError {
    /// This process's own attempt failed.
    pub(super) fn own(what: &str, source: io::Error) -> Self {
        Self::Proc {
            pid: 0,
            what: what.to_owned(),
            source,
        }
    }

    /// Of a process that is known to be there.
    pub(super) fn of(pid: i32, unread: Unread) -> Self {
        match unread {
            Unread::Gone => Self::Ended { pid },
            Unread::Denied(what) => Self::Denied { pid, what },
            Unread::Failed(what, source) => Self::Proc { pid, what, source },
        }
    }
}

fn of_whom(pid: i32) -> String {
    if pid == 0 {
        String::new()
    } else {
        format!(" of process {pid}")
    }
}
