// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the lab and the tests need on this machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::progress::say;

/// A package of this machine, and a file that tells whether it is there.
pub(crate) struct HostPackage {
    name: &'static str,
    file: &'static str,
}

/// For booting.
pub(crate) const BOOT: &[HostPackage] = &[
    HostPackage {
        name: "qemu-system-x86",
        file: "/usr/bin/qemu-system-x86_64",
    },
    HostPackage {
        name: "seabios",
        file: "/usr/share/seabios/bios-256k.bin",
    },
    HostPackage {
        name: "xz-utils",
        file: "/usr/bin/xz",
    },
];

/// For building, and for the tests that compare with C headers.
pub(crate) const BUILD: &[HostPackage] = &[
    HostPackage {
        name: "gcc",
        file: "/usr/bin/gcc",
    },
    HostPackage {
        name: "libc6-dev",
        file: "/usr/lib/x86_64-linux-gnu/libc.a",
    },
    HostPackage {
        name: "linux-libc-dev",
        file: "/usr/include/linux/ioctl.h",
    },
    HostPackage {
        name: "libxen-dev",
        file: "/usr/include/xen/xen.h",
    },
];

/// For Debian packages.
pub(crate) const PACKAGING: &[HostPackage] = &[
    HostPackage {
        name: "debhelper",
        file: "/usr/bin/dh",
    },
    HostPackage {
        name: "dpkg-dev",
        file: "/usr/bin/dpkg-buildpackage",
    },
    HostPackage {
        name: "lintian",
        file: "/usr/bin/lintian",
    },
    HostPackage {
        name: "mmdebstrap",
        file: "/usr/bin/mmdebstrap",
    },
];

/// For the tests of the C interface.
pub(crate) const C: &[HostPackage] = &[
    HostPackage {
        name: "g++",
        file: "/usr/bin/g++",
    },
    HostPackage {
        name: "valgrind",
        file: "/usr/bin/valgrind",
    },
    HostPackage {
        name: "python3",
        file: "/usr/bin/python3",
    },
    HostPackage {
        name: "pkg-config",
        file: "/usr/bin/pkg-config",
    },
];

/// For benches on this machine.
pub(crate) const BENCHES: &[HostPackage] = &[
    HostPackage {
        name: "bubblewrap",
        file: "/usr/bin/bwrap",
    },
    HostPackage {
        name: "valgrind",
        file: "/usr/bin/valgrind",
    },
];

/// Installs what is missing, or, without root, names the command that does.
///
/// # Errors
/// Not Debian, not root, or apt fails.
pub(crate) fn need(packages: &[&[HostPackage]]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .flat_map(|list| list.iter())
        .filter(|package| !Path::new(package.file).exists())
        .map(|package| package.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("{names} missing on this machine, and it has no apt-get: install them by hand");
    }
    let remedy = format!("apt-get update && apt-get install --no-install-recommends {names}");
    if !nix::unistd::geteuid().is_root() {
        bail!("{names} missing on this machine. Install with:\n  sudo sh -c '{remedy}'");
    }
    say(&format!("installing {names}"));
    let install = || {
        process::run(
            Command::new("apt-get")
                .args(["install", "-y", "-q", "--no-install-recommends"])
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    // The machine's lists may be there and good; fetching them costs a minute on some.
    if install().is_err() {
        process::run(Command::new("apt-get").args(["update", "-q"]))
            .with_context(|| format!("{names} missing, and apt-get cannot fetch them"))?;
        install().with_context(|| format!("cannot install {names}; by hand: {remedy}"))?;
    }
    Ok(())
}
