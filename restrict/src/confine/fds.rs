// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `fds`: the program gets the named descriptors, each at the number
//! it was promised, and no other.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
};

use super::mechanism::{Mechanism, MechanismError};

/// Room above those that are handed over, for what a child opens until exec.
const ROOM: usize = 5;

/// Places `fds` at the numbers from 0 on, in this order, to be kept across exec, and
/// `keep`, which the child still needs, right above. With `only_these`, closes all
/// others at once.
///
/// Runs in a forked child. Whatever had a descriptor there must not use it again, nor
/// close it: its number may be another's now.
pub(crate) fn place<const N: usize>(
    fds: &[BorrowedFd<'_>],
    keep: [Option<BorrowedFd<'_>>; N],
    only_these: bool,
) -> Result<[Option<OwnedFd>; N], MechanismError> {
    let count = |count: usize| RawFd::try_from(count).map_err(|_| failed("count", Errno::EMFILE));
    let (first_kept, first_free) = (count(fds.len())?, count(fds.len() + N)?);
    // Above all targets first: so none is replaced before it was placed.
    let above = |fd: BorrowedFd<'_>| {
        fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(first_free)).map_err(|errno| failed("duplicate", errno))
    };
    let copies: Vec<RawFd> = fds.iter().map(|fd| above(*fd)).collect::<Result<_, _>>()?;
    let kept: Vec<_> = keep
        .into_iter()
        .map(|fd| fd.map(above).transpose())
        .collect::<Result<_, _>>()?;
    for (target, copy) in (0..).zip(copies) {
        // SAFETY: by this function's contract nobody uses the target any more.
        let placed = unsafe { libc::dup2(copy, target) };
        Errno::result(placed).map_err(|errno| failed("place", errno))?;
    }
    for (target, copy) in (first_kept..).zip(&kept) {
        if let Some(copy) = copy {
            // SAFETY: as above.
            let placed = unsafe { libc::dup3(*copy, target, libc::O_CLOEXEC) };
            Errno::result(placed).map_err(|errno| failed("place", errno))?;
        }
    }
    if only_these {
        close_from(first_free)?;
    }
    let mut numbers = (first_kept..).zip(kept);
    Ok([(); N].map(|()| {
        let (number, kept) = numbers.next()?;
        // SAFETY: placed above, and nobody else's.
        kept.map(|_| unsafe { OwnedFd::from_raw_fd(number) })
    }))
}

fn close_from(first: RawFd) -> Result<(), MechanismError> {
    let first = libc::c_uint::try_from(first).unwrap_or_default();
    let (last, flags) = (libc::c_uint::MAX, 0_u32);
    // SAFETY: by the contract of `place` nobody uses these any more.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => Err(failed("close all others (Linux 5.9)", Errno::ENOSYS)),
        other => other
            .map(drop)
            .map_err(|errno| failed("close all others", errno)),
    }
}

/// That a program can have `count` descriptors and open what it takes to become it.
pub(crate) fn enough(count: usize) -> Result<(), MechanismError> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the struct, which lives.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    Errno::result(result).map_err(|errno| failed("look at their limit", errno))?;
    let needed = u64::try_from(count + ROOM).unwrap_or(u64::MAX);
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    let reason = format!("{count} of them, and the limit is {}", limit.rlim_cur);
    let remedy = format!("ask for {needed} at least, by --rlimit nofile={needed}");
    Err(MechanismError::new(Mechanism::Fds, reason, remedy))
}

/// Marks all but the standard ones to be closed by exec. In a forked child of a program
/// with threads too: system calls only.
pub(crate) fn close_on_exec() {
    let (first, last) = (3_u32, libc::c_uint::MAX);
    let flag = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: changes flags only.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, first, last, flag) };
    if marked != 0 {
        // Before Linux 5.11; more than this is not the default anywhere.
        for number in 3..65_536 {
            // SAFETY: changes a flag only; a number that is not open is an error.
            unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// Takes over a descriptor that this process inherited for itself: its number is free
/// then, but for the copy.
pub(crate) fn take(number: RawFd) -> io::Result<OwnedFd> {
    let copy = inherited(number)?;
    // SAFETY: whoever started this process meant the number for this call alone.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(copy)
}

/// A copy of a descriptor that this process inherited, by its number.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF.into());
    }
    // SAFETY: only asks; an unused number is an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fd.try_clone_to_owned()
}

/// A copy of a descriptor that exec would keep, by its number; none if it is closed by exec,
/// or is closed.
pub(crate) fn kept_across_exec(number: RawFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: only asks; an unused number is an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    match fcntl(fd, FcntlArg::F_GETFD) {
        Ok(flags) if FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) => Ok(None),
        Ok(_) => inherited(number).map(Some),
        Err(Errno::EBADF) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens /dev/null, for reading or writing.
pub(crate) fn null() -> io::Result<OwnedFd> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    Ok(file.into())
}

/// Sets or clears `O_NONBLOCK`.
pub(crate) fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    let flags = if on {
        flags | OFlag::O_NONBLOCK
    } else {
        flags - OFlag::O_NONBLOCK
    };
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags)).map(drop)
}

fn failed(what: &str, errno: Errno) -> MechanismError {
    let remedy = match errno {
        Errno::EMFILE | Errno::EINVAL | Errno::EBADF => {
            "the launcher's own nofile limit is too low: raise it"
        }
        _ => "see the list of `--fd`",
    };
    MechanismError::new(
        Mechanism::Fds,
        format!("{what}: {}", io::Error::from(errno)),
        remedy,
    )
}
