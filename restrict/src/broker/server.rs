// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker: maps and copies the grants of one guest for a process that may not do so
//! itself. All that the process sends is taken for an attack: each request costs bounded
//! memory and time, and what is no request ends the conversation.

use std::{
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::PollFlags,
    sys::socket::{MsgFlags, recvmsg, send},
};
use xen_sys::{
    gntdev::{GrantCopyFlags, GrantCopyPtr, GrantCopySegment, UnmapNotifyAction},
    grant_table::GNTST_GENERAL_ERROR,
};
use zerocopy::{FromZeros, IntoBytes};

use super::{
    devices::{Devices, Driver, SLOTS},
    maps::{Maps, Notice},
    message::{
        self, Answer, COPY_BYTES, Head, LONGEST, LONGEST_ANSWER, MAX_GRANTS, MAX_SEGMENTS,
        Malformed, NOBODY_WAITS, Notify, Place, Request, Segment, Terms, VERSION,
    },
};
use crate::{ids::GuestId, mmap::Mmap};

/// Why the broker does not talk with its process any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Closed {
    #[error("the program closed its end")]
    ByProgram,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a message with descriptors")]
    Descriptors,
    #[error("the socket failed: {0}")]
    Socket(Errno),
}

/// Which of [`Broker::fds`] have something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) released: bool,
    pub(crate) socket: bool,
}

/// One guest's, for one process.
#[derive(Debug)]
pub(crate) struct Broker<D = Devices> {
    driver: D,
    guest: GuestId,
    maps: Maps,
    /// Given back, and perhaps still mapped.
    releasing: [Option<Releasing>; SLOTS],
    /// None when there is nobody to talk with.
    socket: Option<OwnedFd>,
    memory: Mmap,
    segments: Vec<GrantCopySegment>,
    request: Box<[u64]>,
    answer: Box<[u64]>,
    /// Bytes of an answer that the process has no room for.
    unsent: usize,
}

#[derive(Clone, Copy, Debug)]
struct Releasing {
    count: u32,
    /// The process's own port, which the kernel does not send by any more.
    port: Option<u32>,
}

/// What follows an answer's head.
enum Tail {
    Nothing,
    Terms(Terms),
    /// Of the segments.
    Statuses,
}

/// An answer without an error.
struct Done {
    value: u64,
    tail: Tail,
}

const DONE: Done = Done {
    value: 0,
    tail: Tail::Nothing,
};

impl<D: Driver> Broker<D> {
    /// Serves `socket`. `memory` is what both share, of [`COPY_BYTES`].
    pub(crate) fn new(
        driver: D,
        guest: GuestId,
        quota: u32,
        socket: OwnedFd,
        memory: Mmap,
    ) -> Self {
        Self {
            driver,
            guest,
            maps: Maps::new(quota),
            releasing: [None; SLOTS],
            socket: Some(socket),
            memory,
            segments: Vec::with_capacity(MAX_SEGMENTS),
            request: vec![0; LONGEST.div_ceil(8)].into(),
            answer: vec![0; LONGEST_ANSWER.div_ceil(8)].into(),
            unsent: 0,
        }
    }

    /// Serves what has come, one request at most: then somebody else has a turn. An error
    /// once: it does not talk with the process any more; what is mapped stays, until that
    /// ends.
    pub(crate) fn advance(&mut self, ready: Ready) -> Result<(), Closed> {
        if ready.released {
            let released = self.driver.released();
            self.release(released);
        }
        if ready.socket
            && let Some(socket) = self.socket.take()
        {
            self.serve(&socket)?;
            self.socket = Some(socket);
        }
        Ok(())
    }

    /// Pages that count.
    #[cfg(test)]
    pub(super) fn used(&self) -> u32 {
        self.maps.used()
    }

    /// The process has ended: its pages are gone, or are about to be. Sends the events that
    /// it wanted for those that it gave back, as far as the kernel tells in time.
    pub(crate) fn finish(&mut self) {
        self.socket = None;
        let _ = self.once_released(|broker| {
            let waits = broker.releasing.iter().any(Option::is_some);
            if waits { Err(Errno::EBUSY) } else { Ok(()) }
        });
    }

