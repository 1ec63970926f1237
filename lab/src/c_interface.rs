// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C interface as others get it: built and installed by cargo-c, found by pkg-config,
//! used by the examples.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::debian::Debian;
use crate::host;
use crate::paths;
use crate::process;

/// Of the first suite whose cargo-c knows this edition of Rust.
const CARGO_C: Debian = Debian {
    suite: "trixie",
    name: "cargo-c-1",
    room: 300,
    options: &["--variant=extract", "--include=cargo-c"],
};
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// What is installed, by path.
const INSTALLED: [&str; 7] = [
    "usr/include/xen_restrict.h",
    "usr/lib/x86_64-linux-gnu/libxenrestrict.a",
    "usr/lib/x86_64-linux-gnu/libxenrestrict.so",
    "usr/lib/x86_64-linux-gnu/libxenrestrict.so.1",
    "usr/lib/x86_64-linux-gnu/libxenrestrict.so.1.0.0",
    "usr/lib/x86_64-linux-gnu/pkgconfig/xenrestrict.pc",
    "usr/share/man/man3/xen_restrict.3",
];

/// An example without Xen: with which arguments, how it ends, and what it says.
struct Example {
    name: &'static str,
    arguments: &'static [&'static str],
    code: i32,
    says: &'static str,
}

const EXAMPLES: [Example; 3] = [
    Example {
        name: "launcher",
        arguments: &[],
        code: 125,
        says: "usage: launcher DOMID",
    },
    Example {
        name: "launcher",
        arguments: &["7", "/no/such/program"],
        code: 125,
        says: "dm-restrict",
    },
    Example {
        name: "device_model",
        arguments: &["7"],
        code: 2,
        says: "open privcmd",
    },
];

/// Installs it into a folder, and builds and starts the examples with what is there.
///
/// # Errors
/// Something of it fails.
pub(crate) fn check() -> Result<()> {
    host::need(&[host::C])?;
    let root = tempfile::tempdir()?;
    install(root.path())?;
    let expected: BTreeSet<_> = INSTALLED
        .iter()
        .map(|path| root.path().join(path))
        .collect();
    let found = files(root.path())?;
    ensure!(found == expected, "cargo-c installed {found:?}");
    for linked in [&[][..], &["--static"]] {
        for example in &EXAMPLES {
            example.check(root.path(), linked)?;
        }
    }
    Ok(())
}

/// By `cargo cinstall`, as a packager would, but for the speed of the build.
fn install(root: &Path) -> Result<()> {
    let mut command = cargo_c()?;
    command
        .current_dir(paths::workspace())
        .args(["capi", "install", "--package", "xen-restrict-capi"])
        .args(["--profile", "dev", "--prefix", "/usr", "--libdir"])
        .arg(Path::new("/").join(LIBRARIES))
        .arg("--destdir")
        .arg(root)
        .arg("--target-dir")
        .arg(paths::target()?.join("cargo-c"));
    process::run(&mut command).map(drop)
}

/// The command: Debian's, with Debian's libraries, whatever this machine has.
fn cargo_c() -> Result<Command> {
    let root = CARGO_C.get()?;
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(root.join(LIBRARIES))
        .arg(root.join("usr/bin/cargo-capi"))
        // It would take itself for it.
        .env("CARGO", paths::cargo().get_program());
    Ok(command)
}

fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                todo.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

impl Example {
    fn check(&self, root: &Path, linked: &[&str]) -> Result<()> {
        let program = root.join(self.name);
        let mut flags = Command::new("pkg-config");
        flags
            .args(["--cflags", "--libs"])
            .args(linked)
            .arg("xenrestrict")
            .env("PKG_CONFIG_SYSROOT_DIR", root)
            .env("PKG_CONFIG_LIBDIR", root.join(LIBRARIES).join("pkgconfig"))
            .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
            .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1");
        let flags = String::from_utf8(process::run(&mut flags)?.stdout)?;
        let source = format!("capi/examples/{}.c", self.name);
        let mut compiler = Command::new("gcc");
        compiler
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"])
            .arg(&program)
            .arg(paths::workspace().join(source))
            .args(flags.split_whitespace());
        process::run(&mut compiler)?;
        let mut command = Command::new(&program);
        command
            .args(self.arguments)
            .env("LD_LIBRARY_PATH", root.join(LIBRARIES))
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null());
        let output = command.output().context("an example does not start")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(self.code) && text.contains(self.says),
            "the example {} ended with {}: {text}",
            self.name,
            output.status
        );
        Ok(())
    }
}
