// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker, with a kernel that is made up and a process that does what it likes.

mod client;
mod copies;
mod hostile;
mod kernel;
#[allow(unreachable_pub, reason = "a fuzz target calls it, too")]
pub(crate) mod laws;
mod mappings;
mod no_alloc;
mod notifications;
mod random;

use std::{
    cell::Cell,
    os::fd::{AsRawFd, OwnedFd},
    sync::MutexGuard,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair},
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::{
    Broker, Closed, Ready, Shared,
    message::{self, Answer, Head, LONGEST_ANSWER, Notify, Segment, VERSION, operation},
};
use crate::ids::GuestId;
use kernel::{Fake, Kernel};

const GUEST: GuestId = GuestId::MAX;
const QUOTA: u32 = 40;
/// It is looked at all that there can be.
const BOTH: Ready = Ready {
    released: true,
    socket: true,
};

/// Both sides.
struct Conversation {
    broker: Broker<Fake>,
    /// The process's end.
    process: OwnedFd,
    kernel: Fake,
    tag: Cell<u32>,
}

impl Conversation {
    fn new() -> Self {
        let (ours, process) = pair();
        let memory = Shared::new().unwrap().map().unwrap();
        let kernel = Fake::new(&memory);
        let broker = Broker::new(kernel.clone(), GUEST, QUOTA, ours, memory);
        Self {
            broker,
            process,
            kernel,
            tag: Cell::new(0),
        }
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock()
    }

    fn say(&self, message: &[u8]) -> Result<usize, Errno> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.process.as_raw_fd(), message, flags)
    }

    fn hear(&self) -> Result<(Answer, Vec<u8>), Errno> {
        let mut bytes = vec![0; LONGEST_ANSWER];
        let flags = MsgFlags::MSG_DONTWAIT;
        let length = recv(self.process.as_raw_fd(), &mut bytes, flags)?;
        bytes.truncate(length);
        let answer = Answer::read_from_prefix(&bytes).map_err(|_| Errno::ENODATA)?;
        Ok((answer.0, bytes.split_off(size_of::<Answer>())))
    }

    /// The answer is checked to be one for this request.
    fn ask(&mut self, operation: u16, count: u32, body: &[u8]) -> Result<(Answer, Vec<u8>), Errno> {
        let tag = self.tag.get().wrapping_add(0x1234_5679);
        self.tag.set(tag);
        let head = Head {
            tag,
            ..head(operation, count)
        };
        self.say(&message(head, body)).unwrap();
        self.turn().unwrap();
        let (answer, tail) = self.hear().unwrap();
        let found = (answer.version, answer.operation, answer.tag);
        assert_eq!(found, (VERSION, operation, tag));
        match answer.error {
            0 => Ok((answer, tail)),
            error => Err(Errno::from_raw(error.try_into().unwrap())),
        }
    }

    fn map(&mut self, count: u32) -> Result<u64, Errno> {
        let grants: Vec<u32> = (0..count).collect();
        let answer = self.ask(operation::MAP, count, grants.as_bytes());
        answer.map(|(answer, _)| answer.value)
    }

    fn unmap(&mut self, index: u64, count: u32) -> Result<(), Errno> {
        let answer = self.ask(operation::UNMAP, count, index.as_bytes());
        answer.map(drop)
    }

    fn notify(&mut self, count: u32, notify: Notify) -> Result<(), Errno> {
        let answer = self.ask(operation::NOTIFY, count, notify.as_bytes());
        answer.map(drop)
    }

    /// The statuses.
    fn copy(&mut self, segments: &[Segment]) -> Result<Vec<i16>, Errno> {
        let count = u32::try_from(segments.len()).unwrap();
        let (answer, tail) = self.ask(operation::COPY, count, segments.as_bytes())?;
        let statuses = <[i16]>::ref_from_bytes(&tail).unwrap().to_vec();
        assert_eq!(answer.count, count);
        Ok(statuses)
    }

    /// Maps, gives back, and keeps the pages.
    fn keep(&mut self, count: u32) -> Result<(), Errno> {
        let index = self.map(count)?;
        self.kernel().mmap(index);
        self.unmap(index, count)
    }

    fn turn(&mut self) -> Result<(), Closed> {
        self.broker.advance(BOTH)
    }

    /// What the broker says once; from then on it is quiet, and the process knows.
    fn end(&mut self) -> Closed {
        let closed = self.turn().unwrap_err();
        assert_eq!(self.turn(), Ok(()));
        assert_eq!(self.say(&[0; 16]), Err(Errno::EPIPE));
        closed
    }
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SockFlag::SOCK_CLOEXEC;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap()
}

fn head(operation: u16, count: u32) -> Head {
    Head {
        version: VERSION,
        operation,
        count,
        ..Head::new_zeroed()
    }
}

fn message(head: Head, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), body].concat()
}
