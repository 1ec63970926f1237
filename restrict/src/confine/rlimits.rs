// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `rlimits`: limits of a process, and (nproc) of its user.

use std::{fmt, io, str::FromStr};

use nix::errno::Errno;

use super::mechanism::{Mechanism, MechanismError, Profile};

/// The C library's type of a limit's number.
type Resource = libc::__rlimit_resource_t;

/// A limit by name, and what the profiles set it to.
struct Row {
    name: &'static str,
    resource: Resource,
    libxl: Option<u64>,
    strict: Option<u64>,
    /// One that is lower already is not as good.
    exact: bool,
    reason: &'static str,
}

impl Row {
    const fn exact(mut self) -> Self {
        self.exact = true;
        self
    }
}

const fn row(
    name: &'static str,
    resource: Resource,
    libxl: Option<u64>,
    strict: Option<u64>,
    reason: &'static str,
) -> Row {
    Row {
        name,
        resource,
        libxl,
        strict,
        exact: false,
        reason,
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a process can be limited in; names as in `prlimit(1)` and `limits.conf(5)`.
const TABLE: [Row; 15] = [
    row(
        "as",
        libc::RLIMIT_AS,
        None,
        Some(64 * GIB),
        "room for a cache of guest memory; bytes",
    ),
    row(
        "core",
        libc::RLIMIT_CORE,
        Some(1),
        Some(1),
        "no file, as with 0; and with 1 no helper of the machine is run, as root (core(5))",
    )
    .exact(),
    row(
        "cpu",
        libc::RLIMIT_CPU,
        None,
        None,
        "a device model runs as long as its guest; seconds",
    ),
    row(
        "data",
        libc::RLIMIT_DATA,
        None,
        None,
        "`as` and the control group bound it; bytes",
    ),
    row(
        "fsize",
        libc::RLIMIT_FSIZE,
        Some(256 * KIB),
        Some(GIB),
        "memory files count, a display's too; bytes",
    ),
    row(
        "locks",
        libc::RLIMIT_LOCKS,
        Some(0),
        Some(0),
        "as libxl sets it; without effect since Linux 2.4.25",
    ),
    row(
        "memlock",
        libc::RLIMIT_MEMLOCK,
        Some(0),
        Some(0),
        "no locked memory; bytes",
    ),
    row(
        "msgqueue",
        libc::RLIMIT_MSGQUEUE,
        Some(0),
        Some(0),
        "no message queues; bytes",
    ),
    row(
        "nice",
        libc::RLIMIT_NICE,
        None,
        Some(0),
        "no higher priority",
    ),
    row(
        "nofile",
        libc::RLIMIT_NOFILE,
        None,
        Some(1024),
        "descriptors",
    ),
    row(
        "nproc",
        libc::RLIMIT_NPROC,
        None,
        Some(256),
        "threads of the user, in all its processes",
    ),
    row(
        "rtprio",
        libc::RLIMIT_RTPRIO,
        None,
        Some(0),
        "no real-time scheduling",
    ),
    row("rttime", libc::RLIMIT_RTTIME, None, None, "microseconds"),
    row(
        "sigpending",
        libc::RLIMIT_SIGPENDING,
        None,
        Some(4096),
        "queued signals of the user",
    ),
    row(
        "stack",
        libc::RLIMIT_STACK,
        None,
        Some(8 * MIB),
        "unlimited, addresses would be easier to guess; bytes",
    ),
];

/// A limit, soft and hard alike, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    row: usize,
    /// `None` is unlimited.
    value: Option<u64>,
}

impl Limit {
    /// `nofile` for example.
    #[must_use]
    pub fn name(&self) -> &'static str {
        TABLE[self.row].name
    }

    /// `None` is unlimited.
    #[must_use]
    pub fn value(&self) -> Option<u64> {
        self.value
    }

    /// Why a profile has it, or its unit.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        TABLE[self.row].reason
    }
}

impl FromStr for Limit {
    type Err = InvalidLimit;

    /// `NAME=VALUE`, where the value is a number or `unlimited`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.escape_debug().to_string();
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| InvalidLimit::Form(shown()))?;
        let row = TABLE.iter().position(|row| row.name == name);
        let row = row.ok_or_else(|| InvalidLimit::Name(name.escape_debug().to_string()))?;
        let value = match value {
            "unlimited" => None,
            digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                let number = digits.parse().ok().filter(|n| *n != libc::RLIM_INFINITY);
                Some(number.ok_or_else(|| InvalidLimit::Value(shown()))?)
            }
            _ => return Err(InvalidLimit::Value(shown())),
        };
        Ok(Self { row, value })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{}={value}", self.name()),
            None => write!(f, "{}=unlimited", self.name()),
        }
    }
}

