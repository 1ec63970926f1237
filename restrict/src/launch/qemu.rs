// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU that libxl starts: root until it has given that up itself.

use std::path::PathBuf;

use super::{
    error::LaunchError,
    filters::Filters,
    options::{Launch, SealAt},
    plan::Plan,
    record::Record,
    start::Started,
};
use crate::audit::{Expectation, Finding, New, Report, Role, Verdict, audit_new, is_alone};
use crate::confine::{
    Mechanism, MechanismError, Profile,
    capabilities::Set,
    qemu::{CAPABILITIES, Inode, Listeners, OPENS_OTHERS, close, has_given_up},
};

/// Where distributions have QEMU for Xen.
pub const QEMU_PROGRAMS: [&str; 3] = [
    "/usr/libexec/xen-qemu-system-i386",
    "/usr/lib/xen/bin/qemu-system-i386",
    "/usr/bin/qemu-system-i386",
];
/// What a guest's config names as `device_model_override`: a link to the command.
pub const QEMU_OVERRIDE: &str = "/usr/libexec/dm-restrict/qemu";

/// For what libxl starts QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QemuStart {
    /// To ask what it can do: it has no guest, and stays root without any capability.
    Probe,
    /// As the device model of a guest: it has given root up, or is ended, when the time of
    /// [`SealAt::After`] is over.
    DeviceModel {
        /// The empty directory that it will enter, without a symbolic link in its path.
        chroot: PathBuf,
        /// Files and devices of dom0 that it may have open to the end, and write to: its disks.
        files: Vec<PathBuf>,
        /// The same, to read only.
        read_only: Vec<PathBuf>,
        /// Other files, and what is below directories, that it may read while it is root, if
        /// `landlock` is in effect: firmware, or what a disk of its is based on.
        reads: Vec<PathBuf>,
        /// Paths of local sockets at which it listens, and the names of the descriptors that are
        /// bound there.
        listeners: Vec<(PathBuf, String)>,
        /// Whether it has to open files that are not root's (CAP_DAC_OVERRIDE).
        opens_others: bool,
    },
}

impl QemuStart {
    /// What it keeps until it gives root up.
    pub(super) fn capabilities(&self) -> Set {
        match self {
            Self::Probe => 0,
            Self::DeviceModel {
                opens_others: true, ..
            } => CAPABILITIES | OPENS_OTHERS,
            Self::DeviceModel { .. } => CAPABILITIES,
        }
    }

    pub(super) fn chroot(&self) -> Option<&PathBuf> {
        match self {
            Self::Probe => None,
            Self::DeviceModel { chroot, .. } => Some(chroot),
        }
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        match self {
            Self::Probe => &[],
            Self::DeviceModel { files, .. } => files,
        }
    }

    pub(super) fn read_only(&self) -> &[PathBuf] {
        match self {
            Self::Probe => &[],
            Self::DeviceModel { read_only, .. } => read_only,
        }
    }

    pub(super) fn reads(&self) -> &[PathBuf] {
        match self {
            Self::Probe => &[],
            Self::DeviceModel { reads, .. } => reads,
        }
    }

    pub(super) fn listeners(&self) -> &[(PathBuf, String)] {
        match self {
            Self::Probe => &[],
            Self::DeviceModel { listeners, .. } => listeners,
        }
    }

    pub(super) fn is_probe(&self) -> bool {
        *self == Self::Probe
    }
}

impl Launch {
    /// QEMU, as libxl starts it: profile `qemu`. It gets its handles when it opens the devices.
    #[must_use]
    pub fn qemu(mut self, start: QemuStart) -> Self {
        if start.is_probe() {
            self.seal = SealAt::Start;
            self.without.push(Mechanism::Identity);
            // Nothing of a guest's is read, and QEMU may be anywhere. It is over at once.
            self.without.push(Mechanism::Landlock);
            self.without.push(Mechanism::Cgroup);
        }
        self.profile = Profile::Qemu;
        self.devices = Vec::new();
        self.qemu = Some(start);
        self
    }
}

impl Plan {
    /// Copies of the sockets at which a QEMU listens by their paths.
    pub(super) fn listeners(&self) -> Result<Listeners, LaunchError> {
        let start = self.launch.qemu.as_ref();
        let all = start.map_or(&[][..], QemuStart::listeners).iter();
        let copied = all.filter_map(|(path, name)| {
            let (_, fd) = self.fds.iter().find(|(fd, _)| fd.name == *name)?;
            Some(fd.try_clone().map(|copy| (path.clone(), copy)))
        });
        let copied = copied.collect::<Result<_, _>>();
        let copied = copied.map_err(LaunchError::system("duplicate a socket"))?;
        Ok(Listeners::new(copied))
    }
}

