// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be launched, and how: plain data, that a builder fills.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::fd::RawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use super::cgroup_limit::CgroupLimit;
use crate::{
    confine::{Limit, Mechanism, Profile},
    ids::GuestId,
};

/// A program to run confined, for one guest.
///
/// ```no_run
/// use xen_restrict::{GuestId, launch::Launch};
/// let mut device_model = Launch::new(GuestId::new(7)?)
///     .bind_read_only("/usr/share/qemu")
///     .env("LANG", "C.UTF-8")
///     .program("/usr/libexec/my-device-model", ["--verbose"])
///     .spawn()?;
/// let status = device_model.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What is not named is not given: no file, descriptor, variable, or device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub(crate) guest: Option<GuestId>,
    pub(crate) instance: Option<String>,
    pub(crate) profile: Profile,
    pub(crate) without: Vec<Mechanism>,
    pub(crate) require: Vec<Mechanism>,
    pub(crate) user: Option<String>,
    pub(crate) devices: Vec<XenDevice>,
    pub(crate) grants: Grants,
    pub(crate) read_only: Vec<PathBuf>,
    pub(crate) read_write: Vec<PathBuf>,
    pub(crate) linked: bool,
    pub(crate) dev: bool,
    pub(crate) proc: bool,
    pub(crate) tmp: Option<u64>,
    pub(crate) fds: Vec<NamedFd>,
    pub(crate) env: Vec<(OsString, EnvValue)>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) cgroup: Vec<CgroupLimit>,
    pub(crate) log_denied: bool,
    pub(crate) seal: SealAt,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) helper: PathBuf,
}

/// A device of Xen's whose handle is opened, restricted and handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum XenDevice {
    /// `/dev/xen/privcmd`.
    PrivCmd,
    /// `/dev/xen/evtchn`.
    EventChannel,
    /// `/dev/xen/gntdev`: Linux cannot restrict it, so what is handed over depends on
    /// [`Grants`].
    GrantDevice,
}

impl XenDevice {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PrivCmd, Self::EventChannel, Self::GrantDevice];

    /// Its name in options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrivCmd => "privcmd",
            Self::EventChannel => "evtchn",
            Self::GrantDevice => "gntdev",
        }
    }

    /// Its name in `LISTEN_FDNAMES`.
    #[must_use]
    pub const fn fd_name(self) -> &'static str {
        match self {
            Self::PrivCmd => crate::handover::PRIVCMD_NAME,
            Self::EventChannel => crate::handover::EVENT_CHANNEL_NAME,
            Self::GrantDevice => crate::handover::GRANT_DEVICE_NAME,
        }
    }
}

/// What a program can do with its guest's grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grants {
    /// Nothing: its gntdev handle is revoked.
    #[default]
    Revoked,
    /// Maps and copies them; the supervisor makes the requests.
    Brokered {
        /// Pages that can be mapped at a time, 1 to [`MAX_GRANT_QUOTA`].
        quota: u32,
    },
}

/// Of [`Grants::Brokered`], if nothing else is said: what a disk with four rings needs.
pub const DEFAULT_GRANT_QUOTA: u32 = 4096;
/// 256 MiB; Xen's own limit of dom0 is 2 GiB for all programs together.
pub const MAX_GRANT_QUOTA: u32 = 65_536;

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("revoked"),
            Self::Brokered { quota } => write!(f, "brokered={quota}"),
        }
    }
}

impl std::str::FromStr for Grants {
    type Err = InvalidOption;

    /// `revoked`, `brokered`, or `brokered=PAGES`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let quota = match text.split_once('=') {
            None if text == "revoked" => return Ok(Self::Revoked),
            None if text == "brokered" => {
                return Ok(Self::Brokered {
                    quota: DEFAULT_GRANT_QUOTA,
                });
            }
            Some(("brokered", pages)) if pages.bytes().all(|b| b.is_ascii_digit()) => pages.parse(),
            _ => "".parse(),
        };
        let allowed = 1..=MAX_GRANT_QUOTA;
        match quota {
            Ok(quota) if allowed.contains(&quota) => Ok(Self::Brokered { quota }),
            _ => Err(InvalidOption::Grants(text.escape_debug().to_string())),
        }
    }
}

