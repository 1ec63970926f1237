// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a QEMU takes for xenstored until it has given root up: its supervisor, which takes each
//! watch and never has anything to tell, and refuses all else.
//!
//! To xenstored it would be dom0, who may write what libxl believes, as the path of a script that
//! libxl runs as root, and read what is other guests'. What QEMU asks in that time is of no use
//! to it: the backends that it asks for need xenstore later, when it has none.
//!
//! Of a message nothing counts but its kind and its length.

use std::{
    io::{self, ErrorKind, Read as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
};

use nix::{
    poll::PollFlags,
    sys::socket::{MsgFlags, send},
};
use zerocopy::IntoBytes as _;

use crate::xenstore::{Header, MOST};

/// The longest message.
const LONGEST: usize = size_of::<Header>() + MOST as usize;

/// Of `enum xsd_sockmsg_type` in Xen's `io/xs_wire.h`.
const WATCH: u32 = 4;
const UNWATCH: u32 = 5;
const ERROR: u32 = 16;

/// QEMU has three at a time.
pub(crate) const MOST_CONNECTIONS: usize = 8;

/// All connections; none, when it is sealed.
#[derive(Default)]
pub(crate) struct NoStore(Vec<Connection>);

impl NoStore {
    /// One more; where there are too many, it is closed.
    pub(crate) fn add(&mut self, socket: UnixStream) {
        if self.0.len() < MOST_CONNECTIONS && socket.set_nonblocking(true).is_ok() {
            self.0.push(Connection {
                socket,
                message: Message::default(),
                answer: Vec::new(),
            });
        }
    }

    /// What it waits for.
    pub(crate) fn wants(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.0.iter().map(Connection::wants)
    }

    /// Moves on with each of them, a little, and without waiting.
    pub(crate) fn advance(&mut self) {
        self.0.retain_mut(|connection| connection.step().is_ok());
    }
}

struct Connection {
    socket: UnixStream,
    message: Message,
    /// What was not sent yet: until then nothing is read.
    answer: Vec<u8>,
}

impl Connection {
    fn wants(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = match self.answer.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLOUT,
        };
        (self.socket.as_fd(), flags)
    }

    /// An error is its end.
    fn step(&mut self) -> io::Result<()> {
        let later = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        };
        let mut bytes = [0; LONGEST];
        // Its header, and the rest.
        for _ in 0..2 {
            if !self.answer.is_empty() {
                break;
            }
            let room = &mut bytes[..self.message.missing()];
            // Descriptors that come with it are dropped by the kernel.
            let length = match self.socket.read(room).map(Some).or_else(later)? {
                None => return Ok(()),
                Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Some(length) => length,
            };
            let whole = self.message.take(&bytes[..length])?;
            self.answer = whole.map(answer).unwrap_or_default();
        }
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if !self.answer.is_empty() {
            let sent = send(self.socket.as_raw_fd(), &self.answer, flags);
            let sent = sent.map_err(io::Error::from).map(Some).or_else(later)?;
            self.answer.drain(..sent.unwrap_or(0));
        }
        Ok(())
    }
}

/// A message as it comes: of what follows its header only the length is kept.
#[derive(Default)]
struct Message {
    header: Header,
    received: usize,
}

impl Message {
    const HEADER: usize = size_of::<Header>();

    /// How much of it is still to come: as far as is known.
    fn missing(&self) -> usize {
        match self.received < Self::HEADER {
            true => Self::HEADER - self.received,
            false => Self::HEADER + self.header.length as usize - self.received,
        }
    }

    /// Takes what has come, no more than is missing. The header, when all is there.
    fn take(&mut self, bytes: &[u8]) -> io::Result<Option<Header>> {
        if let Some(place) = self.header.as_mut_bytes().get_mut(self.received..) {
            let length = place.len().min(bytes.len());
            place[..length].copy_from_slice(&bytes[..length]);
        }
        self.received += bytes.len();
        if self.received < Self::HEADER {
            return Ok(None);
        }
        if self.header.length > MOST {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok((self.missing() == 0).then(|| std::mem::take(self).header))
    }
}

/// QEMU before 10 may end where two of its watches are refused.
fn answer(header: Header) -> Vec<u8> {
    let (kind, text): (_, &[u8]) = match header.kind {
        WATCH | UNWATCH => (header.kind, b"OK\0"),
        _ => (ERROR, b"EACCES\0"),
    };
    let length = text.len().try_into().unwrap_or(0);
    let header = Header {
        kind,
        length,
        ..header
    };
    [header.as_bytes(), text].concat()
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod laws;
#[cfg(test)]
mod tests;