/// What is to be proved of a QEMU that says that it has given root up.
pub(crate) struct Promise {
    record: Record,
    new: New,
    /// Where it is then, if `root` is in effect.
    root: Option<(PathBuf, Inode)>,
}

impl Promise {
    pub(crate) fn of(plan: &Plan, record: &Record, started: &mut Started) -> Option<Self> {
        let chroot = plan.launch.qemu.as_ref()?.chroot()?;
        Some(Self {
            record: record.clone(),
            new: New {
                filters: started.filters.each_ref().map(Filters::programs),
                members: started.members.take(),
            },
            root: started.goal.map(|goal| (chroot.clone(), goal)),
        })
    }

    /// Looks at it, while it waits for the answer, and takes from it what it needs no more.
    /// What it has then is all that it can have got as root.
    pub(crate) fn redeem(&self) -> Result<(), MechanismError> {
        let Record { pid, uid, gid, .. } = self.record;
        let goal = self.root.as_ref().map(|(_, goal)| *goal);
        has_given_up(pid, uid, gid, goal).map_err(|what| {
            let reason = format!("QEMU has not given up root: {what}");
            let remedy = "read its log; it is to be started with -xen-domid-restrict";
            MechanismError::new(Mechanism::Identity, reason, remedy)
        })?;
        self.is_alone()?;
        if let Some((chroot, goal)) = &self.root {
            close(pid, chroot, *goal)?;
        }
        self.keeps_nothing()
    }

    /// What it starts from here on is not root.
    fn is_alone(&self) -> Result<(), MechanismError> {
        let Record { pid, init_pid, .. } = self.record;
        let Some(init) = init_pid else { return Ok(()) };
        let what = match is_alone(pid, init, &self.new) {
            Ok(true) => return Ok(()),
            Ok(false) => "it has started another process".to_owned(),
            Err(error) => error.to_string(),
        };
        let reason = format!("QEMU has given up root, and may not be alone: {what}");
        Err(MechanismError::new(Mechanism::PidNs, reason, KEEPS))
    }

    /// By an audit. All its threads are stopped for that: so none is in a call that could still
    /// bring it something of the time before.
    fn keeps_nothing(&self) -> Result<(), MechanismError> {
        let expectation = Expectation::try_from(self.record.clone()).map(|expectation| {
            // Reading the filters is what stops it.
            Expectation {
                filters: true,
                ..expectation
            }
        });
        let report =
            expectation.and_then(|expectation| audit_new(self.record.pid, &expectation, &self.new));
        let report = report.map_err(|error| {
            let reason = format!("QEMU, which has given up root, cannot be audited: {error}");
            MechanismError::new(Mechanism::Fds, reason, "nothing is known of what it keeps")
        })?;
        let Some((mechanism, what)) = wrong(&report, self.record.init_pid.is_some()) else {
            return Ok(());
        };
        let reason = format!("QEMU has given up root, and keeps what it must not: {what}");
        Err(MechanismError::new(mechanism, reason, KEEPS))
    }
}

const KEEPS: &str = "if it is the QEMU that xl starts, a disk of its guest may have taken it over: do \
                     not start it from there again (a check is left out by `without` in the \
                     settings, but not that of Xen's handles)";

/// All that does not hold, and whose business the first is. In a pid namespace it is `alone`.
fn wrong(report: &Report, alone: bool) -> Option<(Mechanism, String)> {
    let is = |verdict| matches!(verdict, Verdict::Fails | Verdict::NotObserved);
    let handles = report.handles.iter().filter(|handle| is(handle.verdict));
    let handles = handles.map(|handle| {
        let held = match handle.fd {
            Some(number) => format!("descriptor {number}: "),
            None => String::new(),
        };
        let what = format!("{held}{}, {}", handle.device, handle.seen);
        (Mechanism::XenRequests, what)
    });
    // What its memory has for an environment is nothing of dom0's, and a script's own.
    let findings = report
        .findings
        .iter()
        .filter(|finding| is(finding.verdict) && finding.check != Mechanism::Env);
    let findings = findings.map(|finding| {
        let Finding { check, seen, .. } = finding;
        (*check, format!("{check}: {seen}"))
    });
    // It could have been root still when dom0's files were taken out of its mount namespace.
    let processes = report.processes.iter();
    let others = processes.filter(|process| alone && process.role == Role::Other);
    let others = others.map(|process| {
        let what = format!("process {} was started by it", process.pid);
        (Mechanism::Identity, what)
    });
    let all: Vec<_> = others.chain(handles).chain(findings).collect();
    let texts: Vec<_> = all.iter().map(|(_, text)| text.as_str()).collect();
    let (mechanism, _) = all.first()?;
    Some((*mechanism, texts.join("; ")))
}
