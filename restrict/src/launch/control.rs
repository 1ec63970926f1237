// SPDX-License-Identifier: MIT OR Apache-2.0
//! Orders to a supervisor, over the socket in its instance's directory, which root alone
//! can reach.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    time::Duration,
};

use super::instance::control_socket;

const SEAL: &[u8] = b"seal\n";
const SEALED: &str = "sealed\n";
/// Before a reason, which may be any text.
const NOT: &str = "not sealed: ";
/// Longer than a supervisor waits for calls that are under way.
const PATIENCE: Duration = Duration::from_secs(15);
/// Who has connected and says nothing makes no room for more.
const MOST: usize = 8;

/// The supervisor's end.
pub(crate) struct Control {
    listener: UnixListener,
    talking: Vec<UnixStream>,
    waiting: Vec<UnixStream>,
}

impl Control {
    pub(crate) fn new(listener: UnixListener) -> Self {
        Self {
            listener,
            talking: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let talking = self.talking.iter().map(AsFd::as_fd);
        std::iter::once(self.listener.as_fd()).chain(talking)
    }

    /// Whether somebody wants it sealed.
    pub(crate) fn advance(&mut self) -> bool {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.talking.len() < MOST && stream.set_nonblocking(true).is_ok() {
                self.talking.push(stream);
            }
        }
        let mut wanted = false;
        for mut stream in std::mem::take(&mut self.talking) {
            let mut order = [0; 16];
            match stream.read(&mut order) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.talking.push(stream);
                }
                Ok(length) if is_seal(&order[..length]) && self.waiting.len() < MOST => {
                    self.waiting.push(stream);
                    wanted = true;
                }
                _ => {}
            }
        }
        wanted
    }

    /// Answers all who wait.
    pub(crate) fn answer(&mut self, outcome: &Result<(), String>) {
        let answer = in_words(outcome);
        for mut stream in self.waiting.drain(..) {
            let _ = stream.write_all(answer.as_bytes());
        }
    }
}

pub(super) fn is_seal(order: &[u8]) -> bool {
    order == SEAL
}

pub(super) fn in_words(outcome: &Result<(), String>) -> String {
    match outcome {
        Ok(()) => SEALED.to_owned(),
        Err(reason) => format!("{NOT}{reason}\n"),
    }
}

/// What an answer means.
pub(super) fn outcome(answer: &str) -> Result<(), SealError> {
    match answer {
        SEALED => Ok(()),
        "" => Err(SealError::Refused(
            "the supervisor ended before it answered".into(),
        )),
        other => {
            let reason = other.strip_prefix(NOT).unwrap_or(other);
            Err(SealError::Refused(reason.trim_end().to_owned()))
        }
    }
}

/// Why a program was not sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No such instance runs.
    #[error("no instance {instance:?} of {key} runs here: see `dm-restrict list`")]
    NotRunning {
        /// Whose.
        key: String,
        /// Its name.
        instance: String,
    },
    /// The supervisor could not be asked.
    #[error("ask the supervisor")]
    Unreachable(#[from] io::Error),
    /// Its answer.
    #[error("{0}")]
    Refused(String),
}

/// Has the supervisor of a running program seal it, and waits until it is.
///
/// # Errors
/// [`SealError`]; after [`SealError::Refused`] no new request of the set-up phase is
/// let through, but one that was let through before is still under way.
pub fn seal(key: &str, instance: &str) -> Result<(), SealError> {
    let path = control_socket(key, instance);
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => SealError::NotRunning {
            key: key.to_owned(),
            instance: instance.to_owned(),
        },
        _ => SealError::Unreachable(error),
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(SEAL)?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    outcome(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_never_a_yes() {
        outcome(&in_words(&Ok(()))).unwrap();
        for reason in ["sealed", "", "not sealed: ", "threads 7, 8"] {
            match outcome(&in_words(&Err(reason.into()))) {
                Err(SealError::Refused(told)) => assert_eq!(told, reason.trim_end()),
                other => panic!("{reason:?}: {other:?}"),
            }
        }
    }
}
