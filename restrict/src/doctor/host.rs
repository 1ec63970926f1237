// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several looks need: who is asking, and which kernel this is.

use std::{error::Error, fs, thread};

use nix::unistd::geteuid;

use super::report::{Finding, State};
use crate::confine::{MechanismError, UserDb};

pub(super) struct Host {
    pub(super) root: bool,
    /// The effective capabilities, by number.
    pub(super) capabilities: u64,
    /// As `uname -r` says it.
    pub(super) release: String,
    /// `None` where that does not begin with two numbers.
    pub(super) version: Option<(u32, u32)>,
    pub(super) users: Result<UserDb, String>,
}

impl Host {
    pub(super) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease")
            .trim()
            .escape_debug()
            .to_string();
        Self {
            root: geteuid().is_root(),
            capabilities: effective(&read("/proc/thread-self/status")),
            version: version(&release),
            release,
            users: UserDb::from_system().map_err(|error| with_causes(&error)),
        }
    }

    /// What is refused to others than root is not known to be missing.
    pub(super) fn refused(&self) -> State {
        if self.root {
            State::Missing
        } else {
            State::Unknown
        }
    }

    /// Has `trial` done in a thread, which takes with it what it has become.
    pub(super) fn tried<T: Send + 'static>(
        &self,
        trial: impl FnOnce() -> Result<T, MechanismError> + Send + 'static,
        offered: impl Into<String>,
    ) -> Finding {
        match in_thread(trial) {
            Some(Ok(_)) => Finding::offered(offered),
            Some(Err(error)) => Finding::not(self.refused(), error.reason, error.remedy),
            None => Finding::unknown(
                "the trial did not end well",
                "report this, with the kernel's version",
            ),
        }
    }

    /// Offered from a version of Linux on.
    pub(super) fn since(&self, first: (u32, u32), otherwise: &str) -> Finding {
        let (major, minor) = first;
        match self.version {
            Some(version) if version >= first => {
                Finding::offered(format!("since Linux {major}.{minor}"))
            }
            Some(_) => Finding::missing(
                format!("{otherwise}: this is Linux {}", self.release),
                format!("use Linux {major}.{minor} or later"),
            ),
            None => Finding::unknown(
                format!("{:?} is no version of Linux", self.release),
                "mount /proc",
            ),
        }
    }
}

pub(super) fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    thread::Builder::new().spawn(work).ok()?.join().ok()
}

fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A message with all that is behind it.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        for (release, expected) in [
            ("6.1.0-28-amd64", Some((6, 1))),
            ("7.2-rc1", Some((7, 2))),
            ("5.10.0", Some((5, 10))),
            ("6", None),
            ("", None),
            ("x.y", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn capabilities_are_hexadecimal() {
        assert_eq!(effective("Name:\tx\nCapEff:\t00000000000000ff\n"), 0xff);
        assert_eq!(effective("CapPrm:\t00000000000000ff\n"), 0);
    }
}
