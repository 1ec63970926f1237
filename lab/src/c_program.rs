// SPDX-License-Identifier: MIT OR Apache-2.0
//! C programs that use the library's C interface, built to run in any suite's dom0.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::artifacts::{Build, Program, TARGET, static_and_small};
use crate::paths;
use crate::process;

/// What a static library of Rust's takes besides.
const WITH_STATIC_LIBRARY: [&str; 4] = ["-lgcc_eh", "-lpthread", "-lm", "-ldl"];

/// Builds it; returns the executable's path.
///
/// # Errors
/// It does not build.
pub(crate) fn build(program: &Program, source: &str, how: Build) -> Result<PathBuf> {
    let mut command = paths::cargo();
    command
        .args(["rustc", "--lib", "--crate-type", "staticlib", "--quiet"])
        .args(["--package", program.package, "--target", TARGET]);
    let profile = match how {
        Build::Dev => "debug",
        Build::Release => {
            command.arg("--release");
            "release"
        }
    };
    static_and_small(&mut command);
    process::run(&mut command)?;
    let built = paths::target()?.join(TARGET).join(profile);
    let executable = built.join(program.name);
    let mut command = Command::new("gcc");
    command
        .args([
            "-std=c11",
            "-D_DEFAULT_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args(["-static", "-s", "-O2", "-I"])
        .arg(paths::workspace().join("capi/include"))
        .arg(paths::workspace().join(source))
        .arg(built.join("libxenrestrict.a"))
        .args(WITH_STATIC_LIBRARY)
        .arg("-o")
        .arg(&executable);
    process::run(&mut command)?;
    Ok(executable)
}
