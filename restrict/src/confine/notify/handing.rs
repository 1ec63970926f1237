// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU that opens one of Xen's devices gets a handle that is restricted already
//! ([`qemu::handles`]), and one that connects to xenstored a connection to its supervisor
//! ([`qemu::connects`]).

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
};

use nix::errno::Errno;

use super::{Answer, Denial, Notifier, Served, low_half, qemu};
use crate::{Device, GuestId};

/// What somebody gets who opens a device of Xen's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handles {
    /// He has one already.
    NotAsked,
    /// What the kernel gives him: a QEMU that is asked what it can do has no guest.
    OfItsOwn,
    /// Of these devices.
    RestrictedTo(GuestId, &'static [Device]),
}

/// `struct seccomp_notif_addfd` (Linux 5.9).
#[repr(C)]
struct Gift {
    id: u64,
    flags: u32,
    fd: u32,
    number: u32,
    new_flags: u32,
}
/// `SECCOMP_ADDFD_FLAG_SEND` (Linux 5.14): the call's result is the new number.
const SEND: u32 = 2;
/// `SECCOMP_ADDFD_FLAG_SETFD` (Linux 5.9): the number is given, and replaced.
const SET: u32 = 1;
/// `SECCOMP_IOCTL_NOTIF_ADDFD` of Linux's `linux/seccomp.h`.
const ADD_FD: libc::Ioctl = 0x4018_2103;

impl Notifier {
    /// Answers a call that has to do with it, if it is one.
    pub(super) fn hand_over(&mut self, call: &libc::seccomp_notif) -> io::Result<Option<Served>> {
        let opens = qemu::handles::opens(&call.data);
        let done = |answered: io::Result<()>| answered.map(|()| Some(Served::Answered));
        if qemu::connects::connects(&call.data) {
            return match self.handles {
                _ if self.sealed => Ok(None),
                Handles::NotAsked => Ok(None),
                Handles::OfItsOwn => self.refuse(call).map(Some),
                Handles::RestrictedTo(..) => self.connect(call).map(Some),
            };
        }
        let removes = qemu::binds::removes(&call.data).is_some();
        if qemu::binds::binds(&call.data) || removes {
            return match self.handles {
                Handles::RestrictedTo(..) if !self.sealed => self.listen(call),
                _ => Ok(None),
            };
        }
        if qemu::memory::is_hypercall(&call.data) {
            return match self.handles {
                Handles::RestrictedTo(guest, _) if !self.sealed => {
                    self.populate(call, guest).map(Some)
                }
                _ => Ok(None),
            };
        }
        match self.handles {
            Handles::OfItsOwn if opens => done(self.answer(call.id, Answer::LetThrough)),
            Handles::RestrictedTo(guest, devices) if !self.sealed => {
                if qemu::handles::restricts_events(&call.data) {
                    // It is, and the kernel would not do it twice.
                    return done(self.answer(call.id, Answer::Done));
                }
                let Some(Ok(memory)) = opens.then(|| self.memory_of(call)) else {
                    return Ok(None);
                };
                if qemu::handles::opens_buffers(&memory, &call.data) {
                    return done(self.answer(call.id, Answer::Fails(Errno::ENOENT)));
                }
                let opened = qemu::handles::opened(&memory, &call.data, devices);
                let Some(device) = opened else {
                    return Ok(None);
                };
                let handle = qemu::handles::open(device, guest);
                match handle.and_then(|handle| self.give(call.id, handle.as_fd(), None)) {
                    Ok(()) => Ok(Some(Served::Answered)),
                    Err(_) => self.refuse(call).map(Some),
                }
            }
            _ => Ok(None),
        }
    }

    /// The caller's guest gets memory, if that is what he asks for.
    fn populate(&mut self, call: &libc::seccomp_notif, guest: GuestId) -> io::Result<Served> {
        let memory = self.memory_of(call);
        let given =
            memory.and_then(|memory| qemu::memory::populate(&memory, call.data.args[2], guest));
        match given {
            Ok(result) => {
                self.answer(call.id, Answer::Is(result))?;
                Ok(Served::Answered)
            }
            Err(_) => self.refuse(call),
        }
    }

    /// The memory of who waits, and of nobody who has his number by now.
    fn memory_of(&self, call: &libc::seccomp_notif) -> io::Result<File> {
        let path = format!("/proc/{}/mem", call.pid);
        let memory = File::options().read(true).write(true).open(path)?;
        let (listener, id) = (self.listener.as_raw_fd(), &raw const call.id);
        // SAFETY: the kernel reads the number, which lives.
        let waits = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, id) };
        Errno::result(waits)?;
        Ok(memory)
    }

    fn refuse(&mut self, call: &libc::seccomp_notif) -> io::Result<Served> {
        self.answer(call.id, Answer::Fails(Errno::EACCES))?;
        Ok(Served::Refused(Denial {
            errno: Errno::EACCES,
            ..Denial::of(&call.data, call.pid)
        }))
    }

    /// The caller's socket becomes one that is connected to this process, if he wants xenstored;
    /// others are not.
    fn connect(&mut self, call: &libc::seccomp_notif) -> io::Result<Served> {
        let number = low_half(call.data.args[0]);
        let memory = self.memory_of(call);
        let asks = memory.is_ok_and(|memory| qemu::connects::to_xenstored(&memory, &call.data));
        let given = asks.then(|| {
            let (ours, callers) = UnixStream::pair()?;
            self.give(call.id, callers.as_fd(), Some(number))?;
            Ok::<_, io::Error>(ours)
        });
        match given {
            Some(Ok(ours)) => {
                self.answer(call.id, Answer::Done)?;
                self.connection = Some(ours);
                Ok(Served::Answered)
            }
            Some(Err(_)) | None => self.refuse(call),
        }
    }

    /// The caller's socket becomes one that is bound already, if it is to be bound to its path;
    /// nor is that removed.
    fn listen(&mut self, call: &libc::seccomp_notif) -> io::Result<Option<Served>> {
        let Ok(memory) = self.memory_of(call) else {
            return Ok(None);
        };
        if qemu::binds::removes(&call.data).is_some() {
            if !self.listeners.is_removed(&memory, &call.data) {
                return Ok(None);
            }
        } else {
            let number = low_half(call.data.args[0]);
            let Some(bound) = self.listeners.bound(&memory, &call.data) else {
                return Ok(None);
            };
            if self.give(call.id, bound, Some(number)).is_err() {
                return self.refuse(call).map(Some);
            }
        }
        self.answer(call.id, Answer::Done)?;
        Ok(Some(Served::Answered))
    }

    /// This process's end of what was connected last.
    pub(crate) fn take_connection(&mut self) -> Option<UnixStream> {
        self.connection.take()
    }

    /// Gives the caller a descriptor: by a number of its own, or a new one, which is the
    /// answer then.
    fn give(&self, id: u64, handle: BorrowedFd<'_>, number: Option<u32>) -> io::Result<()> {
        let mut gift = Gift {
            id,
            flags: if number.is_some() { SET } else { SEND },
            fd: handle.as_raw_fd().cast_unsigned(),
            number: number.unwrap_or(0),
            new_flags: libc::O_CLOEXEC.cast_unsigned(),
        };
        let (listener, gift) = (self.listener.as_raw_fd(), &raw mut gift);
        // SAFETY: the kernel reads the struct, which lives.
        let result = unsafe { libc::ioctl(listener, ADD_FD, gift) };
        match Errno::result(result) {
            // The caller was killed, or a signal took it out of its call.
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
