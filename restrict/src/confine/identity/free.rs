// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether uids and a gid may be given to a device model: they are nobody else's.

use super::IdentityError;
use crate::confine::userdb::UserDb;

/// From here on uids are given to nobody unasked; below are systemd's dynamic users, and people.
pub(super) const NOBODYS: u32 = 65536;
/// Below are the system's users: who looked for a free one among them, as sysusers.d does
/// where 65536 is taken, has people behind it.
const PEOPLES: u32 = 1000;

/// That `uid` and `gid` may be given to a device model, and that `uid` is nobody's
/// but `name`'s. `from` says where it comes from.
pub(in crate::confine) fn allowed(
    uid: u32,
    gid: u32,
    name: &str,
    from: &str,
    db: &UserDb,
) -> Result<(), IdentityError> {
    if reserved(uid) {
        return Err(IdentityError::forbidden_uid(uid, from.into()));
    }
    // 65534 is `nogroup`, the group that Debian's adduser gives to system users.
    if matches!(gid, 0 | 65535 | u32::MAX) {
        return Err(IdentityError::ForbiddenGid {
            gid,
            from: from.into(),
        });
    }
    let others = db.others_with_uid(uid, name)?;
    if others.is_empty() {
        return Ok(());
    }
    Err(IdentityError::Taken {
        uid,
        from: from.into(),
        others,
    })
}

/// Uids that are no user's of their own: root, `nobody` (also the kernel's for
/// uids that have no number here), and the two forms of -1, "unchanged".
fn reserved(uid: u32) -> bool {
    matches!(uid, 0 | 65534 | 65535 | u32::MAX)
}

/// A range where uids are given to others unasked has to have been chosen, and to be free.
pub(super) fn not_among_users(base: u32, last: u32, db: &UserDb) -> Result<(), IdentityError> {
    if base >= NOBODYS {
        return Ok(());
    }
    let accounts = db.by_uids(base + 1, last);
    let users: Vec<_> = accounts
        .filter(|account| !reserved(account.uid))
        .map(|account| account.name.clone())
        .collect();
    if base >= PEOPLES && users.is_empty() {
        return Ok(());
    }
    Err(IdentityError::AmongUsers { base, last, users })
}

pub(in crate::confine) fn not_subordinate(
    first: u32,
    last: u32,
    from: &str,
    db: &UserDb,
) -> Result<(), IdentityError> {
    match db.subuid_overlap(first, last) {
        None => Ok(()),
        Some(line) => Err(IdentityError::Subordinate {
            first,
            last,
            from: from.into(),
            line: line.number,
            text: format!("{}:{}:{}", line.owner, line.first, line.count),
        }),
    }
}
