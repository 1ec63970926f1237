// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program's standard output goes through the supervisor: with the launcher's own
//! descriptor it could truncate a log, or change a terminal.
//!
//! The supervisor has more to do: a reader that takes nothing does not hold it up.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{pipe2, read},
};

use super::output::Output;
use crate::confine::fds::set_nonblocking;

const CHUNK: usize = 4096;
/// What a program that has ended can have left in its pipe, where that is not known.
const CAPACITY: usize = 1 << 20;
/// How long a reader may take nothing when the program has ended.
const PATIENCE_MS: u16 = 5000;

/// One direction.
pub(crate) struct Relay {
    /// `None` when it is over.
    ends: Option<(OwnedFd, Output)>,
    buffer: Vec<u8>,
}

impl Relay {
    /// To what `to` is. Returns the end that the program writes to.
    pub(crate) fn new(to: BorrowedFd<'_>) -> io::Result<(Self, OwnedFd)> {
        let (from, programs) = pipe2(OFlag::O_CLOEXEC)?;
        set_nonblocking(&from, true)?;
        let relay = Self {
            ends: Some((from, Output::new(to)?)),
            buffer: Vec::new(),
        };
        Ok((relay, programs))
    }

    /// What it waits for.
    pub(crate) fn wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let (from, to) = self.ends.as_ref()?;
        Some(match self.buffer.is_empty() {
            true => (from.as_fd(), PollFlags::POLLIN),
            false => (to.as_fd(), PollFlags::POLLOUT),
        })
    }

    /// Moves on, as far as it goes without waiting. When the reader is gone, the program
    /// is told by SIGPIPE.
    pub(crate) fn advance(&mut self) {
        if self.step().is_err() {
            self.ends = None;
        }
    }

    fn step(&mut self) -> Result<(), Errno> {
        let Some((from, to)) = &self.ends else {
            return Ok(());
        };
        let again = |errno| match errno {
            Errno::EAGAIN | Errno::EINTR => Ok(0),
            other => Err(other),
        };
        if self.buffer.is_empty() {
            self.buffer.resize(CHUNK, 0);
            let length = match read(from, &mut self.buffer) {
                Ok(0) => return Err(Errno::EPIPE),
                other => other.or_else(again)?,
            };
            self.buffer.truncate(length);
        } else {
            let done = match to.write(&self.buffer) {
                // A disk that is full for a while is not the program's end.
                Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => self.buffer.len(),
                other => other.or_else(again)?,
            };
            self.buffer.drain(..done);
        }
        Ok(())
    }

    /// Takes what is in the pipe, when nothing more will come. A reader that takes nothing
    /// is not waited for without end.
    pub(crate) fn finish(&mut self) {
        let mut left = self.ends.as_ref().map_or(0, |(from, _)| {
            let capacity = fcntl(from, FcntlArg::F_GETPIPE_SZ).ok();
            capacity
                .and_then(|size| size.try_into().ok())
                .unwrap_or(CAPACITY)
        });
        while let Some((fd, flags)) = self.wants() {
            let reads = self.buffer.is_empty();
            let timeout = match reads {
                true if left == 0 => return,
                true => PollTimeout::ZERO,
                false => PollTimeout::from(PATIENCE_MS),
            };
            if !matches!(poll(&mut [PollFd::new(fd, flags)], timeout), Ok(1..)) {
                return;
            }
            self.advance();
            if reads {
                left = left.saturating_sub(self.buffer.len());
            }
        }
    }
}
