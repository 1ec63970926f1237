// SPDX-License-Identifier: MIT OR Apache-2.0
//! Children that never outlive the lab, and errors that show what they said.

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
    run_with(command, Stdio::null())
}

/// The same, with something to read.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_with(command: &mut Command, input: Stdio) -> Result<Output> {
    command.stdin(input);
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

/// The command as one would type it, without the dozen `-o` options that apt gets.
pub(crate) fn line(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    let mut words = command.get_args();
    while let Some(word) = words.next() {
        if word == "-o" {
            words.next();
        } else {
            text = format!("{text} {}", word.to_string_lossy());
        }
    }
    text
}

fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(count);
    lines[from..].iter().map(|l| format!("  | {l}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::kill;
    use nix::unistd::Pid;
    use std::env;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Not a test: stands for a lab with a running QEMU. Says the child's pid and waits.
    #[test]
    #[ignore = "run by children_do_not_outlive_us"]
    fn holder() {
        let mut command = Command::new("sleep");
        let mut child = dies_with_us(command.arg("600"), Signal::SIGKILL)
            .spawn()
            .unwrap();
        println!("\npid {}", child.id());
        child.wait().unwrap();
    }

    fn runs(pid: i32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        // A zombie does not run: its new parent may be slow to look.
        state.is_some_and(|state| state != 'Z')
    }

    #[test]
    fn children_do_not_outlive_us() {
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            let mut holder = Command::new(env::current_exe().unwrap())
                .args(["--exact", "process::tests::holder"])
                .args(["--ignored", "--nocapture"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
            let child = lines
                .map_while(Result::ok)
                .find_map(|line| line.strip_prefix("pid ")?.parse::<i32>().ok())
                .unwrap();
            assert!(runs(child));
            kill(Pid::from_raw(i32::try_from(holder.id()).unwrap()), signal).unwrap();
            holder.wait().unwrap();
            let start = Instant::now();
            while runs(child) {
                assert!(
                    start.elapsed() < Duration::from_secs(10),
                    "{signal}: it lives"
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
    }

    #[test]
    fn a_failure_shows_what_was_said() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.contains("  | why"), "{text}");
    }
}
