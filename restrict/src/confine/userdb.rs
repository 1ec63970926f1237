// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has which uid: passwd and subuid, of this machine or of a text.

use std::{
    fs::File,
    io::{self, Read},
};

use nix::{
    errno::Errno,
    unistd::{Uid, User},
};

use super::proc_file::rest;

const PASSWD: &str = "/etc/passwd";
const SUBUID: &str = "/etc/subuid";
/// More than any file that an administrator keeps by hand.
const MAX_FILE: u64 = 16 << 20;

/// A user: the part of its passwd line that confinement needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// Its login name.
    pub name: String,
    /// Its uid.
    pub uid: u32,
    /// The gid of its first group.
    pub gid: u32,
}

/// A line of /etc/subuid: uids that a user may give to its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubuidLine {
    /// The line's number, from 1.
    pub number: usize,
    /// Whose line it is: a name or a uid.
    pub owner: String,
    /// The first uid of the range.
    pub first: u64,
    /// How many uids it has; may be 0.
    pub count: u64,
}

impl SubuidLine {
    fn overlaps(&self, first: u32, last: u32) -> bool {
        self.count > 0
            && self.first <= u64::from(last)
            && self.first.saturating_add(self.count) > u64::from(first)
    }
}

/// The user database, as [`Identity::choose`](super::Identity::choose) asks it.
///
/// [`from_system`](Self::from_system) is the one of this machine,
/// [`from_text`](Self::from_text) is made of two files' contents.
#[derive(Clone, Debug)]
pub struct UserDb {
    accounts: Vec<Account>,
    subuid: Vec<SubuidLine>,
    /// Whether the system's name service is asked too.
    nss: bool,
}

impl UserDb {
    /// The database of this machine.
    ///
    /// Users are looked up through the C library, so LDAP, SSSD and systemd's
    /// dynamic users count where /etc/nsswitch.conf names them, and in the lines
    /// of /etc/passwd besides: the C library shows one user for a uid, the file may
    /// have several. A missing /etc/subuid is an empty one.
    ///
    /// A statically linked program sees less: musl knows /etc/passwd only, and
    /// static glibc loads the name service modules only if they are of the same
    /// version. Link dynamically where users come from elsewhere. Subordinate
    /// uids are those of /etc/subuid; others that nsswitch.conf brings in by
    /// `subid:` are not known here.
    ///
    /// # Errors
    /// A file cannot be read, is over 16 MiB, or has a malformed line.
    pub fn from_system() -> Result<Self, UserDbError> {
        let passwd = read(PASSWD)?;
        let subuid = match read(SUBUID) {
            Err(UserDbError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Vec::new()
            }
            other => other?,
        };
        Ok(Self {
            nss: true,
            ..Self::from_text(&passwd, &subuid)?
        })
    }

    /// A database of the contents of passwd and subuid, and nothing else.
    ///
    /// Empty lines, comments and the `+` and `-` lines of NIS are skipped. Any
    /// other line must be well-formed: a malformed one may be the one that
    /// gives a uid to somebody.
    ///
    /// # Errors
    /// A line is malformed: the error names it.
    ///
    /// ```
    /// use xen_restrict::confine::UserDb;
    /// let db = UserDb::from_text(b"root:x:0:0:root:/root:/bin/sh\n", b"")?;
    /// assert_eq!(db.by_name("root")?.unwrap().uid, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_text(passwd: &[u8], subuid: &[u8]) -> Result<Self, UserDbError> {
        Ok(Self {
            accounts: lines(passwd)
                .filter(|(_, line)| !line.starts_with(b"+") && !line.starts_with(b"-"))
                .map(|(number, line)| account(line).map_err(|p| p.at(PASSWD, number)))
                .collect::<Result<_, _>>()?,
            subuid: lines(subuid)
                .map(|(number, line)| subuid_line(number, line).map_err(|p| p.at(SUBUID, number)))
                .collect::<Result<_, _>>()?,
            nss: false,
        })
    }

    /// The user of that name.
    ///
    /// # Errors
    /// The name service failed, or has several users of that name.
    pub fn by_name(&self, name: &str) -> Result<Option<Account>, UserDbError> {
        let mut found = None;
        if self.nss {
            found = not_found_is_none(User::from_name(name))
                .map_err(|source| UserDbError::lookup(format!("user {name:?}"), source))?
                .map(Account::from);
        }
        for account in self.accounts.iter().filter(|a| a.name == name) {
            match &found {
                None => found = Some(account.clone()),
                // Seen twice: by the name service and in its file.
                Some(same) if same == account && self.nss => {}
                Some(_) => return Err(UserDbError::Ambiguous { name: name.into() }),
            }
        }
        Ok(found)
    }

    /// The names that have this uid, other than `name`.
    ///
    /// # Errors
    /// The name service failed.
    pub fn others_with_uid(&self, uid: u32, name: &str) -> Result<Vec<String>, UserDbError> {
        let mut names: Vec<_> = self
            .accounts
            .iter()
            .filter(|a| a.uid == uid)
            .cloned()
            .collect();
        if self.nss {
            names.extend(
                not_found_is_none(User::from_uid(Uid::from_raw(uid)))
                    .map_err(|source| UserDbError::lookup(format!("uid {uid}"), source))?
                    .map(Account::from),
            );
        }
        let mut names: Vec<_> = names
            .into_iter()
            .map(|a| a.name)
            .filter(|n| n != name)
            .collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Users of /etc/passwd with a uid from `first` to `last`: other name services do not
    /// list theirs.
    pub fn by_uids(&self, first: u32, last: u32) -> impl Iterator<Item = &Account> {
        let within = move |account: &&Account| (first..=last).contains(&account.uid);
        self.accounts.iter().filter(within)
    }

    /// The first line of subuid that has a uid from `first` to `last`.
    #[must_use]
    pub fn subuid_overlap(&self, first: u32, last: u32) -> Option<&SubuidLine> {
        self.subuid.iter().find(|line| line.overlaps(first, last))
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        }
    }
}

