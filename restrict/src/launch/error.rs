// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a program was not started.

use std::{io, path::PathBuf};

use super::options::InvalidOption;
use crate::{
    confine::{
        IdentityError, MechanismError, ReapError, UserDbError, root::Shown,
        xen_requests::FilterError,
    },
    ids::GuestId,
};

/// The program was not started, and nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// An option makes no sense.
    #[error(transparent)]
    Option(#[from] InvalidOption),
    /// A mechanism could not be applied.
    #[error(transparent)]
    Mechanism(#[from] MechanismError),
    /// Whose uid it should run under cannot be said.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The user database cannot be read.
    #[error(transparent)]
    Users(#[from] UserDbError),
    /// What runs under its uid could not be ended before.
    #[error("the uid is not free")]
    Reap(#[from] ReapError),
    /// A Xen handle could not be had.
    #[error(transparent)]
    Handle(#[from] crate::Error),
    /// A filter cannot be made.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// No domain has this domid.
    #[error("{0} does not exist: see `xl list`")]
    NoDomain(GuestId),
    /// No such program.
    #[error("{}: there is no such program", Shown(program))]
    NotFound {
        /// As it was named.
        program: PathBuf,
    },
    /// Not a program, or not one for this user.
    #[error("{}: {reason}", Shown(program))]
    NotExecutable {
        /// As it was named.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// What it is linked with is not known.
    #[error("cannot tell what {} is linked with: {reason}", Shown(program))]
    Linked {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// A descriptor that may not be handed over, or is not open.
    #[error("descriptor {name}={number}: {reason}")]
    Fd {
        /// Its name.
        name: String,
        /// Its number in the launcher.
        number: i32,
        /// Why.
        reason: String,
    },
    /// The instance runs already.
    #[error(
        "instance {instance:?} of {key} runs already: end it, or give this one a name by --instance"
    )]
    Runs {
        /// Whose.
        key: String,
        /// Its name.
        instance: String,
    },
    /// What is known of it cannot be written down.
    #[error("{what} {}", Shown(path))]
    Record {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call that has to work.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The launcher has several threads.
    #[error("the supervisor has {0} threads, and needs to have one: start it by `spawn`")]
    Threads(usize),
    /// As the command reported it.
    #[error("{text}")]
    Reported {
        /// The exit code that goes with it.
        exit_code: u8,
        /// The message, with its causes.
        text: String,
    },
    /// A helper could not be run, or ended without a word.
    #[error("{}: {reason}", Shown(helper))]
    Helper {
        /// The command.
        helper: PathBuf,
        /// What it said.
        reason: String,
    },
}

impl LaunchError {
    /// The exit code by which a shell tells: 127 not found, 126 not executable, 125 all
    /// else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Reported { exit_code, .. } => *exit_code,
            _ => 125,
        }
    }

    pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
