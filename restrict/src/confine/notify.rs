// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor's side of a seccomp listener: it answers the calls that a filter
//! hands to it, by their numbers alone.
//!
//! What a call's arguments point to can change after a look at it, so nothing is
//! looked at, but by what answers a QEMU in the kernel's place ([`handing`]). A call
//! that was let through may sleep in the kernel for as long as the program likes, before
//! the kernel has read these arguments: sealing is done when [`Notifier::in_flight`] is
//! empty.

use std::{
    fmt, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::kill,
    unistd::Pid,
};

use super::{
    arguments,
    proc_file::whole,
    qemu,
    syscalls::{self, Verdict},
    xen_requests::{self, Mapping},
};
use crate::{Device, GuestId};
use handing::Handles;

/// So many threads may be inside of requests of the set-up phase at a time; more are
/// refused.
const MOST_IN_FLIGHT: usize = 64;

/// Answers for one listener: of `xen_requests::supervised`, or of the programs that
/// ask about all that is denied.
pub(crate) struct Notifier {
    listener: OwnedFd,
    /// As large as the running kernel's `struct seccomp_notif`.
    request: Vec<u64>,
    /// As large as its `struct seccomp_notif_resp`.
    response: Vec<u64>,
    /// Ioctls that are let through until sealed.
    until_sealed: fn(u32) -> bool,
    /// Other calls that are, and the numbers that these may have.
    calls: fn(&libc::seccomp_data) -> bool,
    numbers: fn(i32) -> bool,
    /// What it gets that opens a device of Xen's.
    handles: Handles,
    /// What it gets that binds a socket to their paths.
    listeners: qemu::Listeners,
    /// See [`Notifier::take_connection`].
    connection: Option<UnixStream>,
    /// Who wants to be root again waits, once, until [`Notifier::release`].
    holds: bool,
    /// That call.
    held: Option<u64>,
    sealed: bool,
    /// Threads (in this process's pid namespace) that were let through.
    let_through: Vec<u32>,
}

/// What waited.
enum Received {
    Nothing,
    Call(libc::seccomp_notif),
    End,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// It was let through, or done in the caller's place; or there was none.
    Answered,
    Refused(Denial),
    /// It asks to be root again. See [`Notifier::release`].
    Held,
    /// No process is left that could make one.
    Over,
}