impl std::str::FromStr for XenDevice {
    type Err = InvalidOption;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|device| device.name() == name);
        found.ok_or_else(|| InvalidOption::Device(name.escape_debug().to_string()))
    }
}

/// A descriptor of the launcher that the program gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFd {
    /// `stdin`, `stdout`, `stderr`, or a name for `LISTEN_FDNAMES`.
    pub(crate) name: String,
    pub(crate) number: RawFd,
}

/// The names of descriptors 0 to 2.
pub(crate) const STDIO: [&str; 3] = ["stdin", "stdout", "stderr"];

impl NamedFd {
    /// A descriptor that is open now, by its number.
    ///
    /// # Errors
    /// The name is empty, longer than 255 bytes, has a colon or a character that is not
    /// printable ASCII, or begins with `xen-`.
    pub fn new(name: &str, number: RawFd) -> Result<Self, InvalidOption> {
        let printable = name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':' && byte != b'=');
        let taken = name.starts_with(crate::handover::PREFIX);
        if name.is_empty() || name.len() > 255 || !printable || taken || number < 0 {
            return Err(InvalidOption::FdName(name.escape_debug().to_string()));
        }
        Ok(Self {
            name: name.to_owned(),
            number,
        })
    }
}

impl std::str::FromStr for NamedFd {
    type Err = InvalidOption;

    /// `NAME=NUM`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || InvalidOption::Fd(text.escape_debug().to_string());
        let (name, number) = text.split_once('=').ok_or_else(shown)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(shown());
        }
        Self::new(name, number.parse().map_err(|_| shown())?)
    }
}

/// Where the value of a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnvValue {
    /// From the launcher's environment, when it starts.
    Inherited,
    Given(OsString),
}

/// When a program that does not seal itself is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealAt {
    /// Before its first instruction: the guest runs already.
    Start,
    /// After it started, at the latest; sooner when it says `READY=1`. Whole seconds,
    /// rounded up.
    After(Duration),
}

impl SealAt {
    /// 0 is before it starts. Rounded up.
    pub(crate) fn seconds(self) -> u64 {
        match self {
            Self::Start => 0,
            Self::After(time) => time
                .as_secs()
                .saturating_add(u64::from(time.subsec_nanos() > 0))
                .max(1),
        }
    }
}

impl Default for SealAt {
    fn default() -> Self {
        Self::After(Duration::from_secs(30))
    }
}

