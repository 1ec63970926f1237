// SPDX-License-Identifier: MIT OR Apache-2.0
//! The users that device models run under.

use super::{
    host::{Host, with_causes},
    report::{Finding, State},
};
use crate::{
    GuestId,
    confine::{
        ADD_RANGE_BASE, ADD_REAPER, Account, Identity, RANGE_BASE, REAPER, SHARED, UIDS_IN_RANGE,
        UserDb, UserDbError,
    },
};

/// Where a range is to be, if there is none.
const FREE_RANGE: u32 = 65536;
const ADD_SHARED: &str = "adduser --no-create-home --system xen-qemuuser-shared";

fn with_db(host: &Host, look: impl FnOnce(&UserDb) -> Result<Finding, UserDbError>) -> Finding {
    let db = match &host.users {
        Ok(db) => db,
        Err(message) => return Finding::told(State::Unknown, message),
    };
    look(db).unwrap_or_else(|error| Finding::told(State::Unknown, &with_causes(&error)))
}

/// For the first domid and the last: a single one of those between may be taken.
fn chosen(db: &UserDb) -> Result<Identity, Finding> {
    let choose = |guest| {
        Identity::choose(guest, None, db)
            .map_err(|error| Finding::told(State::Missing, &with_causes(&error)))
    };
    choose(GuestId::MIN)?;
    choose(GuestId::MAX)
}

pub(super) fn identity(host: &Host) -> Finding {
    with_db(host, |db| {
        Ok(match chosen(db) {
            Err(finding) => finding,
            Ok(identity) => match identity.weakness() {
                None => Finding::offered(format!("a uid for each domain: {}", identity.rule())),
                Some((weakness, remedy)) => Finding::partly(weakness, remedy),
            },
        })
    })
}

pub(super) fn range_base(host: &Host) -> Finding {
    with_db(host, |db| {
        let Some(Account { uid, .. }) = db.by_name(RANGE_BASE)? else {
            return Ok(Finding::missing(
                format!("no user {RANGE_BASE}"),
                ADD_RANGE_BASE,
            ));
        };
        Ok(match chosen(db) {
            Err(finding) => finding,
            Ok(identity) => {
                let uids = format!("uids {} to {}", uid + 1, uid + UIDS_IN_RANGE - 1);
                match identity.weakness() {
                    None => Finding::offered(uids),
                    Some((_, remedy)) => Finding::partly(uids, remedy),
                }
            }
        })
    })
}

pub(super) fn shared(host: &Host) -> Finding {
    with_db(host, |db| {
        let base = db.by_name(RANGE_BASE)?.is_some();
        Ok(match db.by_name(SHARED)? {
            _ if base => Finding::offered(format!("not needed: there is {RANGE_BASE}")),
            Some(account) => Finding::partly(
                format!("uid {}, of all device models", account.uid),
                ADD_RANGE_BASE,
            ),
            None => Finding::missing(
                format!("no user {SHARED}"),
                format!("{ADD_RANGE_BASE} (a uid for each domain), or {ADD_SHARED} (one for all)"),
            ),
        })
    })
}

pub(super) fn reaper(host: &Host) -> Finding {
    with_db(host, |db| {
        Ok(match (db.by_name(REAPER)?, db.by_name(RANGE_BASE)?) {
            (Some(account), _) => Finding::offered(format!("uid {}", account.uid)),
            (None, Some(base)) => {
                Finding::offered(format!("uid {}, that of the range base", base.uid))
            }
            (None, None) => Finding::missing(
                format!("no user {REAPER}: what is left of a domain's processes is not ended"),
                ADD_REAPER,
            ),
        })
    })
}

/// What a reaper kills must be nobody's containers.
pub(super) fn subuid(host: &Host) -> Finding {
    with_db(host, |db| {
        let base = db
            .by_name(RANGE_BASE)?
            .map_or(FREE_RANGE, |account| account.uid);
        let last = base.saturating_add(UIDS_IN_RANGE - 1);
        Ok(match db.subuid_overlap(base, last) {
            None => Finding::offered(format!("/etc/subuid gives nobody any of {base} to {last}")),
            Some(line) => Finding::missing(
                format!(
                    "line {} of /etc/subuid gives some of {base} to {last} to {:?}",
                    line.number, line.owner
                ),
                format!("move the range, `usermod --uid {FREE_RANGE} {RANGE_BASE}`, or that line"),
            ),
        })
    })
}
