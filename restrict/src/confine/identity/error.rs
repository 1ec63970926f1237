// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why there is no identity.

use super::{ADD_RANGE_BASE, MOVE_RANGE_BASE, RANGE_BASE};
use crate::{confine::userdb::UserDbError, ids::GuestId};

/// Why there is no identity. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No user is set up for device models.
    #[error(
        "no user is set up for the device model of {guest}: make one whose uid has 32751 free ones \
         behind it, `{ADD_RANGE_BASE}` (Debian), or name a user of its own with `--user`"
    )]
    NoUser {
        /// The guest.
        guest: GuestId,
    },
    /// The named user does not exist.
    #[error(
        "there is no user {user:?}: give the name of one that exists (`getent passwd`), or make it, \
         `adduser --no-create-home --system NAME`"
    )]
    UnknownUser {
        /// The name.
        user: String,
    },
    /// The named user serves to reap, which kills all that runs under it.
    #[error(
        "user {user} is the one that reaps, and what runs under it is killed with any domain's \
         processes: name another user, or none"
    )]
    ForReaping {
        /// The name.
        user: String,
    },
    /// The uid is root's, `nobody`'s, or a form of -1.
    #[error("uid {uid}, of {from}, {why}: {remedy}", why = why_not(*uid))]
    ForbiddenUid {
        /// The uid.
        uid: u32,
        /// Which user, or sum, it is.
        from: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The gid is root's, or a form of -1.
    #[error(
        "gid {gid}, of {from}, {why}: give the user another group, `usermod --gid nogroup NAME`",
        why = why_not(*gid)
    )]
    ForbiddenGid {
        /// The gid.
        gid: u32,
        /// Which user it is of.
        from: String,
    },
    /// The user database gives the uid to somebody else.
    #[error(
        "uid {uid}, of {from}, is also that of {}: a device model's is its own; change one of them \
         (`usermod --uid`)",
        quoted(others)
    )]
    Taken {
        /// The uid.
        uid: u32,
        /// Which user, or sum, it is.
        from: String,
        /// Who has it.
        others: Vec<String>,
    },
    /// The range of uids does not end below 4294967295.
    #[error(
        "{RANGE_BASE} has uid {base}, and 32751 more do not fit behind it: move it, \
         `usermod --uid 65536 {RANGE_BASE}`"
    )]
    RangeTooHigh {
        /// The base user's uid.
        base: u32,
    },
    /// The range is among the uids of the machine's users.
    #[error(
        "{RANGE_BASE} has uid {base}, and uids up to {last} are other users' {now}, as whom device \
         models would run and be killed: move it, `{MOVE_RANGE_BASE}` where 65536 to 98287 are free, \
         or name a user with a uid of its own by `--user`",
        now = now_or_later(users)
    )]
    AmongUsers {
        /// The base user's uid.
        base: u32,
        /// The last uid of the range.
        last: u32,
        /// Who has uids of it now, by /etc/passwd.
        users: Vec<String>,
    },
    /// /etc/subuid gives some of the uids to a user's containers.
    #[error(
        "uids {first} to {last}, of {from}, overlap line {line} of /etc/subuid, {text:?}: a reaper \
         would kill that user's containers; move one of them, as `usermod --uid 65536 {from}` does \
         where 65536 to 98287 are free"
    )]
    Subordinate {
        /// The first uid that was wanted.
        first: u32,
        /// The last.
        last: u32,
        /// Which user it is of.
        from: String,
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// The user database gave no answer.
    #[error(transparent)]
    Users(#[from] UserDbError),
}

impl IdentityError {
    pub(super) fn forbidden_uid(uid: u32, from: String) -> Self {
        let remedy = if from.starts_with(RANGE_BASE) {
            "move the range, `usermod --uid 65536 xen-qemuuser-range-base`"
        } else {
            "name a user with a uid of its own"
        };
        Self::ForbiddenUid { uid, from, remedy }
    }
}

fn why_not(id: u32) -> &'static str {
    match id {
        0 => "is root's",
        65534 => "is nobody's, shared by all that have none",
        _ => "means \"unchanged\" to the kernel",
    }
}

fn now_or_later(users: &[String]) -> String {
    const SHOWN: usize = 3;
    match users.len() {
        0 => "sooner or later".into(),
        count if count > SHOWN => {
            let more = count - SHOWN;
            format!("now ({} and {more} more)", quoted(&users[..SHOWN]))
        }
        _ => format!("now ({})", quoted(users)),
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}
