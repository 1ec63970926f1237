// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is to be launched, and how: plain data, that a builder fills.

mod check;
mod invalid;
mod values;

use std::{ffi::OsString, path::PathBuf};

use super::{cgroup_limit::CgroupLimit, qemu::QemuStart};
use crate::{
    confine::{Limit, Mechanism, Profile, xen_requests::Mapping},
    ids::GuestId,
};

pub(crate) use check::OURS;
pub use invalid::InvalidOption;
pub use values::{
    DEFAULT_GRANT_QUOTA, Grants, MAX_GRANT_QUOTA, NamedFd, SealAt, XenDevice, parse_size,
};
pub(crate) use values::{EnvValue, STDIO};

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
    pub(crate) qemu: Option<QemuStart>,
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
    pub(crate) mapping: Mapping,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) helper: PathBuf,
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
            qemu: None,
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
            mapping: Mapping::default(),
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

    /// Refuses to map guest memory once it is sealed; what is mapped stays. For a device
    /// model that maps its guest once: it takes [nothing of dom0's memory](crate::confine::MappingCost)
    /// by that any more.
    #[must_use]
    pub fn seal_mapping(mut self) -> Self {
        self.mapping = Mapping::UntilSealed;
        self
    }

    /// The command `dm-restrict`, if it is not to be looked for in `PATH`.
    #[must_use]
    pub fn helper(mut self, path: impl Into<PathBuf>) -> Self {
        self.helper = path.into();
        self
    }

    pub(crate) fn is_brokered(&self) -> bool {
        matches!(self.grants, Grants::Brokered { .. })
    }

    /// Whether a mechanism is to be applied.
    pub(crate) fn has(&self, mechanism: Mechanism) -> bool {
        self.profile.has(mechanism) && !self.without.contains(&mechanism)
    }
}
