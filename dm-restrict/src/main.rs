// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command: results go to stdout, messages to stderr; 0 is done, 1 refused or
//! failed, 2 a wrong command line. `run` and `audit` have codes of their own.

use std::{
    error::Error,
    fs::DirBuilder,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    process::ExitCode,
};

mod audit;
mod auditor;
mod cli;
mod doctor;
mod generate;
mod let_go;
mod list;
mod messages;
mod qemu;
mod run;

use clap::Parser as _;
use xen_restrict::{
    GuestId,
    confine::{Identity, Reaper, UserDb},
    launch::{self, RUN_DIR},
};

use cli::{Cli, Command};

fn main() -> ExitCode {
    if let Some(arguments) = qemu::by_name() {
        return qemu::qemu(arguments);
    }
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return misunderstood(&error),
    };
    let outcome = match command {
        Command::Run(options) => return run::run(*options),
        Command::Qemu { arguments } => return qemu::qemu(arguments),
        Command::Audit(options) => return ExitCode::from(audit::audit(&options)),
        Command::List { json } => list::list(json),
        Command::Doctor { json } => return doctor::doctor(json),
        Command::Seal { domid, instance } => {
            launch::seal(&domid.get().to_string(), &instance).map_err(Into::into)
        }
        Command::Generate { what, directory } => generate::generate(what, &directory),
        Command::Identity { domid, user } => identity(domid, user.as_deref()),
        Command::Reap { domid } => reap(domid),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Or help, which is no error.
fn misunderstood(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    match (error.use_stderr(), is_run) {
        (false, _) => ExitCode::SUCCESS,
        // As 2 may be the program's.
        (true, true) => ExitCode::from(125),
        (true, false) => ExitCode::from(2),
    }
}

fn identity(guest: GuestId, user: Option<&str>) -> Result<(), Box<dyn Error>> {
    let identity = Identity::choose(guest, user, &UserDb::from_system()?)?;
    if let Some(warning) = identity.warning() {
        say(&format!("warning: {warning}"));
    }
    let whose = match identity.is_exclusive() {
        true => "this domain's alone; reaped when it has ended",
        false => "not this domain's alone; not reaped",
    };
    writeln!(io::stdout(), "{identity}\n{whose}")?;
    Ok(())
}

fn reap(guest: GuestId) -> Result<(), Box<dyn Error>> {
    let db = UserDb::from_system()?;
    let identity = Identity::choose(guest, None, &db)?;
    let reaper = Reaper::new(&identity, &db, RUN_DIR)?;
    // Where this fails the reaper says what is missing: root, or the directory.
    let _ = DirBuilder::new().mode(0o755).create(RUN_DIR);
    let reaped = reaper.reap()?;
    launch::remove_stale(guest)?;
    writeln!(io::stdout(), "{reaped}")?;
    Ok(())
}

/// A message that cannot be written is lost: the exit code still says it.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "dm-restrict: {message}");
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
