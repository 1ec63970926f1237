// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots real Xen under emulation, with dom0 and two guests, and runs this project's tests
//! and its demonstration there. See docs/lab.md.

mod alone;
mod artifacts;
#[cfg(test)]
mod book;
mod c_interface;
mod c_program;
mod console;
mod contents;
mod cpio;
mod crates;
mod deb;
mod debian;
mod dom0;
mod elf;
mod fuzz;
mod host;
mod image;
mod job;
mod machine;
mod packages;
mod paths;
mod process;
mod progress;
mod qemu;
mod root;
mod session;
#[cfg(test)]
mod shown;
mod steps;
mod suite;
mod terminal;
mod typed;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use artifacts::Build;
use contents::Contents;
use dom0::Dom0;
use machine::Limits;
use qemu::Processors;
use session::System;
use suite::Suite;

/// Boots real Xen under emulation and runs this project there.
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab")]
struct Arguments {
    /// The system to boot.
    #[arg(long, global = true, default_value = suite::DEFAULT)]
    suite: &'static Suite,
    /// The kind of its dom0.
    #[arg(long, global = true, default_value = dom0::DEFAULT)]
    dom0: &'static Dom0,
    #[command(flatten)]
    processors: Processors,
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// A device model's main job on real Xen, start to finish.
    Demo,
    /// The tests on real Xen.
    Test {
        /// Only tests whose name contains this.
        filter: Option<String>,
        /// What they start is optimised, as where it is installed.
        #[arg(long)]
        release: bool,
        /// Arguments for the test programs.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Random operations and mappings at real Xen, by a handle restricted to one guest.
    Campaign {
        /// For how long.
        #[arg(long, default_value_t = 600)]
        seconds: u32,
        /// The seed of another campaign.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Next to Xen's own libraries, on real Xen: ratios.
    Bench,
    /// Arbitrary bytes for whatever reads what somebody else wrote, for longer than the check
    /// does; on this machine.
    Fuzz {
        /// One target of `fuzz/`; all of them if none is named.
        target: Option<String>,
        /// For each of them.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
        seconds: u32,
    },
    /// The Debian packages, in `target/lab/deb/made`.
    Deb,
    /// Everything that must pass, on this machine and on real Xen.
    Check {
        /// Only the steps whose name contains this.
        step: Option<String>,
    },
    /// Tests and demonstration on every suite, in each kind of dom0 that it boots.
    Matrix {
        /// Only tests whose name contains this.
        filter: Option<String>,
        /// Only on this suite.
        #[arg(long)]
        only: Option<&'static Suite>,
    },
    /// A dom0 prompt with guests A and B.
    Shell {
        /// What dom0 has.
        #[arg(long, default_value = contents::DEFAULT)]
        contents: &'static Contents,
    },
    /// A static executable of yours in dom0.
    Run {
        /// What dom0 has.
        #[arg(long, default_value = contents::DEFAULT)]
        contents: &'static Contents,
        executable: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    progress::start();
    let arguments = Arguments::parse();
    if let Err(error) = end_on_signals() {
        eprintln!("lab: {error:#}");
        return ExitCode::FAILURE;
    }
    match perform(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error:#}");
            if let Some(reason) = image::explain(&error) {
                eprintln!("lab: {reason}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Ends this process at once on a signal. The kernel then ends its children (process.rs).
fn end_on_signals() -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            terminal::restore();
            eprintln!("\nlab: interrupted");
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

fn perform(arguments: &Arguments) -> Result<ExitCode> {
    let system = System::new(arguments.suite, arguments.dom0, arguments.processors);
    match &arguments.command {
        Task::Demo => system.run(&session::demo()?),
        Task::Test {
            filter,
            release,
            arguments,
        } => {
            let how = match release {
                true => Build::Release,
                false => Build::Dev,
            };
            system.test(&session::tests(filter.as_deref(), arguments, how)?)
        }
        &Task::Campaign { seconds, seed } => {
            let limits = Limits::lasting(Duration::from_secs(seconds.into()));
            system.run_within(&session::campaign(seconds, seed)?, limits)
        }
        Task::Bench => system.run(&session::benches()?),
        Task::Fuzz { target, seconds } => fuzz::run(target.as_deref(), *seconds),
        Task::Deb => deb::show(),
        Task::Check { step } => {
            steps::run_all(step.as_deref(), &system)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Matrix { filter, only } => {
            let tests = match filter {
                Some(filter) => session::tests(Some(filter), &[], Build::Dev)?,
                None => session::everything()?,
            };
            session::matrix(arguments.processors, *only, &tests)
        }
        Task::Shell { contents } => system.shell(contents),
        Task::Run {
            contents,
            executable,
            arguments,
        } => system.run(&session::other(contents, executable, arguments)?),
    }
}
