// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be said of options without looking at the machine.

use std::{ffi::OsStr, path::Path};

use super::super::qemu::QemuStart;
use super::{EnvValue, Grants, InvalidOption, Launch, MAX_GRANT_QUOTA, XenDevice};
use crate::confine::{Mechanism, Profile, xen_requests::Mapping};

impl Launch {
    /// The first that makes no sense.
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
            && self.qemu != Some(QemuStart::Probe)
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
        if (self.profile == Profile::Qemu) != self.qemu.is_some() {
            return Err(InvalidOption::NotRun);
        }
        // It shows when root is given up.
        if self.qemu.is_some() && self.without.contains(&M::XenRequests) {
            return Err(InvalidOption::NeededByQemu(M::XenRequests));
        }
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
            (
                self.mapping == Mapping::UntilSealed,
                "--seal-mapping",
                M::XenRequests,
            ),
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
