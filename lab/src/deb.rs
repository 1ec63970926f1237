// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian packages: `debian/` says what is in them, and Debian's own tools make them. The
//! check looks at them with lintian, and installs them into a clean Debian and removes them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::debian::Debian;
use crate::host;
use crate::paths;
use crate::process;
use crate::steps::is_skipped;
use crate::suite;

/// The system that they are for; it has what a C programmer has, and systemd.
const CLEAN: Debian = Debian {
    suite: suite::DEFAULT,
    name: "clean-1.tar",
    room: 1500,
    options: &[
        "--variant=minbase",
        "--include=systemd,gcc,libc6-dev,pkg-config",
        // Translations are most of what nobody looks at here.
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ],
};

const CHECK: &str = include_str!("deb.sh");

/// Makes the packages; returns their paths.
///
/// # Errors
/// They cannot be made.
fn build() -> Result<Vec<PathBuf>> {
    host::need(&[host::BUILD, host::PACKAGING])?;
    let target = paths::target()?;
    let folder = target.join("lab/deb");
    // They are made beside the sources, where nothing else is.
    let made = folder.join("made");
    if made.exists() {
        fs::remove_dir_all(&made)?;
    }
    let sources = made.join("xen-restrict");
    copy(&paths::workspace(), &sources)?;
    process::run(
        Command::new("dpkg-buildpackage")
            .args(["--build=binary", "--no-sign"])
            // This project's compiler is not Debian's.
            .arg("--no-check-builddeps")
            .current_dir(&sources)
            .env("CARGO_TARGET_DIR", folder.join("target")),
    )?;
    let mut packages = Vec::new();
    for entry in fs::read_dir(&made)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            packages.push(path);
        }
    }
    packages.sort();
    ensure!(!packages.is_empty(), "{} has no package", made.display());
    Ok(packages)
}

/// Makes the packages, and says where they are.
///
/// # Errors
/// As [`build`].
pub(crate) fn show() -> Result<ExitCode> {
    for package in build()? {
        println!("{}", package.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the packages, and looks whether they are what they should be.
///
/// # Errors
/// They are not.
pub(crate) fn check() -> Result<()> {
    let packages = build()?;
    process::run(
        Command::new("lintian")
            .args(["--allow-root", "--fail-on", "error,warning"])
            // It is about uploads to Debian.
            .args(["--suppress-tags", "initial-upload-closes-no-bugs"])
            .args(&packages),
    )?;
    let clean = CLEAN.get()?;
    let folder = tempfile::tempdir_in(paths::target()?.join("lab/deb"))?;
    let root = folder.path().join("root");
    fs::create_dir(&root)?;
    process::run(
        Command::new("tar")
            .args(["--extract", "--numeric-owner", "--file"])
            .arg(&clean)
            .arg("--directory")
            .arg(&root),
    )?;
    let debs = root.join("debs");
    fs::create_dir(&debs)?;
    for package in &packages {
        let name = package.file_name().context("a package without a name")?;
        fs::copy(package, debs.join(name))?;
    }
    fs::write(root.join("check.sh"), CHECK)?;
    // A root that can be left by pivot_root is a mount.
    let enter = "mount --bind \"$0\" \"$0\" && cd \"$0\" && \
                 mount -t proc proc proc && mount --rbind /dev dev && mount -t tmpfs run run && \
                 exec chroot . /bin/sh -eu /check.sh";
    process::run(
        Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", enter])
            .arg(&root)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    )
    .map(drop)
}

/// Copies what belongs to the project. Times stay: cargo builds anew what is newer.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        // Through symbolic links: licences are.
        if path.is_file() {
            fs::copy(&path, &copied).with_context(|| format!("cannot copy {}", path.display()))?;
            let modified = fs::metadata(&path)?.modified()?;
            fs::File::options()
                .append(true)
                .open(&copied)?
                .set_modified(modified)?;
        } else if entry.file_type()?.is_dir() && !is_skipped(&path) {
            copy(&path, &copied)?;
        }
    }
    Ok(())
}