/// An option that makes no sense, whatever the machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOption {
    /// Not a device.
    #[error("there is no device \"{0}\" to hand over; there are privcmd, evtchn, gntdev")]
    Device(String),
    /// Not `NAME=NUM`.
    #[error("\"{0}\" is not NAME=NUM, as in log=5")]
    Fd(String),
    /// Not a name for a descriptor.
    #[error(
        "\"{0}\" cannot be a descriptor's name: 1 to 255 printable ASCII characters without `:` and \
         `=`, and not beginning with xen-"
    )]
    FdName(String),
    /// Two descriptors with one name, or one descriptor twice.
    #[error("descriptor {0} is named twice")]
    FdTwice(String),
    /// Not a name for an instance.
    #[error("\"{0}\" cannot be an instance's name: 1 to 64 of A-Z a-z 0-9 _ - and, not first, `.`")]
    Instance(String),
    /// Not a name for a variable.
    #[error("\"{0}\" cannot be a variable's name: not empty, without `=` and NUL")]
    EnvName(String),
    /// A variable that the launcher sets.
    #[error("the variable \"{0}\" is set by the launcher")]
    EnvTaken(String),
    /// A variable to be passed on that is not there.
    #[error("the variable \"{0}\" is not set here; give it a value by NAME=VALUE")]
    EnvMissing(String),
    /// A mechanism that is both left out and required.
    #[error("{0} is both left out and required")]
    Contradiction(Mechanism),
    /// Required, and not part of the profile.
    #[error("{mechanism} is required, and not part of profile {profile}")]
    NotInProfile {
        /// Which.
        mechanism: Mechanism,
        /// Of which.
        profile: Profile,
    },
    /// A mechanism that stays needs one that is left out.
    #[error("{mechanism} needs {needs}: leave out both, or none")]
    Needs {
        /// Which stays.
        mechanism: Mechanism,
        /// Which is left out.
        needs: Mechanism,
    },
    /// An option of a mechanism that is not in effect.
    #[error("{option} is of no effect without {mechanism}")]
    NoEffect {
        /// Which option.
        option: &'static str,
        /// The mechanism that would be needed.
        mechanism: Mechanism,
    },
    /// Neither a guest nor a user.
    #[error("whose identity? Name a guest by --domid, or a user by --user (with --no-xen)")]
    Nobody,
    /// Handles without a guest.
    #[error(
        "Xen handles are handed over for a guest: name it by --domid, or none of them by --no-xen"
    )]
    NoGuest,
    /// No program.
    #[error("no program is named")]
    NoProgram,
    /// A NUL in an argument or path.
    #[error("\"{0}\" has a NUL in it")]
    Nul(String),
    /// A path with `..`, or empty.
    #[error("the path \"{0}\" is empty, / itself, or has `..` in it: name it by where it is")]
    Path(String),
    /// A path that is in the program's root for two reasons.
    #[error("the path \"{path}\" is given by {also}: one of them would hide the other")]
    PathTwice {
        /// The path.
        path: String,
        /// By what else.
        also: &'static str,
    },
    /// Not a mode, or not a quota.
    #[error(
        "\"{0}\" is not revoked, brokered, or brokered=PAGES with 1 to {MAX_GRANT_QUOTA} pages"
    )]
    Grants(String),
    /// A broker for a device that is not handed over.
    #[error("--grants brokered is of no use without gntdev in --xen")]
    GrantsWithoutDevice,
    /// Not a limit of a control group.
    #[error("\"{0}\" is not a limit: pids.max, memory.max or memory.swap.max = a number, or max")]
    CgroupLimit(String),
    /// A size that is no size.
    #[error("\"{0}\" is not a size: a number of bytes, or one with K, M or G, above 0")]
    Size(String),
}

impl Launch {
    /// A program for `guest`: profile `strict`, handles of privcmd, evtchn and gntdev.
    #[must_use]
    pub fn new(guest: GuestId) -> Self {
        Self {
            guest: Some(guest),
            devices: XenDevice::ALL.to_vec(),
            ..Self::without_xen()
        }
    }

    /// A program that gets no Xen handle, under the uid of a user that has to be named by
    /// [`user`](Self::user).
    #[must_use]
    pub fn without_xen() -> Self {
        Self {
            guest: None,
            instance: None,
            profile: Profile::default(),
            without: Vec::new(),
            require: Vec::new(),
            user: None,
            devices: Vec::new(),
            grants: Grants::default(),
            read_only: Vec::new(),
            read_write: Vec::new(),
            linked: false,
            dev: false,
            proc: false,
            tmp: None,
            fds: Vec::new(),
            env: Vec::new(),
            limits: Vec::new(),
            cgroup: Vec::new(),
            log_denied: false,
            seal: SealAt::default(),
            program: PathBuf::new(),
            arguments: Vec::new(),
            helper: PathBuf::from("dm-restrict"),
        }
    }

    /// The program and its arguments. Without a `/` it is looked for in `PATH`.
    #[must_use]
    pub fn program<A: Into<OsString>>(
        mut self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.program = program.into();
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Its name among the guest's programs; `dm` if there is none.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Which mechanisms.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Leaves a mechanism out.
    #[must_use]
    pub fn without(mut self, mechanism: Mechanism) -> Self {
        self.without.push(mechanism);
        self
    }

    /// Does not start where the machine lacks it, not even if it
    /// [depends on the host](Mechanism::depends_on_host).
    #[must_use]
    pub fn require(mut self, mechanism: Mechanism) -> Self {
        self.require.push(mechanism);
        self
    }

    /// Another user than the rule of identities gives. It is never reaped.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>) -> Self {
        self.user = Some(name.into());
        self
    }

    /// Which handles are handed over.
    #[must_use]
    pub fn devices(mut self, devices: impl IntoIterator<Item = XenDevice>) -> Self {
        self.devices = devices.into_iter().collect();
        self.devices.sort_unstable();
        self.devices.dedup();
        self
    }

    /// What it can do with its guest's grants; nothing, if not said otherwise.
    #[must_use]
    pub fn grants(mut self, grants: Grants) -> Self {
        self.grants = grants;
        self
    }

