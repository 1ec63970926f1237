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
    /// The kinds of dom0 that it boots.
    pub(crate) dom0s: &'static [&'static Dom0],
}

pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "bullseye",
        xen: "4.14",
        linux: "5.10",
        updates: &[],
        security: true,
        dom0s: &[&PV],
    },
    Suite {
        name: "bookworm",
        xen: "4.17",
        linux: "6.1",
        updates: &["-updates"],
        security: true,
        dom0s: &[&PV, &PVH],
    },
    Suite {
        name: "trixie",
        xen: "4.20",
        linux: "6.12",
        updates: &["-updates"],
        security: true,
        dom0s: &[&PV, &PVH],
    },
    Suite {
        name: "sid",
        xen: "4.20",
        linux: "7.2",
        updates: &[],
        security: false,
        dom0s: &[&PV, &PVH],
    },
];

pub(crate) const DEFAULT: &str = "bookworm";

/// Packages whose dependency closure holds all that the image takes files from. `{xen}`
/// stands for Xen's version.
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
/// C library gets this one when a thread is cancelled.
pub(crate) const LOADED_LATER: &[&str] = &["libgcc_s.so.1"];

/// Kernel modules, in the order in which init loads them.
pub(crate) const MODULES: &[&str] = &[
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntalloc",
    "xen-gntdev",
    "xenfs",
];

impl Suite {
    pub(crate) fn packages(&self) -> Vec<String> {
        self.fill(PACKAGES)
    }

    pub(crate) fn programs(&self) -> Vec<String> {
        self.fill(PROGRAMS)
    }

    /// Where the toolstack's programs are in dom0.
    pub(crate) fn xen_bin(&self) -> String {
        format!("/usr/lib/xen-{}/bin", self.xen)
    }

    fn fill(&self, patterns: &[&str]) -> Vec<String> {
        patterns
            .iter()
            .map(|pattern| pattern.replace("{xen}", self.xen))
            .collect()
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

    #[test]
    fn patterns_are_filled() {
        let suite = &SUITES[1];
        assert!(suite.packages().contains(&"xen-utils-4.17".to_owned()));
        assert!(suite.programs().iter().all(|p| !p.contains('{')));
    }
}
