// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU that opens the device of event channels gets a handle that is restricted already
//! ([`qemu::handles`]).

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::errno::Errno;

use super::{Answer, Denial, Notifier, Served, qemu};
use crate::GuestId;

/// What somebody gets who opens the device.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handles {
    /// He has one already.
    NotAsked,
    /// What the kernel gives him: a QEMU that is asked what it can do has no guest.
    OfItsOwn,
    RestrictedTo(GuestId),
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
/// `SECCOMP_IOCTL_NOTIF_ADDFD` of Linux's `linux/seccomp.h`.
const ADD_FD: libc::Ioctl = 0x4018_2103;

impl Notifier {
    /// Answers a call that has to do with it, if it is one.
    pub(super) fn hand_over(&mut self, call: &libc::seccomp_notif) -> io::Result<Option<Served>> {
        let opens = qemu::handles::opens(&call.data);
        let done = |answered: io::Result<()>| answered.map(|()| Some(Served::Nothing));
        match self.handles {
            Handles::OfItsOwn if opens => done(self.answer(call.id, Answer::LetThrough)),
            Handles::RestrictedTo(guest) if !self.sealed => {
                if qemu::handles::restricts_events(&call.data) {
                    // It is, and the kernel would not do it twice.
                    return done(self.answer(call.id, Answer::Done));
                }
                if !qemu::handles::opens_events(call.pid, &call.data) {
                    return Ok(None);
                }
                let handle = qemu::handles::open(guest);
                match handle.and_then(|handle| self.give(call.id, &handle)) {
                    Ok(()) => Ok(Some(Served::Nothing)),
                    Err(_) => {
                        self.answer(call.id, Answer::Fails(Errno::EACCES))?;
                        Ok(Some(Served::Refused(Denial {
                            errno: Errno::EACCES,
                            ..Denial::of(&call.data, call.pid)
                        })))
                    }
                }
            }
            _ => Ok(None),
        }
    }

    /// Answers a call with the number of a new descriptor of the caller's.
    fn give(&self, id: u64, handle: &OwnedFd) -> io::Result<()> {
        let mut gift = Gift {
            id,
            flags: SEND,
            fd: handle.as_raw_fd().cast_unsigned(),
            number: 0,
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
