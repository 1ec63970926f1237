// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command: results go to stdout, messages to stderr; 0 is done, 1 refused or
//! failed, 2 a wrong command line.

use std::{
    error::Error,
    fs::DirBuilder,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use xen_restrict::{
    GuestId,
    confine::{Identity, Reaper, UserDb},
};

/// What is known of running device models; root's.
const RUN_DIR: &str = "/run/dm-restrict";

/// Xen device models, confined to one guest.
#[derive(Parser)]
#[command(name = "dm-restrict", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows whose uid a domain's device model runs under, and by which rule
    Identity {
        /// The guest's domid, 1 to 32751
        #[arg(long, value_name = "N")]
        domid: GuestId,
        /// A user to run under instead of the one that the rules give
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Kills every process of a domain's uid, a running device model too
    Reap {
        /// The guest's domid, 1 to 32751
        #[arg(long, value_name = "N")]
        domid: GuestId,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
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