/// Some name services answer with an error number where there is no such user.
fn not_found_is_none(answer: nix::Result<Option<User>>) -> Result<Option<User>, io::Error> {
    match answer {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        other => other.map_err(io::Error::from),
    }
}

fn read(file: &'static str) -> Result<Vec<u8>, UserDbError> {
    let bytes = File::open(file)
        .and_then(|file| rest(file.take(MAX_FILE + 1)))
        .map_err(|source| UserDbError::Read { file, source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(UserDbError::TooLarge { file });
    }
    Ok(bytes)
}

fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..)
        .zip(text.split(|b| *b == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty() && !line.starts_with(b"#"))
}

/// What is wrong with a line.
struct Problem(String);

impl Problem {
    fn at(self, file: &'static str, line: usize) -> UserDbError {
        UserDbError::Line {
            file,
            line,
            problem: self.0,
        }
    }
}

fn account(line: &[u8]) -> Result<Account, Problem> {
    if line.contains(&0) {
        return Err(Problem("it has a NUL byte".into()));
    }
    // Like the C library: further colons belong to the last field, the shell.
    let fields: Vec<_> = line.splitn(7, |b| *b == b':').collect();
    let [name, _, uid, gid, _, _, _] = fields[..] else {
        return Err(Problem(format!("{} fields instead of 7", fields.len())));
    };
    Ok(Account {
        name: text("name", name)?,
        uid: number("uid", uid)?,
        gid: number("gid", gid)?,
    })
}

fn subuid_line(line_number: usize, line: &[u8]) -> Result<SubuidLine, Problem> {
    let fields: Vec<_> = line.split(|b| *b == b':').collect();
    let [owner, first, count] = fields[..] else {
        return Err(Problem(format!("{} fields instead of 3", fields.len())));
    };
    Ok(SubuidLine {
        number: line_number,
        owner: text("owner", owner)?,
        first: number("first uid", first)?,
        count: number("count", count.trim_ascii_end())?,
    })
}

fn text(what: &str, bytes: &[u8]) -> Result<String, Problem> {
    match str::from_utf8(bytes) {
        Ok("") => Err(Problem(format!("its {what} is empty"))),
        Ok(text) => Ok(text.into()),
        Err(_) => Err(Problem(format!("its {what} is not UTF-8"))),
    }
}

/// Digits and nothing else: no sign, no blanks, as `strtoul` would take them.
fn number<T: std::str::FromStr>(what: &str, bytes: &[u8]) -> Result<T, Problem> {
    str::from_utf8(bytes)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            let shown = &bytes[..bytes.len().min(20)];
            Problem(format!(
                "its {what} is no number in range: \"{}\"",
                shown.escape_ascii()
            ))
        })
}

