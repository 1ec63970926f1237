// SPDX-License-Identifier: MIT OR Apache-2.0
//! The confined side: asks the broker, one request at a time.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, recv, send},
};
use xen_sys::{gntdev, grant_table::GNTST_GENERAL_ERROR};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    buffer::Shared,
    message::{
        Answer, COPY_BYTES, Head, LONGEST, LONGEST_ANSWER, MAX_GRANTS, MAX_SEGMENTS, NOBODY_WAITS,
        Notify, Segment, Terms, VERSION, operation,
    },
};
use crate::{
    error::Cause,
    guest_copy::GuestCopy,
    ids::{GrantRef, GuestId},
    mmap::Mmap,
    shared,
};

/// A conversation with the broker, shared by all threads.
#[derive(Debug)]
pub(crate) struct Client {
    line: Mutex<Line>,
    terms: Terms,
}

#[derive(Debug)]
struct Line {
    socket: OwnedFd,
    /// Of copies; used by whoever has the line.
    memory: Mmap,
    tag: u32,
    request: Box<[u64]>,
    answer: Box<[u64]>,
    /// An answer was not one: those that follow could be somebody else's.
    broken: bool,
}

impl Client {
    /// Asks for the terms; `EINVAL` if this broker is of another version or guest.
    pub(crate) fn connect(socket: OwnedFd, memory: &Shared, guest: GuestId) -> Result<Self, Cause> {
        let mut line = Line {
            socket,
            memory: memory.map().map_err(Cause::errno)?,
            tag: 0,
            request: vec![0; LONGEST.div_ceil(8)].into(),
            answer: vec![0; LONGEST_ANSWER.div_ceil(8)].into(),
            broken: false,
        };
        let (_, tail) = line.ask(operation::TERMS, 0, &[])?;
        let (terms, _) = Terms::read_from_prefix(tail).map_err(|_| Cause::BrokerGone)?;
        let known = terms.max_grants as usize >= MAX_GRANTS
            && terms.max_segments as usize >= MAX_SEGMENTS
            && terms.copy_bytes as usize == COPY_BYTES;
        if !known || terms.guest != u32::from(guest.get()) {
            return Err(Cause::Invalid {
                what: format!(
                    "the grant broker is for domain {}, not {guest}",
                    terms.guest
                ),
                remedy: "use a launcher of the same version",
            });
        }
        let line = Mutex::new(line);
        Ok(Self { line, terms })
    }

