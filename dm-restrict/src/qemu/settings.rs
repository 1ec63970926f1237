// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file of settings: lines of `name = value`, one thing each; `#` begins a comment.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use xen_restrict::{
    confine::{Limit, Mechanism},
    launch::{CgroupLimit, QEMU_PROGRAMS},
};

/// Where it is; it may be missing.
const FILE: &str = "/etc/dm-restrict/qemu.conf";
/// Names another one, for one guest: `DM_RESTRICT_QEMU_CONF=... xl create ...`.
const VARIABLE: &str = "DM_RESTRICT_QEMU_CONF";
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) program: Option<PathBuf>,
    /// Whether a guest without `dm_restrict` is started, with nothing confined.
    pub(super) unrestricted: bool,
    pub(super) without: Vec<Mechanism>,
    /// Mechanisms without which no guest is started.
    pub(super) require: Vec<Mechanism>,
    /// What else QEMU may read while it is root.
    pub(super) reads: Vec<PathBuf>,
    pub(super) limits: Vec<Limit>,
    pub(super) cgroup: Vec<CgroupLimit>,
    pub(super) log_denied: bool,
    pub(super) give_up_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            program: None,
            unrestricted: false,
            without: Vec::new(),
            require: Vec::new(),
            reads: Vec::new(),
            limits: Vec::new(),
            cgroup: Vec::new(),
            log_denied: false,
            give_up_within: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// Those of this machine, or of this guest.
    pub(super) fn read() -> io::Result<Self> {
        let named = env::var_os(VARIABLE).map(PathBuf::from);
        let path = named.clone().unwrap_or_else(|| FILE.into());
        let shown = |error: io::Error| {
            let text = format!("{}: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        match trusted(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                Ok(Self::default())
            }
            text => {
                Self::parse(&text.map_err(shown)?).map_err(|text| shown(io::Error::other(text)))
            }
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |what: String| format!("line {number}: {what}");
            let (name, value) = line
                .split_once('=')
                .ok_or_else(|| wrong("not `name = value`".into()))?;
            settings.set(name.trim(), value.trim()).map_err(wrong)?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let parsed = |error: &dyn std::fmt::Display| error.to_string();
        match name {
            "program" if Path::new(value).is_absolute() => self.program = Some(value.into()),
            "program" => return Err("program is an absolute path".into()),
            "unrestricted" => self.unrestricted = choice(name, value, ["refuse", "run"])?,
            "without" => self.without.push(value.parse().map_err(|e| parsed(&e))?),
            "require" => self.require.push(value.parse().map_err(|e| parsed(&e))?),
            "read" if !Path::new(value).is_absolute() => {
                return Err("read is an absolute path".into());
            }
            "read" if !Path::new(value).exists() => {
                return Err(format!("there is no {value:?}, which is to be read"));
            }
            "read" => self.reads.push(value.into()),
            "rlimit" => self.limits.push(value.parse().map_err(|e| parsed(&e))?),
            "cgroup" => self.cgroup.push(value.parse().map_err(|e| parsed(&e))?),
            "log-denied" => self.log_denied = choice(name, value, ["no", "yes"])?,
            "give-up-within" => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                let seconds = seconds.ok_or("give-up-within is a number of seconds")?;
                self.give_up_within = Duration::from_secs(seconds);
            }
            other => {
                return Err(format!(
                    "there is no setting {other:?}; there are program, unrestricted, without, \
                     require, read, rlimit, cgroup, log-denied, give-up-within"
                ));
            }
        }
        Ok(())
    }

    /// QEMU.
    pub(super) fn program(&self) -> io::Result<PathBuf> {
        let found = || {
            QEMU_PROGRAMS
                .map(PathBuf::from)
                .into_iter()
                .find(|path| path.is_file())
        };
        self.program.clone().or_else(found).ok_or_else(|| {
            let text = format!(
                "no QEMU at {}: name it in {FILE}, by `program`",
                QEMU_PROGRAMS.join(", ")
            );
            io::Error::new(io::ErrorKind::NotFound, text)
        })
    }
}

/// Whether it is the second of two words.
fn choice(name: &str, value: &str, words: [&str; 2]) -> Result<bool, String> {
    match words.iter().position(|word| *word == value) {
        Some(at) => Ok(at == 1),
        None => Err(format!("{name} is {} or {}", words[0], words[1])),
    }
}

/// Of a file that only root can change.
fn trusted(path: &Path) -> io::Result<String> {
    let file = fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "others than root can change it: chown root, chmod go-w",
        ));
    }
    io::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_read_and_a_wrong_one_is_named() {
        let text = "# a comment\n\nprogram = /opt/qemu # ours\nunrestricted=run\nwithout = net-ns\n\
                    without = cgroup\nrlimit = nofile=4096\ncgroup = memory.max=1G\n\
                    require = landlock\nread = /usr\nlog-denied = yes\ngive-up-within = 5\n";
        let settings = Settings::parse(text).unwrap();
        assert_eq!(settings.program().unwrap(), Path::new("/opt/qemu"));
        assert!(settings.unrestricted && settings.log_denied);
        assert_eq!(settings.without, [Mechanism::NetNs, Mechanism::Cgroup]);
        assert_eq!(settings.require, [Mechanism::Landlock]);
        assert_eq!(settings.reads, [Path::new("/usr")]);
        assert_eq!((settings.limits.len(), settings.cgroup.len()), (1, 1));
        assert_eq!(settings.give_up_within, Duration::from_secs(5));
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
        for (text, says) in [
            ("x", "line 1: not"),
            ("\nqemu = /x", "line 2: there is no setting \"qemu\""),
            ("program = qemu", "absolute"),
            ("unrestricted = yes", "refuse or run"),
            ("without = net", "there is no mechanism"),
            ("require = net", "there is no mechanism"),
            ("rlimit = nofile", "NAME=VALUE"),
            ("read = usr", "absolute"),
            ("read = /usr/is/not", "there is no \"/usr/is/not\""),
            ("give-up-within = 0", "seconds"),
            ("log-denied = maybe", "no or yes"),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
