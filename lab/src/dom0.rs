// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kinds of dom0 that the lab can boot, as data.

use clap::builder::PossibleValue;

/// How dom0 runs, and what the emulated machine needs for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dom0 {
    pub(crate) name: &'static str,
    help: &'static str,
    /// Added to Xen's command line.
    pub(crate) xen: &'static str,
    /// Added to QEMU's.
    pub(crate) qemu: &'static [&'static str],
    /// Processor features that are switched on or off besides those of every kind.
    pub(crate) cpu: &'static str,
}

pub(crate) static PV: Dom0 = Dom0 {
    name: "pv",
    help: "Paravirtualised: the usual kind",
    xen: "",
    qemu: &[],
    cpu: "",
};

pub(crate) static PVH: Dom0 = Dom0 {
    name: "pvh",
    help: "In hardware's protection, as a PVH guest: other paths in the kernel",
    xen: " dom0=pvh",
    // Xen wants an IOMMU for it.
    qemu: &["-machine", "q35", "-device", "intel-iommu"],
    // Xen has to emulate rdtscp without TCG telling the next instruction, and spins;
    // Linux 7.2 dies while it sets up xsave.
    cpu: ",-rdtscp,-xsave",
};

pub(crate) const DEFAULT: &str = "pv";

impl clap::ValueEnum for &'static Dom0 {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: [&Dom0; 2] = [&PV, &PVH];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).help(self.help))
    }
}
