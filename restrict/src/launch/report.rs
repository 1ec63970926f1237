// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the command tells the launcher that executed it: one line, whether the program
//! runs or why it does not.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
};

use serde::{Deserialize, Serialize};

use super::error::LaunchError;
use crate::confine::{MechanismError, fds};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    Started {
        pid: i32,
    },
    Mechanism {
        name: String,
        reason: String,
        remedy: String,
    },
    Other {
        exit_code: u8,
        text: String,
    },
}

/// The command's end.
#[derive(Debug)]
pub struct Reporter(File);

impl Reporter {
    /// Takes the descriptor that the launcher named.
    ///
    /// # Errors
    /// It is not open.
    pub fn take(number: i32) -> Result<Self, LaunchError> {
        Ok(Self(File::from(take("--report", number)?)))
    }

    /// The program runs.
    pub fn started(self, pid: i32) {
        self.write(&Report::Started { pid });
    }

    /// It does not.
    pub fn failed(self, error: &LaunchError) {
        self.write(&match error {
            LaunchError::Mechanism(MechanismError {
                mechanism,
                reason,
                remedy,
                ..
            }) => Report::Mechanism {
                name: mechanism.name().into(),
                reason: reason.clone(),
                remedy: remedy.clone(),
            },
            other => Report::Other {
                exit_code: other.exit_code(),
                text: super::with_causes(other),
            },
        });
    }

    /// A launcher that is gone needs no report.
    fn write(mut self, report: &Report) {
        if let Ok(line) = serde_json::to_string(report) {
            let _ = self.0.write_all(line.as_bytes());
        }
    }
}

/// Variables, as a launcher wrote them into a descriptor that only the command has: on
/// the command line everybody could read them.
///
/// # Errors
/// The descriptor is not open, or cannot be read.
pub fn variables_from(number: i32) -> Result<Vec<OsString>, LaunchError> {
    let mut file = File::from(take("--env-fd", number)?);
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .map_err(LaunchError::system("read the variables"))?;
    Ok(variables(&text))
}

/// Each ends with NUL.
pub(super) fn variables(text: &[u8]) -> Vec<OsString> {
    let variables = text
        .split(|byte| *byte == 0)
        .filter(|variable| !variable.is_empty());
    variables
        .map(|variable| OsString::from_vec(variable.to_vec()))
        .collect()
}

fn take(option: &str, number: i32) -> Result<OwnedFd, LaunchError> {
    fds::take(number).map_err(|error| LaunchError::Fd {
        name: option.into(),
        number,
        reason: format!("the launcher did not leave it open: {error}"),
    })
}
