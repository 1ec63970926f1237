// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is going to be done, on this machine: made from the options, shown by
//! `--dry-run`, and carried out as it is.

use std::{
    fmt::{self, Write as _},
    os::fd::OwnedFd,
    path::PathBuf,
};

use nix::unistd::{Uid, getegid, geteuid};

use super::{
    cgroup_limit::CgroupLimit,
    child::Rules,
    error::LaunchError,
    filters::Filters,
    group::Group,
    handles,
    instance::RUN_DIR,
    options::{EnvValue, Grants, InvalidOption, Launch, NamedFd, SealAt, XenDevice},
    preload, program,
    qemu::QemuStart,
};
use crate::confine::{
    Identity, Limit, MappingCost, Mechanism, MechanismError, Profile, UserDb, landlock,
    named::{self, Named},
    not_sent,
    only_files::only_files,
    qemu, renamers, rlimits,
    root::{self, Contents, Shown},
    seccomp::{self, Denied},
    xen_requests::{self, Mapping, Phase},
};
use crate::handover::{GRANT_BROKER_NAME, GRANT_COPY_NAME};

/// The options with all that the machine adds to them.
#[derive(Debug)]
pub struct Plan {
    pub(crate) launch: Launch,
    /// Copies of those that are handed over, until the program is started.
    pub(crate) fds: Vec<(NamedFd, OwnedFd)>,
    pub(crate) identity: Option<Identity>,
    pub(crate) program: PathBuf,
    pub(crate) contents: Contents,
    /// The files of it, until the program is started.
    pub(crate) named: Vec<Named>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) cgroup: Option<Group>,
    pub(crate) cgroup_limits: Vec<CgroupLimit>,
    pub(crate) landlock_abi: Option<u32>,
    pub(crate) absent: Vec<MechanismError>,
}

impl Plan {
    /// Looks at the options and the machine; changes nothing.
    ///
    /// # Errors
    /// [`LaunchError`]: what makes no sense, or cannot be had here.
    pub fn new(launch: Launch) -> Result<Self, LaunchError> {
        launch.check()?;
        // Before this process opens anything: a number that was not open would be that.
        let mut fds = handles::named(&launch)?;
        let mut launch = launch;
        fds.extend(preload::add(&mut launch)?.map(|(fd, file)| (fd, file.into())));
        let identity = choose(&launch)?;
        let program = program::find(&launch.program)?;
        let mut contents = Contents {
            read_only: absolute(&launch.read_only)?,
            read_write: absolute(&launch.read_write)?,
            devices: launch.dev,
            proc: launch.proc,
            tmp: launch.tmp,
        };
        each_once(&contents)?;
        if launch.linked {
            contents.read_only.extend(program::linked(&program)?);
        }
        // QEMU sees it with all that is dom0's.
        if launch.qemu.is_none() {
            contents.read_only.push(program.clone());
        }
        contents.read_only.sort();
        contents.read_only.dedup();
        let mut named = Vec::new();
        if launch.has(Mechanism::Root) {
            named = named::open(&contents)?;
            only_files(&named)?;
        }

        let mut plan = Self {
            limits: match launch.has(Mechanism::Rlimits) {
                true => rlimits::of_profile(launch.profile, &launch.limits),
                false => Vec::new(),
            },
            cgroup_limits: CgroupLimit::all(&launch.cgroup),
            launch,
            fds,
            identity,
            program,
            contents,
            named,
            cgroup: None,
            landlock_abi: None,
            absent: Vec::new(),
        };
        if plan.launch.has(Mechanism::Landlock) {
            plan.landlock_abi = plan.host(landlock::abi())?;
        }
        if plan.launch.has(Mechanism::Cgroup) {
            plan.cgroup = plan.host(Group::of(&plan.launch))?;
        }
        Ok(plan)
    }

    /// What the machine lacks is noted, if it is not required.
    fn host<T>(&mut self, offered: Result<T, MechanismError>) -> Result<Option<T>, LaunchError> {
        match offered {
            Ok(found) => Ok(Some(found)),
            Err(absent) if !self.launch.require.contains(&absent.mechanism) => {
                self.absent.push(absent);
                Ok(None)
            }
            Err(absent) => Err(absent.into()),
        }
    }