impl Notifier {
    /// For a QEMU that gives root up itself, and gets restricted handles of these devices, and
    /// these sockets; one without a guest is asked what it can do.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn of_qemu(
        listener: OwnedFd,
        guest: Option<GuestId>,
        given: &'static [Device],
        listeners: qemu::Listeners,
    ) -> io::Result<Self> {
        let restricted = |guest| Handles::RestrictedTo(guest, given);
        Ok(Self {
            handles: guest.map_or(Handles::OfItsOwn, restricted),
            listeners,
            calls: qemu::is_until_given_up,
            numbers: qemu::may_be_until_given_up,
            // Requests are among the calls.
            until_sealed: |_| false,
            holds: true,
            ..Self::new(listener, Mapping::Always)?
        })
    }

    /// # Errors
    /// The kernel has no listeners: before Linux 5.0.
    pub(crate) fn new(listener: OwnedFd, mapping: Mapping) -> io::Result<Self> {
        let mut sizes = libc::seccomp_notif_sizes {
            seccomp_notif: 0,
            seccomp_notif_resp: 0,
            seccomp_data: 0,
        };
        let operation = libc::SECCOMP_GET_NOTIF_SIZES;
        // SAFETY: the kernel writes the struct, which lives.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, operation, 0_usize, &raw mut sizes) };
        Errno::result(result)?;
        let buffer = |kernels: u16, ours: usize| vec![0; ours.max(kernels.into()).div_ceil(8)];
        Ok(Self {
            listener,
            request: buffer(sizes.seccomp_notif, size_of::<libc::seccomp_notif>()),
            response: buffer(
                sizes.seccomp_notif_resp,
                size_of::<libc::seccomp_notif_resp>(),
            ),
            until_sealed: mapping.until_sealed(),
            calls: |_| false,
            numbers: |_| false,
            handles: Handles::NotAsked,
            listeners: qemu::Listeners::default(),
            connection: None,
            holds: false,
            held: None,
            sealed: false,
            let_through: Vec::new(),
        })
    }

    /// Answers one call, if one waits. Gives what was refused: the program can
    /// make any number of these.
    ///
    /// # Errors
    /// The listener's: it is of no use any more, and the calls fail with ENOSYS when it
    /// is dropped.
    pub(crate) fn serve(&mut self) -> io::Result<Served> {
        let call = match self.receive()? {
            Received::Call(call) => call,
            Received::Nothing => return Ok(Served::Answered),
            Received::End => return Ok(Served::Over),
        };
        // It is in this call, and in none that was let through.
        self.let_through.retain(|thread| *thread != call.pid);
        let root_again = qemu::asks_for_root(&call.data);
        if self.holds && root_again {
            self.holds = false;
            self.held = Some(call.id);
            return Ok(Served::Held);
        }
        if let Some(served) = self.hand_over(&call)? {
            return Ok(served);
        }
        if !root_again && self.is_let_through(&call.data) && self.remember(call.pid) {
            return self
                .answer(call.id, Answer::LetThrough)
                .map(|()| Served::Answered);
        }
        let denial = Denial::of(&call.data, call.pid);
        self.answer(call.id, Answer::Fails(denial.errno))?;
        Ok(Served::Refused(denial))
    }

    /// Refuses the call that is held, and from here on holds none.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub(crate) fn release(&mut self) -> io::Result<()> {
        self.holds = false;
        match self.held.take() {
            Some(held) => self.answer(held, Answer::Fails(Errno::EPERM)),
            None => Ok(()),
        }
    }

    /// From here on no request of the set-up phase is let through.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
        self.listeners = qemu::Listeners::default();
    }

    /// The threads that were let through and may still be inside. Asked again, it
    /// may know better: a thread that runs is inside for all that is known.
    ///
    /// It takes CAP_SYS_PTRACE, unless the threads are this process's user's. A
    /// thread that may not be looked at is inside.
    pub(crate) fn in_flight(&mut self) -> Vec<u32> {
        let (until_sealed, numbers) = (self.until_sealed, self.numbers);
        self.let_through
            .retain(|thread| is_inside(*thread, until_sealed, numbers));
        self.let_through.clone()
    }

    /// Whether it is certain, without a look, that nobody is inside.
    pub(crate) fn none_in_flight(&self) -> bool {
        self.let_through.is_empty()
    }

    fn is_let_through(&self, call: &libc::seccomp_data) -> bool {
        let request =
            i64::from(call.nr) == libc::SYS_ioctl && (self.until_sealed)(low_half(call.args[1]));
        !self.sealed && (request || (self.calls)(call))
    }

    /// Whether the thread can be followed.
    fn remember(&mut self, thread: u32) -> bool {
        if self.let_through.contains(&thread) {
            return true;
        }
        if self.let_through.len() >= MOST_IN_FLIGHT {
            self.in_flight();
        }
        // 0 is one that this process's pid namespace does not have.
        let can = thread != 0 && self.let_through.len() < MOST_IN_FLIGHT;
        if can {
            self.let_through.push(thread);
        }
        can
    }

    fn receive(&mut self) -> io::Result<Received> {
        // Without one waiting, the request below would wait.
        let mut waiting = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::ZERO)?;
        let events = waiting[0].revents().unwrap_or(PollFlags::empty());
        if !events.contains(PollFlags::POLLIN) {
            return Ok(match events.contains(PollFlags::POLLHUP) {
                true => Received::End,
                false => Received::Nothing,
            });
        }
        self.request.fill(0);
        let into = self.request.as_mut_ptr();
        // SAFETY: the kernel writes one struct of its size, and the buffer has that.
        let result = unsafe {
            libc::ioctl(
                self.listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                into,
            )
        };
        match Errno::result(result) {
            // SAFETY: the buffer is as large as the struct at least, aligned to 8, and
            // initialised; any bytes are a value of it.
            Ok(_) => Ok(Received::Call(unsafe {
                into.cast::<libc::seccomp_notif>().read()
            })),
            // The caller was killed, or a signal came for us.
            Err(Errno::ENOENT | Errno::EINTR) => Ok(Received::Nothing),
            Err(errno) => Err(errno.into()),
        }
    }

    fn answer(&mut self, id: u64, answer: Answer) -> io::Result<()> {
        let (error, flags) = match answer {
            Answer::LetThrough => (0, CONTINUE),
            Answer::Done | Answer::Is(_) => (0, 0),
            Answer::Fails(errno) => (-(errno as i32), 0),
        };
        let val = match answer {
            Answer::Is(value) => value,
            _ => 0,
        };
        self.response.fill(0);
        let response = libc::seccomp_notif_resp {
            id,
            val,
            error,
            flags,
        };
        let from = self.response.as_mut_ptr();
        // SAFETY: the buffer is as large as the struct at least, and aligned to 8.
        unsafe { from.cast::<libc::seccomp_notif_resp>().write(response) };
        // SAFETY: the kernel reads one struct of its size, and the buffer has that.
        let result = unsafe {
            libc::ioctl(
                self.listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                from,
            )
        };
        match (Errno::result(result), answer) {
            // The caller was killed, or a signal took it out of its call.
            (Ok(_) | Err(Errno::ENOENT), _) => Ok(()),
            // Linux before 5.5 cannot continue: then it cannot be.
            (Err(Errno::EINVAL), Answer::LetThrough) => {
                self.answer(id, Answer::Fails(Errno::EPERM))?;
                Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the kernel cannot let a call through: it takes Linux 5.5",
                ))
            }
            (Err(errno), _) => Err(errno.into()),
        }
    }
}