    /// The answer that there was no room for, or else one request.
    fn serve(&mut self, socket: &OwnedFd) -> Result<(), Closed> {
        if self.unsent > 0 {
            return self.send(socket);
        }
        let length = match receive(socket, self.request.as_mut_bytes()) {
            Ok(length) => length,
            Err(Closed::Socket(Errno::EAGAIN | Errno::EINTR)) => return Ok(()),
            Err(closed) => return Err(closed),
        };
        // Taken out, so that what is done for it can borrow the rest.
        let request = std::mem::take(&mut self.request);
        let outcome = request
            .as_bytes()
            .get(..length)
            .ok_or(Malformed::Length(length))
            .and_then(message::decode)
            .map(|(head, decoded)| (head, decoded.and_then(|request| self.perform(request))));
        self.request = request;
        let (head, done) = outcome?;
        if head.tag == NOBODY_WAITS {
            return Ok(());
        }
        self.unsent = self.write_answer(head, done);
        self.send(socket)
    }

    fn perform(&mut self, request: Request<'_>) -> Result<Done, Errno> {
        match request {
            Request::Terms => Ok(Done {
                value: 0,
                tail: Tail::Terms(self.terms()),
            }),
            Request::Map(grants) => {
                let count = u32::try_from(grants.len()).map_err(|_| Errno::EINVAL)?;
                self.room(count)?;
                let index = self.driver.map(self.guest, grants)?;
                self.maps.add(index, count);
                Ok(Done {
                    value: index,
                    ..DONE
                })
            }
            Request::Unmap { index, count } => self.unmap(index, count).map(|()| DONE),
            Request::Notify { count, notify } => self.notify(count, notify).map(|()| DONE),
            Request::Copy(segments) => self.copy(segments),
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            guest: self.guest.get().into(),
            quota: self.maps.quota(),
            max_grants: number(MAX_GRANTS),
            max_segments: number(MAX_SEGMENTS),
            copy_bytes: number(COPY_BYTES),
            zero: 0,
        }
    }

    /// The process may have the pages mapped still, and the kernel tells nobody when it
    /// has not: but for the notification, which is ours from here on.
    fn unmap(&mut self, index: u64, count: u32) -> Result<(), Errno> {
        let notice = self.maps.find(index, count)?.notice;
        let slot = self.free_slot()?;
        let mut action = UnmapNotifyAction::SEND_EVENT;
        action.set(UnmapNotifyAction::CLEAR_BYTE, notice.byte.is_some());
        let at = index + notice.byte.unwrap_or(0);
        self.driver
            .notify(at, action, self.driver.slot_port(slot))?;
        self.driver.unmap(index, count)?;
        self.maps.forget(index);
        if let Some(releasing) = self.releasing.get_mut(slot) {
            *releasing = Some(Releasing {
                count,
                port: notice.port,
            });
        }
        Ok(())
    }

    fn free_slot(&mut self) -> Result<usize, Errno> {
        self.once_released(|broker| {
            let free = broker.releasing.iter().position(Option::is_none);
            free.ok_or(Errno::EBUSY)
        })
    }

    fn room(&mut self, count: u32) -> Result<(), Errno> {
        self.once_released(|broker| broker.maps.room(count))
    }

    /// The kernel takes a moment to tell of pages that are gone.
    fn once_released<T>(&mut self, of: impl Fn(&Self) -> Result<T, Errno>) -> Result<T, Errno> {
        loop {
            let found = of(self);
            if found.is_ok() || self.releasing.iter().all(Option::is_none) {
                return found;
            }
            match self.driver.wait_for_release() {
                0 => return found,
                released => self.release(released),
            }
        }
    }

    /// Pages of these slots are gone.
    fn release(&mut self, slots: u32) {
        for (slot, releasing) in self.releasing.iter_mut().enumerate() {
            if slots & 1 << slot == 0 {
                continue;
            }
            if let Some(gone) = releasing.take() {
                self.maps.released(gone.count);
                // Where the process closed it, nobody waits.
                let _ = gone.port.map(|port| self.driver.send(port));
            }
        }
    }

    fn notify(&mut self, count: u32, notify: &Notify) -> Result<(), Errno> {
        let action = UnmapNotifyAction::from_bits(notify.action).ok_or(Errno::EINVAL)?;
        let sends = action.contains(UnmapNotifyAction::SEND_EVENT);
        let clears = action.contains(UnmapNotifyAction::CLEAR_BYTE);
        self.maps.find(notify.index, count)?;
        let port = sends.then_some(notify.port);
        // The driver takes any port of dom0: this one has to be the process's. An event
        // more is what it takes to know.
        port.map_or(Ok(()), |port| self.driver.send(port))?;
        let byte = clears.then_some(notify.offset);
        let at = notify.index + byte.unwrap_or(0);
        self.driver.notify(at, action, port.unwrap_or(0))?;
        // It could have let go of it meanwhile, and somebody else have got it. From now
        // on the driver holds it: if it is the process's, it stays that.
        let mine = port.map_or(Ok(()), |port| self.driver.send(port));
        if mine.is_err() {
            self.driver
                .notify(notify.index, UnmapNotifyAction::empty(), 0)?;
        }
        let kept = mine.map(|()| Notice { byte, port });
        self.maps.find(notify.index, count)?.notice = kept.unwrap_or_default();
        mine
    }