    /// Mechanisms that were to be applied, and that this machine does not have.
    #[must_use]
    pub fn absent(&self) -> &[MechanismError] {
        &self.absent
    }

    /// What else somebody should know before it starts.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let identity = self.identity.as_ref().and_then(Identity::warning);
        let absent = self
            .absent
            .iter()
            .map(|absent| format!("not applied: {absent}"));
        let paths = self.named.iter().map(|named| named.path.as_path());
        let paths = renamers::warnings(paths, self.ids());
        identity.into_iter().chain(absent).chain(paths).collect()
    }

    /// Whether a mechanism will be in force.
    #[must_use]
    pub fn applies(&self, mechanism: Mechanism) -> bool {
        let absent = self
            .absent
            .iter()
            .any(|absent| absent.mechanism == mechanism);
        self.launch.has(mechanism) && !absent
    }

    /// The uid and gid of the program.
    pub(crate) fn ids(&self) -> (u32, u32) {
        ids(self.identity.as_ref())
    }

    /// Paths for Landlock: to be read, and to be changed.
    pub(crate) fn landlock_paths(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut read_only = self.contents.read_only.clone();
        let mut read_write = self.contents.read_write.clone();
        if self.contents.proc {
            read_only.push("/proc".into());
        }
        if self.contents.devices {
            read_write.extend(root::DEVICES.map(PathBuf::from));
        }
        if self.contents.tmp.is_some() {
            read_write.push("/tmp".into());
        }
        if let Some(start) = &self.launch.qemu {
            read_write.extend(start.files().iter().cloned());
            read_only.extend(start.read_only().iter().cloned());
        } else if self.applies(Mechanism::Root) {
            // From version 9 on a socket of others takes a path that is named.
            read_write.push(root::NOTIFY.into());
        }
        (read_only, read_write)
    }

    /// The same, and what a QEMU needs that is root.
    pub(crate) fn landlock_rules(&self) -> Rules {
        let (mut read_only, mut read_write) = self.landlock_paths();
        let Some(start) = &self.launch.qemu else {
            return Rules::All(read_only, read_write);
        };
        read_only.push(self.program.clone());
        read_only.extend(qemu::to_read());
        read_only.extend(start.reads().iter().cloned());
        read_write.extend(qemu::to_write());
        Rules::Files(read_only, read_write)
    }

    /// The program's filters.
    pub(crate) fn filters(&self) -> Result<Filters, LaunchError> {
        if self
            .launch
            .qemu
            .as_ref()
            .is_some_and(|start| !start.is_probe())
        {
            let denied = match self.launch.log_denied {
                true => Denied::Notify,
                false => Denied::Errno,
            };
            return Ok(Filters::of_qemu(self.applies(Mechanism::Seccomp), denied)?);
        }
        let phase = match self.launch.seal {
            SealAt::Start => Phase::Sealed,
            SealAt::After(_) => Phase::SetUp,
        };
        let denied = match self.launch.log_denied {
            true => Denied::Notify,
            false => Denied::Errno,
        };
        let xen_requests = self.applies(Mechanism::XenRequests);
        let seccomp = self.applies(Mechanism::Seccomp);
        let brokered = self.launch.is_brokered();
        Ok(Filters::new(
            xen_requests,
            seccomp,
            brokered,
            phase,
            self.launch.mapping,
            denied,
        )?)
    }

    /// Of dom0's memory, while it may map its guest's.
    fn mapping_cost(&self) -> MappingCost {
        let limit = |name| {
            let mut limits = self.limits.iter();
            limits
                .find(|limit| limit.name() == name)
                .and_then(Limit::value)
        };
        let pids = match self.applies(Mechanism::Cgroup) {
            true => CgroupLimit::value(&self.cgroup_limits, "pids.max"),
            false => None,
        };
        let threads = limit("nproc").into_iter().chain(pids).min();
        MappingCost::within(limit("as"), threads)
    }

    /// Whose directory it is in.
    pub(crate) fn key(&self) -> String {
        match (self.launch.guest, self.identity.as_ref()) {
            (Some(guest), _) => guest.get().to_string(),
            (None, _) => format!("uid-{}", self.ids().0),
        }
    }

    /// Its name there.
    pub(crate) fn instance(&self) -> String {
        match (&self.launch.instance, self.launch.guest) {
            (Some(name), _) => name.clone(),
            (None, Some(_)) => "dm".into(),
            (None, None) => format!("pid-{}", std::process::id()),
        }
    }
}

