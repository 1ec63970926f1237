// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `fds`: the program gets the named descriptors, each at the number
//! it was promised, and no other.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
};

use super::mechanism::{Mechanism, MechanismError};

/// Places `fds` at the numbers from 0 on, in this order, to be kept across exec.
/// With `only_these`, all others are closed by exec.
///
/// Runs in the child that will be the program. Descriptors of this process that stand
/// in the way are replaced, so `keep`, which it still needs, comes back as a
/// descriptor above them.
pub(crate) fn place(
    fds: &[BorrowedFd<'_>],
    keep: BorrowedFd<'_>,
    only_these: bool,
) -> Result<OwnedFd, MechanismError> {
    let first_free = RawFd::try_from(fds.len()).map_err(|_| failed("count", Errno::EMFILE))?;
    // Above all targets first: so none is replaced before it was placed.
    let above = |fd: BorrowedFd<'_>| -> Result<OwnedFd, MechanismError> {
        let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(first_free));
        let number = number.map_err(|errno| failed("duplicate", errno))?;
        // SAFETY: the number is new, so it is nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let keep = above(keep)?;
    let copies = fds
        .iter()
        .map(|fd| above(*fd))
        .collect::<Result<Vec<_>, _>>()?;
    if only_these {
        close_on_exec_from(first_free)?;
    }
    for (target, copy) in (0..).zip(copies) {
        // SAFETY: whatever has this number in the child is meant to be replaced, and
        // no owner of it is used again before exec.
        let placed = unsafe { libc::dup2(copy.as_raw_fd(), target) };
        Errno::result(placed).map_err(|errno| failed("place", errno))?;
    }
    Ok(keep)
}

/// Closes all but two, which are from then on numbers 0 and 1: for a child that executes
/// nothing. Whatever had another descriptor must not be used again.
pub(crate) fn keep_only(keep: [BorrowedFd<'_>; 2]) -> Result<[OwnedFd; 2], MechanismError> {
    let above = |fd: BorrowedFd<'_>| {
        fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(2)).map_err(|errno| failed("duplicate", errno))
    };
    let copies = [above(keep[0])?, above(keep[1])?];
    for (target, copy) in (0..).zip(copies) {
        // SAFETY: by this function's contract nobody uses the target any more.
        let placed = unsafe { libc::dup2(copy, target) };
        Errno::result(placed).map_err(|errno| failed("place", errno))?;
    }
    let (first, last, flags): (libc::c_uint, _, libc::c_uint) = (2, libc::c_uint::MAX, 0);
    // SAFETY: as above.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    match Errno::result(result) {
        // Before Linux 5.9.
        Err(Errno::ENOSYS) => return Err(failed("close all others (Linux 5.9)", Errno::ENOSYS)),
        other => other.map_err(|errno| failed("close all others", errno))?,
    };
    // SAFETY: placed above, and nobody else's.
    Ok([0, 1].map(|number| unsafe { OwnedFd::from_raw_fd(number) }))
}

/// Marks every descriptor from `first` on.
pub(crate) fn close_on_exec_from(first: RawFd) -> Result<(), MechanismError> {
    let start = libc::c_uint::try_from(first).unwrap_or(0);
    // SAFETY: changes flags only.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            start,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        // Before Linux 5.11.
        Err(Errno::ENOSYS | Errno::EINVAL) => one_by_one(first),
        Err(errno) => Err(failed("mark all others to be closed", errno)),
    }
}

fn one_by_one(first: RawFd) -> Result<(), MechanismError> {
    let listed = |error: io::Error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        failed("list /proc/self/fd", errno)
    };
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .map_err(listed)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| *number >= first) {
        // SAFETY: only a flag is set; a number that is closed by now is an error.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
            Ok(_) | Err(Errno::EBADF) => {}
            Err(errno) => return Err(failed("mark to be closed", errno)),
        }
    }
    Ok(())
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