    /// A file or directory it can read and execute, at the same path.
    #[must_use]
    pub fn bind_read_only(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_only.push(path.into());
        self
    }

    /// A file or directory it can change, too.
    #[must_use]
    pub fn bind_read_write(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_write.push(path.into());
        self
    }

    /// The dynamic loader and the libraries that the program is linked with.
    #[must_use]
    pub fn bind_linked(mut self) -> Self {
        self.linked = true;
        self
    }

    /// `/dev/null`, `zero`, `full`, `random` and `urandom`.
    #[must_use]
    pub fn dev(mut self) -> Self {
        self.dev = true;
        self
    }

    /// A `/proc` with its own processes only.
    #[must_use]
    pub fn proc(mut self) -> Self {
        self.proc = true;
        self
    }

    /// A `/tmp` of so many bytes, in memory.
    #[must_use]
    pub fn tmp(mut self, bytes: u64) -> Self {
        self.tmp = Some(bytes);
        self
    }

    /// A descriptor that stays open, from number 3 on. One that is named `stdin`,
    /// `stdout` or `stderr` replaces what the program gets otherwise: /dev/null and pipes
    /// to the launcher's.
    #[must_use]
    pub fn fd(mut self, fd: NamedFd) -> Self {
        self.fds.push(fd);
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), EnvValue::Given(value.into())));
        self
    }

    /// An environment variable of the launcher's, as it is when it starts.
    #[must_use]
    pub fn inherit_env(mut self, name: impl Into<OsString>) -> Self {
        self.env.push((name.into(), EnvValue::Inherited));
        self
    }

    /// A limit of the process or its user; replaces the profile's.
    #[must_use]
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limits.push(limit);
        self
    }

    /// A limit of all its processes together; replaces the profile's.
    #[must_use]
    pub fn cgroup_limit(mut self, limit: CgroupLimit) -> Self {
        self.cgroup.push(limit);
        self
    }

    /// Names refused system calls in the launcher's messages. Slower; to find out what a
    /// program needs.
    #[must_use]
    pub fn log_denied(mut self) -> Self {
        self.log_denied = true;
        self
    }

    /// When it is sealed, if it does not do that itself; 30 s after the start.
    #[must_use]
    pub fn seal(mut self, seal: SealAt) -> Self {
        self.seal = seal;
        self
    }

    /// The command `dm-restrict`, if it is not to be looked for in `PATH`.
    #[must_use]
    pub fn helper(mut self, path: impl Into<PathBuf>) -> Self {
        self.helper = path.into();
        self
    }

    /// What can be said without looking at the machine.
    pub(crate) fn check(&self) -> Result<(), InvalidOption> {
        use InvalidOption as Invalid;
        if self.program.as_os_str().is_empty() {
            return Err(Invalid::NoProgram);
        }
        if let Some(name) = &self.instance {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.';
            if name.is_empty()
                || name.len() > 64
                || name.starts_with('.')
                || !name.bytes().all(plain)
            {
                return Err(Invalid::Instance(name.escape_debug().to_string()));
            }
        }
        if self.guest.is_none() && !self.devices.is_empty() {
            return Err(Invalid::NoGuest);
        }
        if self.guest.is_none()
            && self.user.is_none()
            && !self.without.contains(&Mechanism::Identity)
        {
            return Err(Invalid::Nobody);
        }
        if let Grants::Brokered { quota } = self.grants {
            if !(1..=MAX_GRANT_QUOTA).contains(&quota) {
                return Err(Invalid::Grants(self.grants.to_string()));
            }
            if !self.devices.contains(&XenDevice::GrantDevice) {
                return Err(Invalid::GrantsWithoutDevice);
            }
        }
        self.check_mechanisms()?;
        self.check_fds()?;
        for (name, value) in &self.env {
            check_variable(name)?;
            if let EnvValue::Given(value) = value {
                no_nul(value)?;
            }
        }
        for argument in &self.arguments {
            no_nul(argument)?;
        }
        no_nul(self.program.as_os_str())?;
        for path in self.read_only.iter().chain(&self.read_write) {
            check_path(path)?;
        }
        if self.tmp == Some(0) {
            return Err(Invalid::Size("0".into()));
        }
        Ok(())
    }

    fn check_mechanisms(&self) -> Result<(), InvalidOption> {
        use Mechanism as M;
        for mechanism in &self.require {
            if self.without.contains(mechanism) {
                return Err(InvalidOption::Contradiction(*mechanism));
            }
            if !self.profile.has(*mechanism) {
                let (mechanism, profile) = (*mechanism, self.profile);
                return Err(InvalidOption::NotInProfile { mechanism, profile });
            }
        }
        for (mechanism, needs) in [
            (M::Root, M::MountNs),
            (M::Seccomp, M::NoNewPrivs),
            (M::Landlock, M::NoNewPrivs),
        ] {
            if self.has(mechanism) && self.profile.has(needs) && !self.has(needs) {
                return Err(InvalidOption::Needs { mechanism, needs });
            }
        }
        for (used, option, mechanism) in [
            (self.tmp.is_some(), "--tmp", M::Root),
            (self.dev, "--dev", M::Root),
            (self.proc, "--proc", M::Root),
            (self.proc, "--proc", M::PidNs),
            (!self.cgroup.is_empty(), "--cgroup", M::Cgroup),
            (!self.limits.is_empty(), "--rlimit", M::Rlimits),
            (self.user.is_some(), "--user", M::Identity),
            // The filter is the boundary, so it is not to reach who has none; and nothing of
            // the program outlives its broker.
            (self.is_brokered(), "--grants brokered", M::XenRequests),
            (self.is_brokered(), "--grants brokered", M::Identity),
            (self.is_brokered(), "--grants brokered", M::Capabilities),
            (self.is_brokered(), "--grants brokered", M::ParentDeath),
            (self.is_brokered(), "--grants brokered", M::NoNewPrivs),
            (self.is_brokered(), "--grants brokered", M::PidNs),
        ] {
            if used && !self.has(mechanism) {
                return Err(InvalidOption::NoEffect { option, mechanism });
            }
        }
        Ok(())
    }

    fn check_fds(&self) -> Result<(), InvalidOption> {
        for (at, fd) in self.fds.iter().enumerate() {
            let mut before = self.fds[..at].iter();
            if before.any(|other| other.name == fd.name || other.number == fd.number) {
                return Err(InvalidOption::FdTwice(format!("{}={}", fd.name, fd.number)));
            }
        }
        Ok(())
    }

    pub(crate) fn is_brokered(&self) -> bool {
        matches!(self.grants, Grants::Brokered { .. })
    }

    /// Whether a mechanism is to be applied.
    pub(crate) fn has(&self, mechanism: Mechanism) -> bool {
        self.profile.has(mechanism) && !self.without.contains(&mechanism)
    }
}