fn choose(launch: &Launch) -> Result<Option<Identity>, LaunchError> {
    // It asks what QEMU can do, before there is a guest.
    if launch.qemu == Some(QemuStart::Probe) {
        return Ok(None);
    }
    if !launch.has(Mechanism::Identity) {
        if geteuid().is_root() {
            let reason = "without it the program would be root";
            let remedy = "leave it in, or start the launcher as another user";
            return Err(MechanismError::new(Mechanism::Identity, reason, remedy).into());
        }
        return Ok(None);
    }
    let db = UserDb::from_system()?;
    let identity = match (launch.guest, &launch.user) {
        (Some(guest), user) => Identity::choose(guest, user.as_deref(), &db)?,
        (None, Some(user)) => Identity::of_user(user, &db)?,
        (None, None) => return Err(InvalidOption::Nobody.into()),
    };
    Ok(Some(identity))
}

fn ids(identity: Option<&Identity>) -> (u32, u32) {
    match identity {
        Some(identity) => (identity.uid(), identity.gid()),
        None => (geteuid().as_raw(), getegid().as_raw()),
    }
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, LaunchError> {
    let one = |path: &PathBuf| {
        root::absolute(path).map_err(LaunchError::system("tell where a path leads"))
    };
    paths.iter().map(one).collect()
}

/// No path is named twice, where one would hide the other.
fn each_once(contents: &Contents) -> Result<(), InvalidOption> {
    let twice = |path: &PathBuf, also| {
        let path = path.to_string_lossy().escape_debug().to_string();
        Err(InvalidOption::PathTwice { path, also })
    };
    for path in contents.read_only.iter().chain(&contents.read_write) {
        if contents.proc && path.starts_with("/proc") {
            return twice(path, "--proc");
        }
        if contents.tmp.is_some() && path.as_os_str() == "/tmp" {
            return twice(path, "--tmp");
        }
    }
    let mut read_only = contents.read_only.iter();
    match read_only.find(|path| contents.read_write.contains(path)) {
        Some(path) => twice(path, "--bind-rw as well as --bind-ro"),
        None => Ok(()),
    }
}

/// For a person: every mechanism, and what it will be.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let launch = &self.launch;
        writeln!(f, "program       {}", Shown(&self.program))?;
        if let Some(guest) = launch.guest {
            writeln!(f, "guest         {guest}")?;
        }
        writeln!(f, "profile       {}", launch.profile)?;
        if Uid::effective().is_root() {
            writeln!(
                f,
                "known as      {RUN_DIR}/{}/{}",
                self.key(),
                self.instance()
            )?;
        }
        writeln!(f, "\nmechanism     what it will be")?;
        for mechanism in Mechanism::ALL {
            let absent = self
                .absent
                .iter()
                .find(|absent| absent.mechanism == mechanism);
            let will = if let Some(absent) = absent {
                format!("ABSENT: {}; {}", absent.reason, absent.remedy)
            } else if launch.without.contains(&mechanism) {
                "LEFT OUT by name".into()
            } else if !launch.profile.has(mechanism) {
                format!("not in profile {}", launch.profile)
            } else {
                self.detail(mechanism)
            };
            writeln!(f, "{:<13} {will}", mechanism.name())?;
        }
        self.handed_over(f)?;
        if self.applies(Mechanism::XenRequests) {
            writeln!(f, "\nrequests on Xen's devices")?;
            xen_requests::describe(f, self.launch.mapping)?;
        }
        if self.launch.is_brokered() {
            writeln!(
                f,
                "\nrefused, as they could send the gntdev handle to others"
            )?;
            not_sent::describe(f)?;
        }
        if self.applies(Mechanism::Seccomp) {
            writeln!(f, "\nsystem calls")?;
            seccomp::describe(f)?;
        }
        Ok(())
    }
}

