// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boots real Xen under emulation, with dom0 and two guests, and runs this project's tests
//! and its demonstration there. See docs/lab.md.

mod artifacts;
mod console;
mod cpio;
mod elf;
mod host;
mod image;
mod job;
mod machine;
mod packages;
mod paths;
mod process;
mod progress;
mod steps;
mod suite;
mod terminal;
mod wire;

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use artifacts::{DEMO, Kind, Program, TESTS};
use job::{Argument, Job, Plan, Terminal};
use machine::{Limits, Outcome};
use progress::say;
use suite::Suite;

/// Boots real Xen under emulation and runs this project there.
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab")]
struct Arguments {
    /// The system to boot.
    #[arg(long, global = true, default_value = suite::DEFAULT)]
    suite: &'static Suite,
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
        /// Arguments for the test programs.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Everything that must pass, on this machine and on real Xen.
    Check,
    /// A dom0 prompt with guests A and B.
    Shell,
    /// A static executable of yours in dom0.
    Run {
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
    let suite = arguments.suite;
    anyhow::ensure!(
        suite.ready,
        "the lab cannot boot {} yet; leave --suite out for {}",
        suite.name,
        suite::DEFAULT
    );
    match &arguments.command {
        Task::Demo => finish(suite, &[demo_job()?]),
        Task::Test { filter, arguments } => {
            finish(suite, &test_jobs(filter.as_deref(), arguments)?)
        }
        Task::Check => steps::run_all(|| {
            // One boot for all.
            let mut jobs = test_jobs(None, &[])?;
            jobs.push(demo_job()?);
            finish(suite, &jobs)
        }),
        Task::Shell => {
            boot(suite, &[], Some(terminal::size()), Limits::NONE)?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Run {
            executable,
            arguments,
        } => {
            let job = Job {
                name: "program".to_owned(),
                executable: executable.clone(),
                arguments: arguments.iter().cloned().map(Argument::Text).collect(),
            };
            finish(suite, &[job])
        }
    }
}

fn demo_job() -> Result<Job> {
    job(&DEMO, vec![Argument::GuestA, Argument::GuestB])
}

fn test_jobs(filter: Option<&str>, arguments: &[String]) -> Result<Vec<Job>> {
    let mut words = Vec::new();
    if std::io::stdout().is_terminal() {
        words.push("--color=always");
    }
    words.extend(filter);
    words.extend(arguments.iter().map(String::as_str));
    let words: Vec<Argument> = words
        .into_iter()
        .map(|word| Argument::Text(word.to_owned()))
        .collect();
    TESTS
        .iter()
        .map(|program| job(program, words.clone()))
        .collect()
}

fn job(program: &Program, arguments: Vec<Argument>) -> Result<Job> {
    host::need(&[host::BUILD])?;
    let what = match program.kind {
        Kind::Test => "tests",
        Kind::Example => "example",
    };
    Ok(Job {
        name: format!("{}-{what}-{}", program.package, program.name),
        executable: artifacts::build(program)?,
        arguments,
    })
}

fn boot(suite: &Suite, jobs: &[Job], shell: Option<Terminal>, limits: Limits) -> Result<Outcome> {
    host::need(&[host::BOOT, host::BUILD])?;
    let target = paths::target()?;
    let folder = paths::run_folder(&target)?;
    paths::need_room(&folder, 200)?;
    let plan = Plan {
        suite,
        nonce: &nonce()?,
        guest: artifacts::build_guest()?,
        jobs,
        shell,
    };
    let image = image::ensure(suite)?;
    machine::run(&image, &plan, &folder, limits)
}

fn nonce() -> Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Boots and runs the jobs. The first status that is not 0 becomes ours.
fn finish(suite: &Suite, jobs: &[Job]) -> Result<ExitCode> {
    let outcome = boot(suite, jobs, None, Limits::DEFAULT)?;
    let mut code = ExitCode::SUCCESS;
    for (job, &status) in jobs.iter().zip(&outcome.statuses).rev() {
        if status != 0 {
            say(&format!(
                "{} failed: it ended with status {status}",
                job.name
            ));
            code = ExitCode::from(u8::try_from(status).unwrap_or(1));
        }
    }
    if code == ExitCode::SUCCESS {
        say("all ended well");
    }
    Ok(code)
}
