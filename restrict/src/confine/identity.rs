// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which uid a domain's device model gets.

mod error;
mod free;

use std::fmt;

use super::userdb::{Account, UserDb};
use crate::ids::GuestId;

pub use error::IdentityError;
use free::{NOBODYS, not_among_users};
pub(super) use free::{allowed, not_subordinate};

/// The user whose uid, plus the domid, is the device model's.
pub const RANGE_BASE: &str = "xen-qemuuser-range-base";
/// The user of all device models, where there is no better one.
pub const SHARED: &str = "xen-qemuuser-shared";
/// The user under whose real uid processes are reaped.
pub const REAPER: &str = "xen-qemuuser-reaper";
/// Domids below the reserved ones, 0 included: so many uids belong to a range.
pub const UIDS_IN_RANGE: u32 = GuestId::MAX.get() as u32 + 1;
/// The command (Debian's) that sets up the best rule.
pub const ADD_RANGE_BASE: &str =
    "adduser --no-create-home --uid 65536 --system xen-qemuuser-range-base";
/// The command that moves a range to where nobody gets a uid.
pub const MOVE_RANGE_BASE: &str = "usermod --uid 65536 xen-qemuuser-range-base";
/// The command (Debian's) that makes the user to reap under.
pub const ADD_REAPER: &str = "adduser --no-create-home --system xen-qemuuser-reaper";

/// Whose uid and gid a device model runs under, and by which rule.
///
/// Made only by [`choose`](Self::choose) and [`of_user`](Self::of_user), so its
/// uid is never 0, 65534, 65535 or 4294967295, and nobody else's.
///
/// ```
/// use xen_restrict::{GuestId, confine::{Identity, UserDb}};
/// let db = UserDb::from_text(b"xen-qemuuser-range-base:x:65536:65534::/:/bin/false\n", b"")?;
/// let identity = Identity::choose(GuestId::new(7)?, None, &db)?;
/// assert_eq!(identity.uid(), 65543);
/// assert!(identity.is_exclusive());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: u32,
    gid: u32,
    rule: Rule,
    guest: Option<GuestId>,
}

/// What chose the uid. `Display` says it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The user was named by the caller.
    Explicit {
        /// Its name.
        user: String,
    },
    /// The uid of [`RANGE_BASE`] plus the domid.
    RangeBase {
        /// The uid of that user.
        base: u32,
    },
    /// The older scheme: a user `xen-qemuuser-domid<N>` of its own.
    PerDomain {
        /// Its name.
        user: String,
    },
    /// [`SHARED`]: all guests' device models are one user.
    Shared,
}

impl Identity {
    /// The identity of `guest`'s device model: `user` if given, else the range
    /// base plus the domid, else the older user of that domain, else the shared
    /// user, else none.
    ///
    /// # Errors
    /// There is no such user, or its uid or gid is not to be given to a device
    /// model: the error says why and what to do.
    pub fn choose(guest: GuestId, user: Option<&str>, db: &UserDb) -> Result<Self, IdentityError> {
        let identity = if let Some(user) = user {
            Self::of_user(user, db)?
        } else if let Some(base) = db.by_name(RANGE_BASE)? {
            Self::in_range(guest, &base, db)?
        } else if let Some(account) = db.by_name(&format!("xen-qemuuser-domid{}", guest.get()))? {
            let user = account.name.clone();
            Self::of_account(&account, Rule::PerDomain { user }, db)?
        } else if let Some(account) = db.by_name(SHARED)? {
            Self::of_account(&account, Rule::Shared, db)?
        } else {
            return Err(IdentityError::NoUser { guest });
        };
        Ok(Self {
            guest: Some(guest),
            ..identity
        })
    }

    /// The identity of a user named by the caller, for any program.
    ///
    /// # Errors
    /// There is no such user, or its uid or gid is not to be given away.
    pub fn of_user(user: &str, db: &UserDb) -> Result<Self, IdentityError> {
        if user == RANGE_BASE || user == REAPER {
            // Whatever runs under these uids dies whenever a domain is reaped.
            return Err(IdentityError::ForReaping { user: user.into() });
        }
        let account = db
            .by_name(user)?
            .ok_or_else(|| IdentityError::UnknownUser { user: user.into() })?;
        let user = account.name.clone();
        Self::of_account(&account, Rule::Explicit { user }, db)
    }

    fn in_range(guest: GuestId, base: &Account, db: &UserDb) -> Result<Self, IdentityError> {
        if base.uid == 0 {
            return Err(IdentityError::forbidden_uid(0, RANGE_BASE.into()));
        }
        let last = base
            .uid
            .checked_add(UIDS_IN_RANGE - 1)
            .filter(|last| *last != u32::MAX)
            .ok_or(IdentityError::RangeTooHigh { base: base.uid })?;
        not_subordinate(base.uid, last, RANGE_BASE, db)?;
        not_among_users(base.uid, last, db)?;
        let uid = base.uid + u32::from(guest.get());
        // To this uid every user is somebody else, the base user too.
        allowed(uid, base.gid, "", &format!("{RANGE_BASE} + {guest}"), db)?;
        Ok(Self {
            uid,
            gid: base.gid,
            rule: Rule::RangeBase { base: base.uid },
            guest: None,
        })
    }

    fn of_account(account: &Account, rule: Rule, db: &UserDb) -> Result<Self, IdentityError> {
        let Account { uid, gid, ref name } = *account;
        allowed(uid, gid, name, name, db)?;
        not_subordinate(uid, uid, name, db)?;
        Ok(Self {
            uid,
            gid,
            rule,
            guest: None,
        })
    }

    /// The uid.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The gid, the only group.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// What chose the uid.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The guest that it was chosen for.
    #[must_use]
    pub fn guest(&self) -> Option<GuestId> {
        self.guest
    }

    /// Whether the uid is this domain's alone, so that all that runs under it
    /// may be killed when the domain has ended. Never true for a user that the
    /// caller named: it may be a person's.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        matches!(self.rule, Rule::RangeBase { .. } | Rule::PerDomain { .. })
    }

    /// What this identity does not protect from, if there is something to say.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let (text, remedy) = self.weakness()?;
        Some(format!("{text}: `{remedy}`"))
    }

    /// The same, and the command that helps.
    pub(crate) fn weakness(&self) -> Option<(String, &'static str)> {
        match self.rule {
            Rule::Shared => Some((
                format!(
                    "all guests' device models run under the one uid of {SHARED}: they are not \
                     protected from each other, and not reaped; for a uid per guest"
                ),
                ADD_RANGE_BASE,
            )),
            Rule::RangeBase { base } if base < NOBODYS => Some((
                format!(
                    "{RANGE_BASE} has uid {base}, and uids below {NOBODYS} are given to people \
                     and services: who gets one of the {UIDS_IN_RANGE} behind it is killed \
                     with a domain's processes; to move it"
                ),
                MOVE_RANGE_BASE,
            )),
            _ => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}, gid {}: ", self.uid, self.gid)?;
        match (&self.rule, self.guest) {
            (Rule::RangeBase { base }, Some(guest)) => {
                write!(f, "{RANGE_BASE} (uid {base}) + {guest}")
            }
            (rule, _) => write!(f, "{rule}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Explicit { user } => write!(f, "user {user}, as given"),
            Self::RangeBase { base } => write!(f, "{RANGE_BASE} (uid {base}) + domid"),
            Self::PerDomain { user } => write!(f, "user {user}, as {RANGE_BASE} does not exist"),
            Self::Shared => write!(f, "user {SHARED}, as there is no other"),
        }
    }
}

#[cfg(test)]
mod tests;
