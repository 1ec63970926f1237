// SPDX-License-Identifier: MIT OR Apache-2.0
//! The systems the lab can boot, as data.

use clap::builder::PossibleValue;

use crate::dom0::{Dom0, PV, PVH};

/// A Debian suite and what of it makes up a dom0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// Xen's version as package and folder names carry it.
    pub(crate) xen: &'static str,
    pub(crate) linux: &'static str,
    /// Archives besides the suite itself, as suffixes of its name.
    pub(crate) updates: &'static [&'static str],
    /// Is there a security archive?
    pub(crate) security: bool,
    /// The device model of its HVM guests.
    pub(crate) qemu: &'static Qemu,
    /// Where the ROMs of their network cards are.
    pub(crate) roms: &'static str,
    /// systemd's programs.
    pub(crate) systemd: &'static [&'static str],
    /// The kinds of dom0 that it boots.
    pub(crate) dom0s: &'static [&'static Dom0],
}

/// Where a suite has QEMU for Xen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Qemu {
    pub(crate) package: &'static str,
    pub(crate) program: &'static str,
}

/// One of its own, since bookworm.
static QEMU_SYSTEM_XEN: Qemu = Qemu {
    package: "qemu-system-xen",
    program: "usr/libexec/xen-qemu-system-i386",
};

static QEMU_SYSTEM_X86: Qemu = Qemu {
    package: "qemu-system-x86",
    program: "usr/bin/qemu-system-i386",
};

const SYSTEMD: &[&str] = &[
    "usr/lib/systemd/systemd",
    "usr/bin/systemctl",
    "usr/bin/systemd-run",
];

/// With a program of its own that starts others, since 255.
const SYSTEMD_255: &[&str] = &[
    "usr/lib/systemd/systemd",
    "usr/lib/systemd/systemd-executor",
    "usr/bin/systemctl",
    "usr/bin/systemd-run",
];

pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "bullseye",
        xen: "4.14",
        linux: "5.10",
        updates: &[],
        security: true,
        qemu: &QEMU_SYSTEM_X86,
        roms: "usr/lib/ipxe/qemu",
        systemd: SYSTEMD,
        dom0s: &[&PV],
    },
    Suite {
        name: "bookworm",
        xen: "4.17",
        linux: "6.1",
        updates: &["-updates"],
        security: true,
        qemu: &QEMU_SYSTEM_XEN,
        roms: "usr/lib/ipxe/qemu",
        systemd: SYSTEMD,
        dom0s: &[&PV, &PVH],
    },
    Suite {
        name: "trixie",
        xen: "4.20",
        linux: "6.12",
        updates: &["-updates"],
        security: true,
        qemu: &QEMU_SYSTEM_XEN,
        roms: "usr/share/qemu",
        systemd: SYSTEMD_255,
        dom0s: &[&PV, &PVH],
    },
    Suite {
        name: "sid",
        xen: "4.20",
        linux: "7.2",
        updates: &[],
        security: false,
        qemu: &QEMU_SYSTEM_XEN,
        roms: "usr/share/qemu",
        systemd: SYSTEMD_255,
        dom0s: &[&PV, &PVH],
    },
];

pub(crate) const DEFAULT: &str = "bookworm";

impl Suite {
    /// Where the toolstack's programs are in dom0.
    pub(crate) fn xen_bin(&self) -> String {
        format!("/usr/lib/xen-{}/bin", self.xen)
    }
}

impl clap::ValueEnum for &'static Suite {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: [&Suite; 4] = [&SUITES[0], &SUITES[1], &SUITES[2], &SUITES[3]];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = format!("Xen {}, Linux {}", self.xen, self.linux);
        Some(PossibleValue::new(self.name).help(help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn the_default_exists() {
        assert!(SUITES.iter().any(|s| s.name == DEFAULT));
    }

    #[test]
    fn names_are_unique_and_all_are_offered() {
        let mut names: Vec<_> = SUITES.iter().map(|s| s.name).collect();
        let offered: Vec<_> = <&Suite>::value_variants().iter().map(|s| s.name).collect();
        assert_eq!(names, offered);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUITES.len());
    }
}