/// Why the user database gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UserDbError {
    /// A file cannot be read.
    #[error("cannot read {file}: without it no uid is known to be free")]
    Read {
        /// Which.
        file: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file is over 16 MiB.
    #[error("{file} is over 16 MiB: keep users in a directory service, not in the file")]
    TooLarge {
        /// Which.
        file: &'static str,
    },
    /// A line is malformed.
    #[error(
        "line {line} of {file} is malformed, {problem}: correct it (`pwck`, `vipw`); until \
             then no uid is known to be free"
    )]
    Line {
        /// The file.
        file: &'static str,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Several users have that name, or one has it here and another there.
    #[error(
        "the user database has several users {name:?}: keep one (`getent passwd`, /etc/passwd)"
    )]
    Ambiguous {
        /// The name.
        name: String,
    },
    /// The name service failed.
    #[error("cannot look up {what}: see that the services that /etc/nsswitch.conf names run")]
    Lookup {
        /// What was looked up.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl UserDbError {
    fn lookup(what: String, source: io::Error) -> Self {
        Self::Lookup { what, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(passwd: &[u8], subuid: &[u8]) -> String {
        UserDb::from_text(passwd, subuid).unwrap_err().to_string()
    }

    #[test]
    fn a_malformed_line_is_named() {
        for (line, why) in [
            (&b"a:x:1"[..], "3 fields instead of 7"),
            (b"a", "1 fields"),
            (b":x:1:1::/:/bin/sh", "name is empty"),
            (b"a:x::1::/:/bin/sh", "uid is no number in range: \"\""),
            (b"a:x:-1:1::/:/bin/sh", "\"-1\""),
            (b"a:x:+1:1::/:/bin/sh", "\"+1\""),
            (b"a:x: 1:1::/:/bin/sh", "\" 1\""),
            (b"a:x:0x1:1::/:/bin/sh", "\"0x1\""),
            (b"a:x:4294967296:1::/:/bin/sh", "\"4294967296\""),
            (
                b"a:x:1:\xff::/:/bin/sh",
                "gid is no number in range: \"\\xff\"",
            ),
            (b"a\0b:x:1:1::/:/bin/sh", "NUL"),
            (b"\xff:x:1:1::/:/bin/sh", "not UTF-8"),
        ] {
            let text = [b"root:x:0:0::/:/bin/sh\n# note\n\n", line].concat();
            let error = refusal(&text, b"");
            assert!(
                error.starts_with("line 4 of /etc/passwd is malformed") && error.contains(why),
                "{error}"
            );
        }
        for line in [
            "a:1",
            "a:1:2:3",
            "a:x:1",
            ":1:1",
            "a:1:-1",
            "a:99999999999999999999:1",
        ] {
            let error = refusal(b"", line.as_bytes());
            assert!(error.starts_with("line 1 of /etc/subuid"), "{error}");
        }
    }

    #[test]
    fn a_huge_line_is_read_and_its_error_is_short() {
        let mut line = b"a:x:".to_vec();
        line.extend(std::iter::repeat_n(b'7', 1 << 20));
        line.extend(b":1::/:/bin/sh");
        assert!(refusal(&line, b"").len() < 250);
        let mut line = b"a:x:1:1:".to_vec();
        line.extend(std::iter::repeat_n(0xe9, 1 << 20));
        line.extend(b":/:/bin/sh");
        assert_eq!(UserDb::from_text(&line, b"").unwrap().accounts[0].uid, 1);
    }

    #[test]
    fn lines_that_are_no_users_are_skipped() {
        let db =
            UserDb::from_text(b"\n  \n#x\n+\n+@net\n-bad\na:x:1:2:g:/:/sh:x\n", b"#\n\n").unwrap();
        let a = Account {
            name: "a".into(),
            uid: 1,
            gid: 2,
        };
        assert_eq!(db.accounts, [a]);
        assert_eq!(db.by_name("+").unwrap(), None);
    }

    #[test]
    fn two_users_of_one_name_are_no_answer() {
        let db = UserDb::from_text(b"a:x:1:1::/:\na:x:2:1::/:\nb:x:2:1::/:\n", b"").unwrap();
        assert!(matches!(
            db.by_name("a"),
            Err(UserDbError::Ambiguous { .. })
        ));
        assert_eq!(db.others_with_uid(2, "b").unwrap(), ["a"]);
        assert_eq!(db.others_with_uid(2, "").unwrap(), ["a", "b"]);
        assert!(db.others_with_uid(3, "").unwrap().is_empty());
    }

    #[test]
    fn ranges_overlap_at_their_ends_only_when_they_share_a_uid() {
        let db = UserDb::from_text(b"", b"u:0:0\nu:100:10\nv:18446744073709551615:9\n").unwrap();
        for (first, last, overlaps) in [
            (0, 99, false),
            (0, 100, true),
            (109, 109, true),
            (110, u32::MAX, false),
            (0, u32::MAX, true),
        ] {
            let line = db.subuid_overlap(first, last).map(|l| l.number);
            assert_eq!(line, overlaps.then_some(2), "{first}..={last}");
        }
    }

    #[test]
    fn this_machine_has_a_root() {
        let db = UserDb::from_system().unwrap();
        assert_eq!(db.by_name("root").unwrap().unwrap().uid, 0);
        assert!(db.others_with_uid(0, "").unwrap().contains(&"root".into()));
        assert_eq!(db.by_name("no-such-user\0").unwrap(), None);
    }
}
