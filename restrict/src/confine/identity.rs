// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which uid a domain's device model gets.

use std::fmt;

use super::userdb::{Account, UserDb, UserDbError};
use crate::ids::GuestId;

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

/// From here on uids are given to nobody unasked; below are systemd's dynamic users, and people.
const NOBODYS: u32 = 65536;
/// Below are the system's users: who looked for a free one among them, as sysusers.d does
/// where 65536 is taken, has people behind it.
const PEOPLES: u32 = 1000;

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

/// That `uid` and `gid` may be given to a device model, and that `uid` is nobody's
/// but `name`'s. `from` says where it comes from.
pub(super) fn allowed(
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
fn not_among_users(base: u32, last: u32, db: &UserDb) -> Result<(), IdentityError> {
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

pub(super) fn not_subordinate(
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
    fn forbidden_uid(uid: u32, from: String) -> Self {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "xen-qemuuser-range-base:x:65536:65534::/nonexistent:/usr/sbin/nologin\n";
    const SHARED_LINE: &str = "xen-qemuuser-shared:x:110:65534::/nonexistent:/usr/sbin/nologin\n";
    const DOMID7: &str = "xen-qemuuser-domid7:x:107:117::/nonexistent:/usr/sbin/nologin\n";
    const PEOPLE: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n\
                          nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

    fn guest(domid: u16) -> GuestId {
        GuestId::new(domid).unwrap()
    }

    fn db(passwd: &[&str], subuid: &str) -> UserDb {
        let passwd = [&[PEOPLE], passwd].concat().concat();
        UserDb::from_text(passwd.as_bytes(), subuid.as_bytes()).unwrap()
    }

    fn chosen(domid: u16, user: Option<&str>, passwd: &[&str]) -> Identity {
        Identity::choose(guest(domid), user, &db(passwd, "")).unwrap()
    }

    fn refusal(domid: u16, user: Option<&str>, passwd: &[&str], subuid: &str) -> IdentityError {
        Identity::choose(guest(domid), user, &db(passwd, subuid)).unwrap_err()
    }

    fn base_at(uid: u32) -> String {
        BASE.replace("65536", &uid.to_string())
    }

    #[test]
    fn the_user_given_comes_first() {
        let identity = chosen(7, Some("ann"), &[BASE, SHARED_LINE, DOMID7]);
        assert_eq!((identity.uid(), identity.gid()), (1000, 1000));
        assert_eq!(identity.rule(), &Rule::Explicit { user: "ann".into() });
        assert_eq!(
            identity.to_string(),
            "uid 1000, gid 1000: user ann, as given"
        );
        assert!(!identity.is_exclusive() && identity.warning().is_none());
        // Even where another rule would give it: it was named by a person.
        assert!(!chosen(7, Some("xen-qemuuser-domid7"), &[DOMID7]).is_exclusive());
    }

    #[test]
    fn then_the_range_base() {
        let identity = chosen(7, None, &[SHARED_LINE, DOMID7, BASE]);
        assert_eq!((identity.uid(), identity.gid()), (65543, 65534));
        assert_eq!(identity.rule(), &Rule::RangeBase { base: 65536 });
        assert_eq!(
            identity.to_string(),
            "uid 65543, gid 65534: xen-qemuuser-range-base (uid 65536) + domain 7"
        );
        assert!(identity.is_exclusive() && identity.warning().is_none());
        assert_eq!(identity.guest(), Some(guest(7)));
        assert_eq!(chosen(32751, None, &[BASE]).uid(), 65536 + 32751);
    }

    #[test]
    fn then_the_older_user_of_the_domain() {
        let identity = chosen(7, None, &[SHARED_LINE, DOMID7]);
        assert_eq!((identity.uid(), identity.gid()), (107, 117));
        assert!(identity.is_exclusive());
        assert!(
            identity.to_string().contains("xen-qemuuser-domid7"),
            "{identity}"
        );
        // Another domain's is not ours.
        assert_eq!(
            chosen(8, None, &[SHARED_LINE, DOMID7]).rule(),
            &Rule::Shared
        );
    }

    #[test]
    fn then_the_shared_user_with_a_warning() {
        let identity = chosen(8, None, &[SHARED_LINE]);
        assert_eq!((identity.uid(), identity.gid()), (110, 65534));
        assert!(!identity.is_exclusive());
        let warning = identity.warning().unwrap();
        assert!(
            warning.contains("not protected from each other"),
            "{warning}"
        );
        assert!(warning.contains(ADD_RANGE_BASE), "{warning}");
    }

    #[test]
    fn else_there_is_none_and_the_error_has_the_command() {
        let error = refusal(8, None, &[DOMID7], "").to_string();
        assert!(
            error.contains("domain 8") && error.contains(ADD_RANGE_BASE),
            "{error}"
        );
    }

    #[test]
    fn a_user_that_does_not_exist_is_not_replaced_by_another() {
        for user in ["bob", "", "1000", "ann ", "ann\0", "ann\n", "ann:x"] {
            let error = refusal(7, Some(user), &[BASE, SHARED_LINE], "");
            assert!(
                matches!(error, IdentityError::UnknownUser { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_user_that_reaps_is_not_given_out() {
        let reaper = "xen-qemuuser-reaper:x:109:65534::/:/bin/false\n";
        for user in [RANGE_BASE, REAPER] {
            let error = refusal(7, Some(user), &[BASE, reaper], "");
            assert!(matches!(error, IdentityError::ForReaping { .. }), "{error}");
        }
    }

    #[test]
    fn uids_that_are_nobodys_own_are_refused() {
        for uid in [0, 65534, 65535, u32::MAX] {
            let line = SHARED_LINE.replace("110", &uid.to_string());
            for user in [None, Some(SHARED)] {
                let error = refusal(7, user, &[&line], "");
                assert!(
                    matches!(error, IdentityError::ForbiddenUid { uid: u, .. } if u == uid),
                    "{error}"
                );
            }
        }
        assert!(matches!(
            refusal(7, Some("root"), &[], ""),
            IdentityError::ForbiddenUid { uid: 0, .. }
        ));
        // In a range: just these two domids.
        let base = base_at(60000);
        for domid in [5534, 5535] {
            let error = refusal(domid, None, &[&base], "");
            assert!(error.to_string().contains("usermod --uid 65536"), "{error}");
            assert!(
                matches!(error, IdentityError::ForbiddenUid { .. }),
                "{error}"
            );
        }
        assert_eq!(chosen(5533, None, &[&base]).uid(), 65533);
        assert_eq!(chosen(5536, None, &[&base]).uid(), 65536);
        assert!(matches!(
            refusal(7, None, &[&base_at(0)], ""),
            IdentityError::ForbiddenUid { uid: 0, .. }
        ));
    }

    #[test]
    fn gids_that_are_roots_or_no_gid_are_refused() {
        for gid in [0, 65535, u32::MAX] {
            let line = BASE.replace("65534", &gid.to_string());
            let error = refusal(7, None, &[&line], "");
            assert!(
                matches!(error, IdentityError::ForbiddenGid { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_uid_that_is_somebodys_is_refused() {
        for (domid, user, line) in [
            (7, None, "eve:x:65543:1::/:/bin/sh\n"),
            (7, Some("ann"), "eve:x:1000:1::/:/bin/sh\n"),
        ] {
            let error = refusal(domid, user, &[BASE, line], "");
            assert!(matches!(&error, IdentityError::Taken { others, .. } if others == &["eve"]));
            assert!(error.to_string().contains("\"eve\""), "{error}");
        }
        // A neighbour's is not: only the uid that was chosen counts.
        assert_eq!(
            chosen(8, None, &[BASE, "eve:x:65543:1::/:/bin/sh\n"]).uid(),
            65544
        );
        // Two domains' older users must differ.
        let twin = DOMID7.replace("domid7", "domid8");
        let error = refusal(7, None, &[DOMID7, &twin], "");
        assert!(matches!(error, IdentityError::Taken { .. }), "{error}");
    }

    #[test]
    fn a_range_among_users_is_refused_and_one_that_may_be_later_is_told() {
        let alone = |passwd: &str| UserDb::from_text(passwd.as_bytes(), b"").unwrap();
        for (base, others, shown) in [
            // As sysusers.d chooses where 65536 is taken: with people behind it, or none yet.
            (994, PEOPLE, "now (\"ann\")"),
            (994, "", "sooner or later"),
            (999, "", "sooner or later"),
            (1, "", "sooner or later"),
            (1000, "eve:x:1001:1::/:/bin/sh\n", "now (\"eve\")"),
            (20_000, "eve:x:52751:1::/:/bin/sh\n", "now (\"eve\")"),
            (65_535, "eve:x:65536:1::/:/bin/sh\n", "now (\"eve\")"),
        ] {
            let db = alone(&(base_at(base) + others));
            let error = Identity::choose(guest(7), None, &db).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, IdentityError::AmongUsers { .. }), "{text}");
            assert!(
                text.contains(shown) && text.contains(MOVE_RANGE_BASE),
                "{text}"
            );
            // A user of its own is still to be had.
            assert!(others != PEOPLE || Identity::choose(guest(7), Some("ann"), &db).is_ok());
        }
        for (base, others, told) in [
            (1000, PEOPLE, true),
            (20_000, "eve:x:52752:1::/:/bin/sh\n", true),
            (65_535, "", true),
            (65_536, "eve:x:65544:1::/:/bin/sh\n", false),
        ] {
            let db = alone(&(base_at(base) + others));
            let identity = Identity::choose(guest(7), None, &db).unwrap();
            let warning = identity.warning().unwrap_or_default();
            assert_eq!(warning.contains(MOVE_RANGE_BASE), told, "{base}: {warning}");
        }
        let many = |name: &str| format!("{name}:x:1{name}:1::/:/bin/sh\n");
        let many: String = ["001", "002", "003", "004", "005"].map(many).concat();
        let error = Identity::choose(guest(7), None, &alone(&(base_at(994) + &many)));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("\"003\" and 2 more)"), "{text}");
    }

    #[test]
    fn a_range_ends_below_the_last_uid() {
        for base in [u32::MAX - 32751, u32::MAX - 32750, u32::MAX - 7, u32::MAX] {
            let error = refusal(1, None, &[&base_at(base)], "");
            assert!(
                matches!(error, IdentityError::RangeTooHigh { .. }),
                "{error}"
            );
        }
        let top = base_at(u32::MAX - 32752);
        assert_eq!(chosen(32751, None, &[&top]).uid(), u32::MAX - 1);
    }

    #[test]
    fn a_range_that_overlaps_subordinate_uids_names_the_line() {
        for (base, overlaps) in [
            (100_000, true),
            (165_535, true),
            (165_536, false),
            (100_000 - UIDS_IN_RANGE, false),
            (100_001 - UIDS_IN_RANGE, true),
        ] {
            let db = db(&[&base_at(base)], "# people\nann:100000:65536\n");
            match Identity::choose(guest(1), None, &db) {
                Ok(_) => assert!(!overlaps, "{base}"),
                Err(error) => {
                    assert!(overlaps, "{base}: {error}");
                    let text = error.to_string();
                    assert!(
                        text.contains("line 2 of /etc/subuid, \"ann:100000:65536\""),
                        "{text}"
                    );
                }
            }
        }
        let error = refusal(7, Some("ann"), &[], "eve:1000:1\n");
        assert!(
            matches!(error, IdentityError::Subordinate { .. }),
            "{error}"
        );
    }

    #[test]
    fn two_base_users_are_none() {
        let error = refusal(7, None, &[BASE, BASE], "");
        assert!(matches!(error, IdentityError::Users(_)), "{error}");
    }

    fn any_uid() -> impl Strategy<Value = u32> {
        prop_oneof![
            any::<u32>(),
            0..4_u32,
            65_530..65_545_u32,
            (u32::MAX - 32_760)..=u32::MAX,
            32_780..32_790_u32,
        ]
    }

    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(RANGE_BASE.into()),
            Just(SHARED.into()),
            Just("xen-qemuuser-domid7".into()),
            Just("ann".into()),
            "[a-z]{1,3}",
        ]
    }

    proptest! {
        #[test]
        fn an_identity_is_nobody_elses(
            users in proptest::collection::vec((any_name(), any_uid(), any_uid()), 0..6),
            subuid in proptest::collection::vec((any_uid(), any_uid()), 0..3),
            domid in prop_oneof![Just(7_u16), 1..=32751_u16],
            user in proptest::option::of(any_name()),
        ) {
            let passwd: String =
                users.iter().map(|(n, u, g)| format!("{n}:x:{u}:{g}::/:/bin/sh\n")).collect();
            let ranges: String = subuid.iter().map(|(f, c)| format!("ann:{f}:{c}\n")).collect();
            let db = UserDb::from_text(passwd.as_bytes(), ranges.as_bytes()).unwrap();
            match Identity::choose(guest(domid), user.as_deref(), &db) {
                Err(error) => prop_assert!(error.to_string().contains(' ')),
                Ok(identity) => {
                    let uid = identity.uid();
                    prop_assert!(!matches!(uid, 0 | 65534 | 65535 | u32::MAX));
                    prop_assert!(!matches!(identity.gid(), 0 | 65535 | u32::MAX));
                    let whose: Vec<_> =
                        users.iter().filter(|(_, u, _)| *u == uid).map(|(n, ..)| n).collect();
                    match identity.rule() {
                        Rule::RangeBase { base } => {
                            prop_assert!(whose.is_empty());
                            prop_assert_eq!(base.checked_add(domid.into()), Some(uid));
                        }
                        Rule::Explicit { user } | Rule::PerDomain { user } =>
                            prop_assert_eq!(whose, vec![user]),
                        Rule::Shared => prop_assert_eq!(whose, vec![SHARED]),
                    }
                    for (first, count) in subuid {
                        let range = u64::from(first)..u64::from(first) + u64::from(count);
                        prop_assert!(!range.contains(&u64::from(uid)));
                    }
                }
            }
        }

        #[test]
        fn any_text_is_a_database_or_an_error(
            passwd in "(\\PC|[:\n\0+#]|xen-qemuuser-(shared|range-base|domid7):x:[0-9]{1,10}:1::/:/){0,20}",
            subuid in proptest::collection::vec(any::<u8>(), 0..60),
            domid in 1..=32751_u16,
        ) {
            for subuid in [&[][..], &subuid] {
                if let Ok(db) = UserDb::from_text(passwd.as_bytes(), subuid)
                    && let Ok(identity) = Identity::choose(guest(domid), None, &db)
                {
                    prop_assert!(!matches!(identity.uid(), 0 | 65534 | 65535 | u32::MAX));
                }
            }
        }
    }
}
