// SPDX-License-Identifier: MIT OR Apache-2.0
//! The broker: maps and copies the grants of one guest for a process that may not do so
//! itself. All that the process sends is taken for an attack: each request costs bounded
//! memory and time, and what is no request ends the conversation.

use std::{
    io::IoSliceMut,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
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
    maps::Maps,
    message::{
        self, Answer, COPY_BYTES, Head, LONGEST, LONGEST_ANSWER, MAX_GRANTS, MAX_SEGMENTS,
        Malformed, NOBODY_WAITS, Notify, Place, Request, Segment, Terms, VERSION,
    },
};
use crate::{
    ids::GuestId,
    mmap::{Access, Mmap, PAGE_SIZE},
};

/// How long the kernel has to say that pages are gone, for one request: so many times that
/// long. No wait counts for more than one of them: a machine that slept, or that others kept
/// busy, wakes with it over before the kernel has had its turn.
const WAIT: Duration = Duration::from_millis(10);
pub(super) const WAITS: u32 = 30;

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
pub(crate) struct Broker<D: Driver = Devices> {
    driver: D,
    guest: GuestId,
    maps: Maps<Bell<D::Pages>>,
    /// Given back, and perhaps still mapped.
    releasing: [Option<Releasing<D::Pages>>; SLOTS],
    /// None when there is nobody to talk with.
    socket: Option<OwnedFd>,
    memory: Mmap,
    segments: Vec<GrantCopySegment>,
    request: Box<[u64]>,
    answer: Box<[u64]>,
    /// Bytes of an answer that the process has no room for.
    unsent: usize,
}

#[derive(Debug)]
struct Releasing<P> {
    count: u32,
    bell: Option<Bell<P>>,
}

/// What tells the guest of an unmapping: a notification that the kernel has for one page
/// more of the guest's, which only the broker has mapped. So it is there for as long as the
/// broker wants it; when the broker ends, the kernel rings. The driver would clear a byte of
/// the process's own mapping as well, in pages that need not be there or be writable: an
/// oops in dom0.
#[derive(Debug)]
struct Bell<P> {
    index: u64,
    page: P,
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

/// The kernel tells the guest when the page is not used any more.
fn ring<D: Driver>(driver: &mut D, bell: Bell<D::Pages>) {
    drop(bell.page);
    let _ = driver.unmap(bell.index, 1);
}

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
            releasing: [const { None }; SLOTS],
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

    /// The process has ended, and its pages are gone: tells the guest so.
    pub(crate) fn finish(&mut self) {
        self.socket = None;
        let released = self.releasing.iter_mut().filter_map(Option::take);
        let bells = released.filter_map(|releasing| releasing.bell);
        for bell in bells.chain(self.maps.bells()) {
            ring(&mut self.driver, bell);
        }
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
                self.maps.add(index, grants);
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

    /// The process may have the pages mapped still.
    fn unmap(&mut self, index: u64, count: u32) -> Result<(), Errno> {
        self.maps.leave(index, count)?;
        self.depart();
        Ok(())
    }

    /// Has the kernel tell when the pages of those that leave are gone, as far as there are
    /// slots: it tells nobody else.
    fn depart(&mut self) {
        while let Some(slot) = self.releasing.iter().position(Option::is_none)
            && let Some((index, count)) = self.maps.leaving()
        {
            let port = self.driver.slot_port(slot);
            // Where that fails, it stays, and counts.
            let tells = UnmapNotifyAction::SEND_EVENT;
            if self.driver.notify(index, tells, port).is_err() {
                return;
            }
            if self.driver.unmap(index, count).is_err() {
                let _ = self.driver.notify(index, UnmapNotifyAction::empty(), 0);
                return;
            }
            let bell = self.maps.forget(index).and_then(|map| map.bell);
            if let Some(releasing) = self.releasing.get_mut(slot) {
                *releasing = Some(Releasing { count, bell });
            }
        }
    }

    /// The kernel takes a moment to tell of pages that are gone.
    fn room(&mut self, count: u32) -> Result<(), Errno> {
        let mut left = WAIT * WAITS;
        loop {
            let found = self.maps.room(count);
            if found.is_ok() || left.is_zero() || self.releasing.iter().all(Option::is_none) {
                return found;
            }
            let start = Instant::now();
            let took = match self.driver.wait_for_release(WAIT) {
                0 => WAIT,
                released => {
                    self.release(released);
                    start.elapsed().min(WAIT)
                }
            };
            left = left.saturating_sub(took);
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
                if let Some(bell) = gone.bell {
                    ring(&mut self.driver, bell);
                }
            }
        }
        self.depart();
    }

    fn notify(&mut self, count: u32, notify: &Notify) -> Result<(), Errno> {
        let action = UnmapNotifyAction::from_bits(notify.action).ok_or(Errno::EINVAL)?;
        let page = usize::try_from(notify.offset / PAGE_SIZE as u64).map_err(|_| Errno::EINVAL)?;
        let grant = self.maps.grant(notify.index, count, page)?;
        let bell = match action.is_empty() {
            true => None,
            false => Some(self.bell(grant, action, notify)?),
        };
        let map = self.maps.find(notify.index, count)?;
        if let Some(before) = std::mem::replace(&mut map.bell, bell) {
            self.silence(before);
        }
        Ok(())
    }

    /// One that does as `notify` says with the page `grant`.
    fn bell(
        &mut self,
        grant: u32,
        action: UnmapNotifyAction,
        notify: &Notify,
    ) -> Result<Bell<D::Pages>, Errno> {
        let index = self.driver.map(self.guest, &[grant])?;
        let access = match action.contains(UnmapNotifyAction::CLEAR_BYTE) {
            true => Access::ReadWrite,
            false => Access::Read,
        };
        let page = match self.driver.mmap(index, access) {
            Ok(page) => page,
            Err(errno) => {
                let _ = self.driver.unmap(index, 1);
                return Err(errno);
            }
        };
        let bell = Bell { index, page };
        match self.set(index, action, notify) {
            Ok(()) => Ok(bell),
            Err(errno) => {
                self.silence(bell);
                Err(errno)
            }
        }
    }

    fn set(&mut self, index: u64, action: UnmapNotifyAction, notify: &Notify) -> Result<(), Errno> {
        let sends = action.contains(UnmapNotifyAction::SEND_EVENT);
        let port = sends.then_some(notify.port);
        let is_mine = |driver: &D| port.map_or(Ok(()), |port| driver.send(port));
        // The driver takes any port of dom0: this one has to be the process's. An event
        // more is what it takes to know.
        is_mine(&self.driver)?;
        let at = index + notify.offset % PAGE_SIZE as u64;
        self.driver.notify(at, action, port.unwrap_or(0))?;
        // It could have let go of it meanwhile, and somebody else have got it. From now
        // on the driver holds it: if it is the process's, it stays that.
        is_mine(&self.driver)
    }

    /// Takes it down, and the guest hears nothing.
    fn silence(&mut self, bell: Bell<D::Pages>) {
        let nothing = UnmapNotifyAction::empty();
        let _ = self.driver.notify(bell.index, nothing, 0);
        ring(&mut self.driver, bell);
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
        // Who waits for room looks by itself; else only a bell is urgent, or who needs a slot.
        let rings = self.releasing.iter().flatten().any(|r| r.bell.is_some());
        let owed = rings || self.maps.leaving().is_some();
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