    fn copy(&mut self, segments: &[Segment]) -> Result<Done, Errno> {
        let (guest, base) = (self.guest, self.memory.address());
        self.segments.clear();
        self.segments.extend(
            segments
                .iter()
                .map(|segment| for_driver(segment, guest, base)),
        );
        // SAFETY: `decode` proved the offsets to be within the memory that is shared with
        // the process, to which nobody has a reference.
        unsafe { self.driver.copy(&mut self.segments) }?;
        Ok(Done {
            tail: Tail::Statuses,
            ..DONE
        })
    }

    /// Its length.
    fn write_answer(&mut self, head: Head, done: Result<Done, Errno>) -> usize {
        let mut answer = Answer {
            version: VERSION,
            operation: head.operation,
            tag: head.tag,
            ..Answer::default()
        };
        let bytes = self.answer.as_mut_bytes();
        let (to_head, to_tail) = bytes.split_at_mut(size_of::<Answer>());
        let mut length = size_of::<Answer>();
        let mut put = |tail: &[u8], at: usize| {
            if let Some(to) = to_tail.get_mut(at..at + tail.len()) {
                to.copy_from_slice(tail);
                length += tail.len();
            }
        };
        match done {
            Err(errno) => answer.error = (errno as i32).unsigned_abs(),
            Ok(Done { value, tail }) => {
                answer.value = value;
                match tail {
                    Tail::Nothing => {}
                    Tail::Terms(terms) => put(terms.as_bytes(), 0),
                    Tail::Statuses => {
                        answer.count = number(self.segments.len());
                        for (i, segment) in self.segments.iter().enumerate() {
                            put(segment.status.as_bytes(), i * size_of::<i16>());
                        }
                    }
                }
            }
        }
        to_head.copy_from_slice(answer.as_bytes());
        length
    }

    /// If there is room for it.
    fn send(&mut self, socket: &OwnedFd) -> Result<(), Closed> {
        let bytes = self.answer.as_bytes().get(..self.unsent);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(socket.as_raw_fd(), bytes.unwrap_or_default(), flags) {
            Ok(_) => {
                self.unsent = 0;
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Err(Closed::ByProgram),
            Err(errno) => Err(Closed::Socket(errno)),
        }
    }
}

impl Broker {
    /// What to wait for: the kernel's word that pages are gone, and the socket.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        // No more requests while there is no room for an answer.
        let flags = match self.unsent {
            0 => PollFlags::POLLIN,
            _ => PollFlags::POLLOUT,
        };
        let socket = self
            .socket
            .iter()
            .map(move |socket| (socket.as_fd(), flags));
        // Who waits for room looks by itself; else only an event that is owed is urgent.
        let owed = self.releasing.iter().flatten().any(|r| r.port.is_some());
        let released = match owed {
            true => PollFlags::POLLIN,
            false => PollFlags::empty(),
        };
        std::iter::once((self.driver.fd(), released)).chain(socket)
    }
}

/// One message; descriptors that come with it are closed by the kernel, as there is no
/// room for them.
fn receive(socket: &OwnedFd, into: &mut [u8]) -> Result<usize, Closed> {
    let mut into = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let received =
        recvmsg::<()>(socket.as_raw_fd(), &mut into, None, flags).map_err(|errno| match errno {
            // An answer was not read.
            Errno::ECONNRESET => Closed::ByProgram,
            other => Closed::Socket(other),
        })?;
    if received.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(Closed::Descriptors);
    }
    if received.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Malformed::Length(usize::MAX).into());
    }
    match received.bytes {
        0 => Err(Closed::ByProgram),
        length => Ok(length),
    }
}

fn for_driver(segment: &Segment, guest: GuestId, base: u64) -> GrantCopySegment {
    let flags = GrantCopyFlags::from_bits_truncate(segment.flags);
    let place = |place: &Place, granted| match granted {
        true => GrantCopyPtr::foreign(place.at, place.offset, guest.get()),
        false => GrantCopyPtr::local(base + u64::from(place.at)),
    };
    GrantCopySegment {
        source: place(&segment.source, flags.contains(GrantCopyFlags::SOURCE_GREF)),
        dest: place(&segment.dest, flags.contains(GrantCopyFlags::DEST_GREF)),
        len: segment.length,
        flags: segment.flags,
        status: GNTST_GENERAL_ERROR,
        ..GrantCopySegment::new_zeroed()
    }
}

/// Of a limit of ours.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