impl AsFd for Notifier {
    /// Readable when a call waits, hung up when no process is left that could.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

const CONTINUE: u32 = 1;

#[derive(Clone, Copy)]
enum Answer {
    LetThrough,
    /// It is told that it was done.
    Done,
    /// And what the result is.
    Is(i64),
    Fails(Errno),
}

/// The kernel's `unsigned int` of an ioctl's number.
pub(super) fn low_half(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).unwrap_or_default()
}

/// One in execve that was not the first thread goes on by the first's number, and seems gone:
/// where that matters, of a QEMU, all threads are stopped and looked at besides.
fn is_inside(thread: u32, until_sealed: fn(u32) -> bool, numbers: fn(i32) -> bool) -> bool {
    match whole(format!("/proc/{thread}/syscall")) {
        Ok(call) => {
            let call = String::from_utf8_lossy(&call);
            may_be_inside(&call, until_sealed) || is_in_one(&call, numbers)
        }
        // Not to be looked at, or (without /proc, or hidden there) not to be seen.
        Err(_) => exists(thread),
    }
}

fn exists(thread: u32) -> bool {
    i32::try_from(thread).is_ok_and(|id| kill(Pid::from_raw(id), None) != Err(Errno::ESRCH))
}

/// By the same line.
fn is_in_one(line: &str, numbers: fn(i32) -> bool) -> bool {
    let number = line.split_ascii_whitespace().next();
    number
        .and_then(|number| number.parse().ok())
        .is_some_and(numbers)
}

/// By a line of /proc/<thread>/syscall: "running", or the number of the call it sleeps
/// in (or -1) and the arguments.
pub(super) fn may_be_inside(line: &str, until_sealed: fn(u32) -> bool) -> bool {
    let mut fields = line.split_ascii_whitespace();
    let Some(number) = fields.next().and_then(|number| number.parse::<i64>().ok()) else {
        return true;
    };
    let mut request = || {
        let digits = fields.nth(1)?.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    };
    number == libc::SYS_ioctl && request().is_none_or(|number| until_sealed(low_half(number)))
}

/// A call that was refused. What it holds is the program's choice, numbers all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) number: i32,
    /// `None`: of a kernel newer than this crate.
    pub(crate) name: Option<&'static str>,
    pub(crate) arguments: [u64; 6],
    /// In this process's pid namespace.
    pub(crate) thread: u32,
    /// What it was told.
    pub(crate) errno: Errno,
}

impl Denial {
    pub(crate) fn of(call: &libc::seccomp_data, thread: u32) -> Self {
        let (verdict, name) = syscalls::by_number(call.nr);
        Self {
            number: call.nr,
            name,
            arguments: call.args,
            thread,
            errno: match verdict {
                Verdict::Missing => Errno::ENOSYS,
                Verdict::Allowed | Verdict::Refused => Errno::EPERM,
            },
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            arguments,
            thread,
            errno,
            ..
        } = self;
        match self.name {
            None => write!(f, "system call {number}")?,
            Some("ioctl") => {
                let request = low_half(arguments[1]);
                write!(f, "ioctl {request:#x}")?;
                if let Some(row) = xen_requests::by_number(request) {
                    write!(f, " ({})", row.request)?;
                }
            }
            Some(name) if arguments::cases(name).is_some() => {
                let [a, b, c, d, ..] = arguments;
                write!(f, "{name}({a:#x}, {b:#x}, {c:#x}, {d:#x})")?;
            }
            Some(name) => f.write_str(name)?,
        }
        write!(f, " of thread {thread}: {errno:?}")
    }
}

mod handing;
#[cfg(test)]
mod tests;
