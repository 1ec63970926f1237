// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why nothing was reaped, or not all.

use std::{io, path::PathBuf};

use super::{LOCK, Process};
use crate::confine::{
    ADD_RANGE_BASE,
    identity::{ADD_REAPER, IdentityError},
    userdb::UserDbError,
};

/// Why processes were not reaped. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReapError {
    /// The uid is not one domain's alone, or is the system's.
    #[error(
        "not reaped, because the uid may be somebody else's too ({identity}): set up a uid per \
         domain, `{}`",
        ADD_RANGE_BASE
    )]
    NotExclusive {
        /// Whose it is.
        identity: String,
    },
    /// There is no user of its own to reap under.
    #[error(
        "no user to reap under, with a uid of 100 or above that is nothing else's: `{ADD_REAPER}`"
    )]
    NoReaper,
    /// The reaper's user must not be used.
    #[error("the user to reap under")]
    ReaperUser(#[from] IdentityError),
    /// The user database gave no answer.
    #[error(transparent)]
    Users(#[from] UserDbError),
    /// This process cannot change its uids.
    #[error("reaping takes root (CAP_SETUID): run it as root")]
    NotRoot,
    /// A namespace is not the initial one.
    #[error(
        "this is not the machine's first {kind} namespace, so processes would be missed: reap \
         outside of containers"
    )]
    NotInitial {
        /// `pid` or `user`.
        kind: &'static str,
    },
    /// /proc is of another pid namespace.
    #[error("/proc is not of this pid namespace: `mount -t proc proc /proc`")]
    ForeignProc,
    /// /proc hides processes from this one.
    #[error(
        "/proc is mounted with hidepid, for a group that is not this process's or for all, and \
         CAP_SYS_PTRACE is missing, so processes would be missed: reap with all of root's \
         capabilities (`dm-restrict reap`), or `mount -o remount,hidepid=invisible,gid=0 /proc`"
    )]
    HidePid,
    /// /proc cannot be read.
    #[error("cannot look for processes in /proc, so nothing is proved: mount it, and try again")]
    Proc {
        /// Why.
        source: io::Error,
    },
    /// The lock cannot be made.
    #[error("cannot lock {}/{LOCK}: make the directory, root's, mode 755", directory.display())]
    Lock {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than root can write to the lock's directory.
    #[error(
        "others than root can write to {}, so they could hold its lock: `chown root`, `chmod 755`",
        directory.display()
    )]
    LockNotRoots {
        /// The directory.
        directory: PathBuf,
    },
    /// Another reaper held the lock all the time.
    #[error("another reaper holds {}/{LOCK}: wait until it ends; `lslocks` shows it", directory.display())]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// The child that kills failed before it sent anything.
    #[error("nothing was killed, {what} failed: see that no security module or filter forbids it")]
    Child {
        /// Which step.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The child's credentials were not exactly what was asked for; nothing was sent.
    #[error(
        "nothing was killed: the child that kills has uids {uids:?} (real, effective, saved) and \
         effective capabilities {capabilities:#x} instead of {wanted:?} and none; start this \
         program without SECBIT_NO_SETUID_FIXUP and SECBIT_KEEP_CAPS (systemd's SecureBits=)"
    )]
    NotAsAsked {
        /// What it has.
        uids: [u32; 3],
        /// What it should have.
        wanted: [u32; 3],
        /// Its effective capabilities.
        capabilities: u64,
    },
    /// Processes were left when time was up.
    #[error(
        "after {seconds} s, processes of uid {uid} are left: {}{}",
        list(left),
        hint(left)
    )]
    Left {
        /// The uid.
        uid: u32,
        /// How long was waited.
        seconds: u64,
        /// Which; empty if only the last proof was missing.
        left: Vec<Process>,
    },
}

fn list(left: &[Process]) -> String {
    const SHOWN: usize = 8;
    let mut texts: Vec<_> = left.iter().take(SHOWN).map(Process::to_string).collect();
    match left.len() {
        0 => texts.push("maybe, as no process could be made to kill them".into()),
        n if n > SHOWN => texts.push(format!("and {} more", n - SHOWN)),
        _ => {}
    }
    texts.join(", ")
}

fn hint(left: &[Process]) -> &'static str {
    if left.iter().any(|process| process.state == 'D') {
        "; state D ends when the device or file system that is waited for answers: see \
         /proc/PID/stack; do not start the domain's next device model before"
    } else {
        "; do not start the domain's next device model before they are gone"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_and_a_hostile_name_is_harmless() {
        let process = |pid, state| Process {
            pid,
            name: "a\u{1b}[2J\n".into(),
            state,
        };
        let left = ReapError::Left {
            uid: 7,
            seconds: 10,
            left: (1..=10)
                .map(|pid| process(pid, if pid == 9 { 'D' } else { 'R' }))
                .collect(),
        };
        let text = left.to_string();
        assert!(
            text.contains(r#"1 ("a\u{1b}[2J\n", state R), 2 ("#)
                && text.contains("and 2 more; state D ends"),
            "{text}"
        );
    }
}