/// Variables that the program reads to find what it was given.
pub(crate) const OURS: [&str; 5] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "XEN_RESTRICT_DOMID",
];

fn check_variable(name: &OsStr) -> Result<(), InvalidOption> {
    let bytes = name.as_encoded_bytes();
    let shown = || name.to_string_lossy().escape_debug().to_string();
    if bytes.is_empty() || bytes.contains(&b'=') || bytes.contains(&0) {
        return Err(InvalidOption::EnvName(shown()));
    }
    if OURS.iter().any(|taken| *name == **taken) {
        return Err(InvalidOption::EnvTaken(shown()));
    }
    Ok(())
}

fn no_nul(text: &OsStr) -> Result<(), InvalidOption> {
    if text.as_encoded_bytes().contains(&0) {
        return Err(InvalidOption::Nul(
            text.to_string_lossy().escape_debug().to_string(),
        ));
    }
    Ok(())
}

fn check_path(path: &Path) -> Result<(), InvalidOption> {
    no_nul(path.as_os_str())?;
    let up = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if up || path.file_name().is_none() {
        return Err(InvalidOption::Path(
            path.to_string_lossy().escape_debug().to_string(),
        ));
    }
    Ok(())
}

/// Bytes, from a number with or without K, M, G (powers of 1024).
///
/// # Errors
/// It is none, or 0, or 2^64 or more.
pub fn parse_size(text: &str) -> Result<u64, InvalidOption> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = digits.parse().ok().filter(|_| all_digits);
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| InvalidOption::Size(text.escape_debug().to_string()))
}
