// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether sealing can reach all threads, and whether it did.

use std::io;

use nix::{
    sys::prctl,
    unistd::{getgroups, getresgid, getresuid},
};

use super::threads::{State, Threads};
use crate::confine::{
    landlock,
    mechanism::{
        Mechanism::{self, Capabilities, Identity, NoNewPrivs, Seccomp, XenRequests},
        MechanismError,
    },
};

const EARLIER: &str = "seal before threads are started, or leave it out by `without`";

/// `None`: the threads cannot be seen, and need not be.
pub(super) fn seen(threads: io::Result<Threads>) -> Result<Option<Threads>, MechanismError> {
    match threads {
        Ok(threads) => Ok(Some(threads)),
        Err(_) if was_started_confined() => Ok(None),
        Err(error) => Err(unreadable(&error)),
    }
}

/// Whether the program began without a privilege to give up: threads have what their
/// process had at its exec, or less. (One that took all of this from its calling thread
/// alone, and has no /proc, is taken for such a program.)
fn was_started_confined() -> bool {
    prctl::get_no_new_privs() == Ok(true) && bounding_set_is_empty()
}

fn bounding_set_is_empty() -> bool {
    let zero: libc::c_ulong = 0;
    // SAFETY: takes numbers only. -1 is for a number that the kernel does not know.
    let held =
        |n: libc::c_ulong| unsafe { libc::prctl(libc::PR_CAPBSET_READ, n, zero, zero, zero) };
    held(0) == 0 && (1..64).all(|n| held(n) <= 0)
}

fn unreadable(error: &io::Error) -> MechanismError {
    let reason = format!("the threads cannot be listed: /proc/self/task: {error}");
    MechanismError::new(
        Capabilities,
        reason,
        "mount /proc, or start it by `dm-restrict run`",
    )
}

fn states(threads: &Threads) -> Result<Vec<(u32, State)>, MechanismError> {
    threads.look().map_err(|error| unreadable(&error))
}

/// Nobody is root.
pub(super) fn not_root(threads: Option<&Threads>) -> Result<(), MechanismError> {
    let who = match threads {
        Some(threads) => those(&states(threads)?, |state| state.is_root),
        None if this_one_is_root().unwrap_or(true) => Some("the process".into()),
        None => None,
    };
    let Some(who) = who else {
        return Ok(());
    };
    Err(MechanismError::new(
        Identity,
        format!("{who}: has root's uid, gid or group"),
        "start it as another user, as only who starts it can",
    ))
}

fn this_one_is_root() -> nix::Result<bool> {
    let (uids, gids) = (getresuid()?, getresgid()?);
    let uids = [uids.real, uids.effective, uids.saved].map(nix::unistd::Uid::as_raw);
    let gids = [gids.real, gids.effective, gids.saved].map(nix::unistd::Gid::as_raw);
    let groups = getgroups()?;
    Ok(uids.contains(&0) || gids.contains(&0) || groups.iter().any(|group| group.as_raw() == 0))
}

/// No thread but this one has a capability: its own are all that a thread can give up.
pub(super) fn others_have_none(threads: Option<&Threads>) -> Result<(), MechanismError> {
    let Some(threads) = threads else {
        return Ok(());
    };
    let own = nix::unistd::gettid().as_raw().cast_unsigned();
    let mut states = states(threads)?;
    states.retain(|(id, _)| *id != own);
    match those(&states, |state| state.capabilities != 0) {
        None => Ok(()),
        Some(who) => {
            let reason = format!("{who}: has capabilities, which no other thread can take away");
            Err(MechanismError::new(Capabilities, reason, EARLIER))
        }
    }
}

/// Whether Landlock will be applied.
pub(super) enum Landlock {
    LeftOut,
    /// Yes, and all threads get it.
    Reaches,
    Absent(MechanismError),
}

impl Landlock {
    pub(super) fn reaching(threads: Option<&Threads>) -> Result<Self, MechanismError> {
        let abi = match landlock::abi() {
            Ok(abi) => abi,
            Err(absent) => return Ok(Self::Absent(absent)),
        };
        let count = threads.map(Threads::count);
        let error = |reason: String| MechanismError::new(Mechanism::Landlock, reason, EARLIER);
        match count {
            _ if landlock::reaches_all_threads(abi) => Ok(Self::Reaches),
            Some(1) => Ok(Self::Reaches),
            Some(count) => Err(error(format!(
                "version {abi} of this kernel reaches one thread, and there are {count}"
            ))),
            None => Ok(Self::Absent(error(format!(
                "version {abi} of this kernel reaches one thread, and without /proc it is not \
                 known whether there are more: what the launcher applied is in force"
            )))),
        }
    }

    pub(super) fn absent(self) -> Option<MechanismError> {
        match self {
            Self::Absent(why) => Some(why),
            Self::LeftOut | Self::Reaches => None,
        }
    }
}

/// Each thread shows what was applied. `threads` are of before, for when Landlock lets
/// nobody look for newer ones: these have it from those that started them.
pub(super) fn proved(
    threads: Option<Threads>,
    applied: &[Mechanism],
) -> Result<(), MechanismError> {
    let Some(threads) = threads else {
        // The kernel loads a filter, and no-new-privs, for all threads or for none.
        return Ok(());
    };
    let states = states(&Threads::of_this_process().unwrap_or(threads))?;
    type Lacks = fn(&State) -> bool;
    let checks: [(Mechanism, Lacks); 4] = [
        (Capabilities, |state| state.capabilities != 0),
        (NoNewPrivs, |state| !state.no_new_privs),
        (XenRequests, |state| !state.filtered),
        (Seccomp, |state| !state.filtered),
    ];
    for (mechanism, lacks) in checks {
        if !applied.contains(&mechanism) {
            continue;
        }
        if let Some(who) = those(&states, lacks) {
            let reason = format!("{who}: does not have it");
            return Err(MechanismError::new(mechanism, reason, EARLIER));
        }
    }
    Ok(())
}

/// By their numbers, if there are any.
fn those(states: &[(u32, State)], which: impl Fn(&State) -> bool) -> Option<String> {
    let which = states.iter().filter(|(_, state)| which(state));
    let ids: Vec<_> = which.map(|(id, _)| id.to_string()).collect();
    (!ids.is_empty()).then(|| format!("thread {}", ids.join(", ")))
}