/// Not a limit of a process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLimit {
    /// Without `=`.
    #[error("\"{0}\" is not NAME=VALUE, as in nofile=1024")]
    Form(String),
    /// No such name.
    #[error("there is no limit \"{0}\"; there are {names}", names = TABLE.map(|row| row.name).join(", "))]
    Name(String),
    /// Not a number below 2^64 - 1, nor `unlimited`.
    #[error("\"{0}\": the value is a number, or unlimited")]
    Value(String),
}

/// The limits of a profile, changed by what was asked for by name.
#[must_use]
pub(crate) fn of_profile(profile: Profile, asked: &[Limit]) -> Vec<Limit> {
    let limit = |(row, of): (usize, &Row)| {
        let preset = match profile {
            Profile::Libxl => of.libxl,
            Profile::Qemu | Profile::Strict => of.strict,
        };
        let preset = preset.map(|value| Limit {
            row,
            value: Some(value),
        });
        asked
            .iter()
            .rfind(|limit| limit.row == row)
            .copied()
            .or(preset)
    };
    TABLE.iter().enumerate().filter_map(limit).collect()
}

/// Sets them for the calling process, soft and hard. One of a profile that is already
/// lower stays, where that is as good; `asked` ones are set as they are. Looks what came of
/// it.
pub(crate) fn apply(limits: &[Limit], asked: &[Limit]) -> Result<(), MechanismError> {
    set(limits, |limit| {
        asked.contains(limit) || TABLE[limit.row].exact
    })
}

/// The same of a process that leaves no core, as it is not dumpable: all that is lower
/// stays.
pub(crate) fn lower(limits: &[Limit]) -> Result<(), MechanismError> {
    set(limits, |_| false)
}

fn set(limits: &[Limit], exactly: impl Fn(&Limit) -> bool) -> Result<(), MechanismError> {
    for limit in limits {
        let resource = TABLE[limit.row].resource;
        let mut value = limit.value.unwrap_or(libc::RLIM_INFINITY);
        let now = get(resource).map_err(|errno| failed(limit, errno))?;
        if !exactly(limit) {
            value = value.min(now.rlim_max);
        }
        if (now.rlim_cur, now.rlim_max) == (value, value) {
            continue;
        }
        let new = libc::rlimit {
            rlim_cur: value,
            rlim_max: value,
        };
        // SAFETY: reads the struct, which lives.
        let result = unsafe { libc::setrlimit(resource, &raw const new) };
        Errno::result(result).map_err(|errno| failed(limit, errno))?;
        let now = get(resource).map_err(|errno| failed(limit, errno))?;
        if (now.rlim_cur, now.rlim_max) != (value, value) {
            return Err(failed(limit, Errno::ERANGE));
        }
    }
    Ok(())
}

fn get(resource: Resource) -> Result<libc::rlimit, Errno> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the struct, which lives.
    let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
    Errno::result(result).map(|_| limit)
}

fn failed(limit: &Limit, errno: Errno) -> MechanismError {
    let remedy = match errno {
        Errno::EPERM if TABLE[limit.row].exact => {
            "the launcher's own hard limit is lower, and with that the machine's helper would be \
             run: raise it, or start it as root with CAP_SYS_RESOURCE"
        }
        Errno::EPERM => "it is above the launcher's own hard limit: ask for less, or raise that",
        _ => "or leave it out by `--without rlimits`",
    };
    let reason = format!("set {limit}: {}", io::Error::from(errno));
    MechanismError::new(Mechanism::Rlimits, reason, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_back_as_it_is_written() {
        for text in [
            "nofile=1024",
            "as=0",
            "fsize=unlimited",
            "nproc=18446744073709551614",
        ] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_told_what_there_is() {
        for (text, says) in [
            ("nofile", "NAME=VALUE"),
            ("files=3", "there are as, core"),
            ("nofile=-1", "a number"),
            ("nofile=", "a number"),
            ("nofile=+3", "a number"),
            ("nofile=18446744073709551615", "a number"),
            ("nofile=99999999999999999999", "a number"),
            ("\u{1b}[2J=3", "\\u{1b}"),
        ] {
            let error = text.parse::<Limit>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_asked_for_replaces_the_profiles_the_last_word_wins() {
        let asked = ["nofile=5", "nofile=6", "cpu=7"].map(|text| text.parse().unwrap());
        let limits = of_profile(Profile::Strict, &asked);
        let text: Vec<_> = limits.iter().map(ToString::to_string).collect();
        assert!(
            text.contains(&"nofile=6".into()) && text.contains(&"cpu=7".into()),
            "{text:?}"
        );
        assert!(!text.contains(&"nofile=5".into()));
        let libxl: Vec<_> = of_profile(Profile::Libxl, &[])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            libxl,
            [
                "core=1",
                "fsize=262144",
                "locks=0",
                "memlock=0",
                "msgqueue=0"
            ]
        );
    }
}
