// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any user database: whoever is chosen, it is nobody else; and for what a
//! launcher and a supervisor read in /proc.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use super::{
    hidepid::{Shown, shown},
    identity::{Identity, RANGE_BASE, REAPER, Rule, SHARED},
    notify::{low_half, may_be_inside},
    userdb::UserDb,
};
use crate::{GuestId, fuzzing::is_told_in_one_line};

/// A domid, whether a user is named, and lines: the user, passwd, and subuid, each ended
/// by a 0xff.
pub fn users(data: &[u8]) {
    let Some(([low, high, named], rest)) = data.split_first_chunk() else {
        return;
    };
    let mut parts = rest.splitn(3, |byte| *byte == 0xff);
    let mut part = || parts.next().unwrap_or_default();
    let (user, passwd, subuid) = (String::from_utf8_lossy(part()), part(), part());
    let user = (named & 1 == 1).then_some(&*user);
    let domid = u16::from_le_bytes([*low, *high]) % GuestId::MAX.get() + 1;
    let guest = GuestId::new(domid).expect("in range");

    let db = match UserDb::from_text(passwd, subuid) {
        Ok(db) => db,
        Err(error) => return is_told_in_one_line(&error),
    };
    // A line that is not understood may be the one that matters.
    let worse = [passwd, b"\nx"].concat();
    assert!(UserDb::from_text(&worse, subuid).is_err());
    let worse = [subuid, b"\nx:1"].concat();
    assert!(UserDb::from_text(passwd, &worse).is_err());
    match Identity::choose(guest, user, &db) {
        Ok(identity) => is_nobody_elses(&identity, guest, user, passwd, subuid),
        Err(error) => is_told_in_one_line(&error),
    }
    if let Some(user) = user
        && let Ok(identity) = Identity::of_user(user, &db)
    {
        assert!(!identity.is_exclusive() && identity.guest().is_none());
        assert_eq!(identity.rule(), &Rule::Explicit { user: user.into() });
    }
}

fn is_nobody_elses(
    identity: &Identity,
    guest: GuestId,
    user: Option<&str>,
    passwd: &[u8],
    subuid: &[u8],
) {
    let uid = identity.uid();
    assert!(!matches!(uid, 0 | 65534 | 65535 | u32::MAX), "{identity}");
    assert!(
        !matches!(identity.gid(), 0 | 65535 | u32::MAX),
        "{identity}"
    );
    assert_eq!(identity.guest(), Some(guest));
    let its_own: &[&str] = match identity.rule() {
        Rule::Explicit { user } | Rule::PerDomain { user } => &[user],
        Rule::Shared => &[SHARED],
        Rule::RangeBase { base } => {
            assert_eq!(base.checked_add(guest.get().into()), Some(uid));
            assert!(*base >= 1000);
            &[]
        }
    };
    assert_eq!(
        user.is_some(),
        matches!(identity.rule(), Rule::Explicit { .. })
    );
    assert!(user.is_none_or(|user| its_own == [user] && user != REAPER && user != RANGE_BASE));
    for (name, theirs) in users_by_hand(passwd) {
        assert!(
            theirs != uid || its_own == [&*name],
            "{identity}, and {name:?} has it"
        );
    }
    for (first, count) in ranges_by_hand(subuid) {
        let inside = u128::from(uid)
            .checked_sub(first)
            .is_some_and(|at| at < count);
        assert!(!inside, "{identity}, and a container has it");
    }
}

/// Whoever the C library would see there, more lenient than it.
fn users_by_hand(passwd: &[u8]) -> Vec<(String, u32)> {
    let text = String::from_utf8_lossy(passwd);
    let lines = text.lines().map(str::trim_start);
    let fields = lines.filter(|line| !line.starts_with(['#', '+', '-']));
    fields
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((
                fields.next()?.to_owned(),
                fields.nth(1)?.trim().parse().ok()?,
            ))
        })
        .collect()
}

fn ranges_by_hand(subuid: &[u8]) -> Vec<(u128, u128)> {
    let text = String::from_utf8_lossy(subuid);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut numbers = line
                .split(':')
                .skip(1)
                .map(|field| field.trim().parse().ok());
            Some((numbers.next()??, numbers.next()??))
        })
        .collect()
}

/// What cannot be read is not what lets a supervisor, or a reaper, go on.
pub(crate) fn proc_texts(data: &[u8]) {
    let is_odd = |request: u32| request & 1 == 1;
    let line = String::from_utf8_lossy(data);
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    assert!(first.parse::<i64>().is_ok() || may_be_inside(&line, is_odd));
    if let Some((request, rest)) = data.split_first_chunk() {
        let request = u64::from_le_bytes(*request);
        let rest = rest.escape_ascii();
        let line = format!("{} 0x3 {request:#x} {rest}\n", libc::SYS_ioctl);
        assert_eq!(may_be_inside(&line, is_odd), is_odd(low_half(request)));
        let line = format!("{} 0x3 {request} {rest}\n", libc::SYS_ioctl);
        assert!(may_be_inside(&line, is_odd), "no hexadecimal number");
    }
    // The last mount at /proc is the one that is seen.
    for (options, expected) in [("rw", Shown::All), ("rw,hidepid=2", Shown::Group(0))] {
        let last = format!("\n9 1 0:5 / /proc rw - proc proc {options}\n");
        let text = [data, last.as_bytes()].concat();
        assert_eq!(shown(&text), expected);
    }
}
