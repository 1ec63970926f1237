// SPDX-License-Identifier: MIT OR Apache-2.0
//! Children that never outlive the lab, and errors that show what they said.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd;

/// Makes the kernel send `signal` to the child when the lab ends, however it ends.
///
/// The signal follows the thread that starts the child: start children from the main thread.
pub(crate) fn dies_with_us(command: &mut Command, signal: Signal) -> &mut Command {
    let parent = unistd::getpid();
    // SAFETY: the closure makes two system calls and no allocation, so it may run between
    // fork and exec.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(signal)?;
            if unistd::getppid() != parent {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            Ok(())
        })
    }
}

/// Runs a command to its end. If it fails, the error has its output.
///
/// # Errors
/// It did not start, or it did not end with status 0.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null());
    dies_with_us(command, Signal::SIGTERM);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let stdout = String::from_utf8_lossy(&output.stdout);
        bail!(
            "`{}` failed ({}):\n{}{}",
            line(command),
            output.status,
            tail(&stdout, 30),
            tail(&stderr, 60)
        );
    }
    Ok(output)
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let mut words = vec![command.get_program()];
    words.extend(command.get_args());
    words
        .into_iter()
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(count);
    lines[from..].iter().map(|l| format!("  | {l}\n")).collect()
}
