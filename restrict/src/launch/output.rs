// SPDX-License-Identifier: MIT OR Apache-2.0
//! Standard output or error, written to without waiting: a reader may take nothing.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{MsgFlags, send},
        stat::{Mode, SFlag, fstat},
    },
    unistd::{isatty, write},
};

/// A descriptor of the launcher's, whose flags stay as they are.
#[derive(Debug)]
pub struct Output {
    fd: OwnedFd,
    is_socket: bool,
}

impl Output {
    /// The flags are the launcher's too, so what can block is opened anew, where that
    /// is allowed.
    ///
    /// # Errors
    /// It is not open, or there are too many descriptors.
    pub fn new(to: BorrowedFd<'_>) -> io::Result<Self> {
        let kind = SFlag::from_bits_truncate(fstat(to)?.st_mode) & SFlag::S_IFMT;
        let can_block = kind == SFlag::S_IFIFO || isatty(to) == Ok(true);
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let path = format!("/proc/self/fd/{}", to.as_raw_fd());
        let fd = match can_block {
            true => open(path.as_str(), flags, Mode::empty()).ok(),
            false => None,
        };
        Ok(Self {
            fd: fd.map_or_else(|| to.try_clone_to_owned(), Ok)?,
            is_socket: kind == SFlag::S_IFSOCK,
        })
    }

    /// As much as it takes now.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        if self.is_socket {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            return send(self.fd.as_raw_fd(), bytes, flags);
        }
        // What could not be opened anew: it does not block if there is room for a page.
        match poll(
            &mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLOUT)],
            PollTimeout::ZERO,
        )? {
            0 => Err(Errno::EAGAIN),
            _ => write(&self.fd, bytes),
        }
    }
}

impl io::Write for Output {
    /// `WouldBlock` when it takes nothing now. No more than 4096 bytes at a time.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(Self::write(self, &bytes[..bytes.len().min(4096)])?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