impl Plan {
    fn detail(&self, mechanism: Mechanism) -> String {
        match mechanism {
            Mechanism::Identity => self
                .identity
                .as_ref()
                .map_or(String::new(), ToString::to_string),
            Mechanism::Capabilities if self.launch.qemu.is_some() => {
                "few until root is given up, then none; no others can be had".into()
            }
            Mechanism::Capabilities if self.launch.profile == Profile::Libxl => {
                "none, as the change of uid leaves it".into()
            }
            Mechanism::Rlimits => words(&self.limits),
            Mechanism::Cgroup => words(&self.cgroup_limits),
            Mechanism::Landlock => {
                format!(
                    "version {}: only the paths below",
                    self.landlock_abi.unwrap_or(0)
                )
            }
            Mechanism::XenRequests => {
                let when = match self.launch.seal {
                    SealAt::Start => "before it starts".into(),
                    SealAt::After(time) => {
                        format!("at READY=1, or {} s after the start", time.as_secs())
                    }
                };
                let until = match self.launch.mapping {
                    Mapping::Always => "at any time",
                    Mapping::UntilSealed => "until then",
                };
                let cost = self.mapping_cost();
                format!(
                    "sealed {when}; table below; mapping its guest can take of dom0's memory, \
                     {until}, {cost}"
                )
            }
            Mechanism::Seccomp if self.launch.log_denied => {
                "allowlist below; each refused call is named".into()
            }
            Mechanism::Seccomp => "allowlist below".into(),
            Mechanism::Env => {
                let names: Vec<_> = self
                    .launch
                    .env
                    .iter()
                    .map(|(name, value)| match value {
                        EnvValue::Given(_) => name.to_string_lossy().escape_debug().to_string(),
                        EnvValue::Inherited => {
                            format!("{} (inherited)", name.to_string_lossy().escape_debug())
                        }
                    })
                    .collect();
                format!(
                    "named: {}",
                    if names.is_empty() {
                        "none".into()
                    } else {
                        names.join(" ")
                    }
                )
            }
            other => other.does().into(),
        }
    }

    fn handed_over(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nfiles")?;
        let mut text = String::new();
        for path in &self.contents.read_only {
            writeln!(text, "  read, execute  {}", Shown(path))?;
        }
        for path in &self.contents.read_write {
            writeln!(text, "  change         {}", Shown(path))?;
        }
        if self.contents.devices {
            writeln!(text, "  devices        {}", root::DEVICES.join(" "))?;
        }
        if self.contents.proc {
            writeln!(text, "  its processes  \"/proc\"")?;
        }
        if let Some(size) = self.contents.tmp {
            writeln!(text, "  in memory      \"/tmp\", {size} bytes")?;
        }
        f.write_str(&text)?;
        writeln!(f, "\ndescriptors")?;
        for (number, name) in super::fd_names(&self.launch) {
            let what = match name.as_str() {
                "stdin" => "/dev/null".to_owned(),
                "stdout" | "stderr" => "a pipe; the supervisor passes it on".into(),
                name if name == XenDevice::GrantDevice.fd_name() && self.launch.is_brokered() => {
                    "only to be mapped; the supervisor makes the requests".into()
                }
                GRANT_BROKER_NAME => match self.launch.grants {
                    Grants::Brokered { quota } => {
                        format!("to the supervisor, for {quota} pages of grants at a time")
                    }
                    Grants::Revoked => String::new(),
                },
                GRANT_COPY_NAME => "memory shared with the supervisor, for copies".into(),
                name if name == XenDevice::GrantDevice.fd_name() => {
                    "revoked: /dev/null, as nothing restricts the device".into()
                }
                name if XenDevice::ALL.iter().any(|device| device.fd_name() == name) => {
                    "restricted to the guest and verified".into()
                }
                _ => String::new(),
            };
            let named = self.launch.fds.iter().find(|fd| fd.name == name);
            let what = named.map_or(what, |fd| {
                format!("the launcher's descriptor {}", fd.number)
            });
            writeln!(f, "  {number:<3} {name:<16} {what}")?;
        }
        Ok(())
    }
}

fn words<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
