// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program's standard output goes through the supervisor: with the launcher's own
//! descriptor it could truncate a log, or change a terminal.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::PollFlags,
    unistd::{pipe2, read, write},
};

use crate::confine::fds::set_nonblocking;

/// A pipe takes so much at once when it is writable at all (`PIPE_BUF`).
const CHUNK: usize = 4096;

/// One direction; empty when it is over.
pub(crate) struct Relay {
    ends: Option<(OwnedFd, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Relay {
    /// To a duplicate of `to`. Returns the end that the program writes to.
    pub(crate) fn new(to: BorrowedFd<'_>) -> io::Result<(Self, OwnedFd)> {
        let (from, programs) = pipe2(OFlag::O_CLOEXEC)?;
        set_nonblocking(&from, true)?;
        let ends = Some((from, to.try_clone_to_owned()?));
        Ok((
            Self {
                ends,
                buffer: Vec::new(),
            },
            programs,
        ))
    }

    /// What it waits for.
    pub(crate) fn wants(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let (from, to) = self.ends.as_ref()?;
        Some(match self.buffer.is_empty() {
            true => (from.as_fd(), PollFlags::POLLIN),
            false => (to.as_fd(), PollFlags::POLLOUT),
        })
    }

    /// Moves on. When the reader is gone, the program is told by SIGPIPE.
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
            let written = write(to, &self.buffer).or_else(again)?;
            self.buffer.drain(..written);
        }
        Ok(())
    }

    /// Takes what is in the pipe, when nothing more will come.
    pub(crate) fn finish(&mut self) {
        // A program that is gone left 64 KiB at most; a reader that takes nothing is not
        // waited for.
        for _ in 0..64 {
            let Some((fd, flags)) = self.wants() else {
                return;
            };
            let mut fds = [nix::poll::PollFd::new(fd, flags)];
            match nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(100_u8)) {
                Ok(1..) => self.advance(),
                _ => return,
            }
        }
    }
}
