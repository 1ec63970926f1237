// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a dom0 has besides hypervisor and kernel, as data. In all of it `{xen}` stands for
//! Xen's version, and `{roms}` for the folder of network cards' ROMs.

use clap::builder::PossibleValue;

use crate::suite::Suite;

/// What a dom0 is for. Those with more have all of those with less.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) name: &'static str,
    help: &'static str,
    /// Does it have systemd?
    systemd: bool,
    /// As its first process?
    pub(crate) boots_systemd: bool,
    /// Does it have the suite's own device model?
    qemu: bool,
    /// Files that are no programs.
    files: &'static [&'static str],
}

pub(crate) static TOOLSTACK: Contents = Contents {
    name: "toolstack",
    help: "What PVH guests need",
    systemd: false,
    boots_systemd: false,
    qemu: false,
    files: &[],
};

pub(crate) static SYSTEMD: Contents = Contents {
    name: "systemd",
    help: "systemd as well, for services",
    systemd: true,
    boots_systemd: false,
    qemu: false,
    files: &[],
};

pub(crate) static STOCK_QEMU: Contents = Contents {
    name: "stock-qemu",
    help: "The suite's QEMU as well, for HVM guests",
    systemd: true,
    boots_systemd: false,
    qemu: true,
    files: &[
        "etc/xen/scripts/hotplugpath.sh",
        "etc/xen/scripts/locking.sh",
        "etc/xen/scripts/logging.sh",
        "etc/xen/scripts/vif-bridge",
        "etc/xen/scripts/vif-common.sh",
        "etc/xen/scripts/xen-hotplug-common.sh",
        "etc/xen/scripts/xen-network-common.sh",
        "etc/xen/scripts/xen-script-common.sh",
        "usr/lib/xen-{xen}/boot/hvmloader",
        "{roms}/efi-rtl8139.rom",
        "usr/share/qemu/keymaps/en-us",
        "usr/share/seabios/bios-256k.bin",
        "usr/share/seabios/vgabios-cirrus.bin",
        "usr/share/seabios/vgabios-stdvga.bin",
    ],
};

pub(crate) static DEBIAN: Contents = Contents {
    name: "debian",
    help: "The same, with systemd as its first process, as Debian boots",
    boots_systemd: true,
    ..STOCK_QEMU
};

pub(crate) const DEFAULT: &str = "toolstack";

/// Packages whose dependency closure holds all that an image takes files from.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "linux-image-amd64",
    "xen-hypervisor-{xen}-amd64",
    "xen-utils-common",
    "xen-utils-{xen}",
    "xenstore-utils",
];

/// Programs of dom0; the libraries they need come along by themselves.
const PROGRAMS: &[&str] = &[
    "usr/lib/xen-{xen}/bin/depriv-fd-checker",
    "usr/lib/xen-{xen}/bin/libxl-save-helper",
    "usr/lib/xen-{xen}/bin/lsevtchn",
    "usr/lib/xen-{xen}/bin/xen-init-dom0",
    "usr/lib/xen-{xen}/bin/xenconsoled",
    "usr/lib/xen-{xen}/bin/xenstored",
    "usr/lib/xen-{xen}/bin/xl",
    "usr/bin/xenstore-ls",
    "usr/bin/xenstore-read",
    "usr/bin/xenstore-write",
];

/// Libraries that programs load by themselves, so that their headers do not name them: the
/// C library gets the first when a thread is cancelled, and bullseye's the second when a
/// user is looked up.
pub(crate) const LOADED_LATER: &[&str] = &["libgcc_s.so.1", "libnss_files.so.2"];

/// Kernel modules, in the order in which init loads them.
pub(crate) const MODULES: &[&str] = &[
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntalloc",
    "xen-gntdev",
    "xenfs",
    "tun",
    "loop",
    "llc",
    "stp",
    "bridge",
    "xen-netback",
];

/// What HVM guests need besides QEMU: their network cards have a ROM, and xl's script for them
/// is bash's.
const BESIDE_QEMU: &[&str] = &["bash", "ipxe-qemu"];
const BASH: &str = "bin/bash";

impl Contents {
    /// The smallest that has what both have.
    pub(crate) fn or(&'static self, other: &'static Self) -> &'static Self {
        let size = |contents: &Self| (contents.qemu, contents.systemd);
        if size(other) > size(self) {
            other
        } else {
            self
        }
    }

    pub(crate) fn packages(&self, suite: &Suite) -> Vec<String> {
        fill(
            suite,
            PACKAGES
                .iter()
                .chain(self.systemd.then_some(&"systemd"))
                .chain(self.qemu.then_some(&suite.qemu.package))
                .chain(BESIDE_QEMU.iter().filter(|_| self.qemu)),
        )
    }

    pub(crate) fn programs(&self, suite: &Suite) -> Vec<String> {
        fill(
            suite,
            PROGRAMS
                .iter()
                .chain(suite.systemd.iter().filter(|_| self.systemd))
                .chain(self.qemu.then_some(&suite.qemu.program))
                .chain(self.qemu.then_some(&BASH)),
        )
    }

    pub(crate) fn files(&self, suite: &Suite) -> Vec<String> {
        fill(suite, self.files)
    }
}

fn fill<'a>(suite: &Suite, patterns: impl IntoIterator<Item = &'a &'static str>) -> Vec<String> {
    patterns
        .into_iter()
        .map(|pattern| pattern.replace("{xen}", suite.xen))
        .map(|pattern| pattern.replace("{roms}", suite.roms))
        .collect()
}

impl clap::ValueEnum for &'static Contents {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: [&Contents; 4] = [&TOOLSTACK, &SYSTEMD, &STOCK_QEMU, &DEBIAN];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::SUITES;

    #[test]
    fn patterns_are_filled() {
        let suite = &SUITES[1];
        assert!(
            TOOLSTACK
                .packages(suite)
                .contains(&"xen-utils-4.17".to_owned())
        );
        for contents in [&TOOLSTACK, &SYSTEMD, &STOCK_QEMU, &DEBIAN] {
            let paths = [contents.programs(suite), contents.files(suite)].concat();
            assert!(paths.iter().all(|path| !path.contains('{')));
        }
    }

    #[test]
    fn the_larger_one_serves_both() {
        assert_eq!(TOOLSTACK.or(&TOOLSTACK), &TOOLSTACK);
        for small in [&TOOLSTACK, &SYSTEMD] {
            assert_eq!(small.or(&STOCK_QEMU), &STOCK_QEMU);
            assert_eq!(STOCK_QEMU.or(small), &STOCK_QEMU);
        }
        assert_eq!(TOOLSTACK.or(&SYSTEMD), &SYSTEMD);
        assert_eq!(SYSTEMD.or(&TOOLSTACK), &SYSTEMD);
    }

    #[test]
    fn only_one_has_qemu() {
        let suite = &SUITES[1];
        let program = suite.qemu.program.to_owned();
        assert!(STOCK_QEMU.programs(suite).contains(&program));
        assert!(!TOOLSTACK.programs(suite).contains(&program));
    }
}