    /// Pages that can be mapped at a time.
    pub(crate) fn quota(&self) -> u32 {
        self.terms.quota
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves an index.
    pub(crate) fn map(&self, grants: &[GrantRef]) -> Result<u64, Cause> {
        if grants.len() > MAX_GRANTS {
            return Err(Cause::TooMany {
                what: "grant references",
                count: grants.len(),
                limit: MAX_GRANTS,
                hint: "",
            });
        }
        let mut line = self.line();
        let body = line.body();
        for (to, grant) in body.chunks_exact_mut(size_of::<u32>()).zip(grants) {
            to.copy_from_slice(grant.get().as_bytes());
        }
        match line.send(operation::MAP, count(grants.len()), size_of_val(grants)) {
            Ok((answer, _)) => Ok(answer.value),
            Err(Cause::Kernel(error)) if error.raw_os_error() == Some(libc::EDQUOT) => {
                Err(Cause::Quota {
                    pages: grants.len(),
                    quota: self.quota(),
                })
            }
            Err(other) => Err(other),
        }
    }

    /// Gives it back. Nobody waits for that.
    pub(crate) fn unmap(&self, index: u64, pages: u32) {
        let mut line = self.line();
        let index = index.as_bytes();
        if let Some(to) = line.body().get_mut(..index.len()) {
            to.copy_from_slice(index);
        }
        // Where the broker is gone, this process is about to be.
        let _ = line.tell(operation::UNMAP, NOBODY_WAITS, pages, index.len());
    }

    /// `notify` is what the driver would get, for the index and a byte of it.
    pub(crate) fn notify(
        &self,
        index: u64,
        pages: u32,
        notify: &gntdev::UnmapNotify,
    ) -> Result<(), Cause> {
        let notify = Notify {
            index,
            offset: notify.index.saturating_sub(index),
            action: notify.action,
            port: notify.event_channel_port,
        };
        let mut line = self.line();
        line.ask(operation::NOTIFY, pages, notify.as_bytes())
            .map(drop)
    }

    /// As many messages as it takes.
    pub(crate) fn copy(&self, copies: &mut [GuestCopy<'_>]) -> Result<(), Cause> {
        for copy in &mut *copies {
            copy.set_status(GNTST_GENERAL_ERROR);
        }
        let mut line = self.line();
        let mut rest = copies;
        while !rest.is_empty() {
            let done = line.copy(rest)?;
            rest = rest.get_mut(done..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Line {
    /// Where the request's rest goes.
    fn body(&mut self) -> &mut [u8] {
        let bytes = self.request.as_mut_bytes();
        bytes.get_mut(size_of::<Head>()..).unwrap_or_default()
    }

    fn ask(&mut self, operation: u16, count: u32, body: &[u8]) -> Result<(Answer, &[u8]), Cause> {
        let to = self.body().get_mut(..body.len());
        to.ok_or(Cause::BrokerGone)?.copy_from_slice(body);
        self.send(operation, count, body.len())
    }

    /// Sends what is in the body, and waits for the answer.
    fn send(
        &mut self,
        operation: u16,
        count: u32,
        length: usize,
    ) -> Result<(Answer, &[u8]), Cause> {
        self.tag = self.tag.wrapping_add(1).max(NOBODY_WAITS + 1);
        let tag = self.tag;
        self.tell(operation, tag, count, length)?;
        // Until there is an answer that is one.
        self.broken = true;
        let fd = self.socket.as_raw_fd();
        let into = self.answer.as_mut_bytes();
        let received = again(|| recv(fd, into, MsgFlags::empty())).map_err(gone)?;
        let bytes = self.answer.as_bytes().get(..received);
        let (answer, tail) =
            Answer::read_from_prefix(bytes.unwrap_or_default()).map_err(|_| Cause::BrokerGone)?;
        let ours = (answer.version, answer.operation, answer.tag) == (VERSION, operation, tag);
        if !ours {
            return Err(Cause::BrokerGone);
        }
        self.broken = false;
        match i32::try_from(answer.error) {
            Ok(0) => Ok((answer, tail)),
            Ok(error) => Err(Cause::errno(Errno::from_raw(error))),
            Err(_) => Err(Cause::BrokerGone),
        }
    }

    /// Sends what is in the body.
    fn tell(&mut self, operation: u16, tag: u32, count: u32, length: usize) -> Result<(), Cause> {
        if self.broken {
            return Err(Cause::BrokerGone);
        }
        let head = Head {
            version: VERSION,
            operation,
            tag,
            count,
            zero: 0,
        };
        let bytes = self.request.as_mut_bytes();
        if let Some(to) = bytes.get_mut(..size_of::<Head>()) {
            to.copy_from_slice(head.as_bytes());
        }
        let request = bytes.get(..size_of::<Head>() + length);
        let fd = self.socket.as_raw_fd();
        let request = request.unwrap_or_default();
        again(|| send(fd, request, MsgFlags::MSG_NOSIGNAL)).map_err(gone)?;
        Ok(())
    }

    /// As many as one message takes; how many.
    fn copy(&mut self, copies: &mut [GuestCopy<'_>]) -> Result<usize, Cause> {
        let mut used = 0;
        let mut segments = 0;
        let memory = self.memory.start().as_ptr();
        for copy in copies.iter().take(MAX_SEGMENTS) {
            let local = copy.local_length();
            if used + local > COPY_BYTES {
                break;
            }
            let segment = copy.segment(count(used));
            if let Some(bytes) = copy.origin() {
                // SAFETY: the range is within the mapping, as was looked at; the line is
                // locked, and the broker reads only when asked.
                unsafe { shared::write(memory.wrapping_add(used), bytes) };
            }
            let at = segments * size_of::<Segment>();
            if let Some(to) = self.body().get_mut(at..at + size_of::<Segment>()) {
                to.copy_from_slice(segment.as_bytes());
            }
            used += local;
            segments += 1;
        }
        let length = segments * size_of::<Segment>();
        let (answer, tail) = self.send(operation::COPY, count(segments), length)?;
        let statuses = read_list::<i16>(tail, answer.count).filter(|list| list.len() == segments);
        let statuses = statuses.ok_or(Cause::BrokerGone)?;
        let mut at = 0;
        for (copy, status) in copies.iter_mut().zip(statuses) {
            copy.set_status(*status);
            let local = copy.local_length();
            if let Some(into) = copy.destination() {
                // SAFETY: as above.
                unsafe { shared::read(memory.wrapping_add(at), into) };
            }
            at += local;
        }
        Ok(segments)
    }
}

fn read_list<T: FromBytes + Immutable + KnownLayout>(bytes: &[u8], count: u32) -> Option<&[T]> {
    let (list, _) = <[T]>::ref_from_prefix_with_elems(bytes, count as usize).ok()?;
    Some(list)
}

fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

fn gone(errno: Errno) -> Cause {
    match errno {
        Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN => Cause::BrokerGone,
        other => Cause::errno(other),
    }
}

/// Of something that a limit of ours bounds.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
