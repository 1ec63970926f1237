// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading a seccomp program. These are system calls and nothing else: no allocation,
//! no lock, so a forked child of a program with threads may use them.
//!
//! Loading sets no no-new-privs. Without it the kernel takes a program only from
//! who has CAP_SYS_ADMIN, and says EACCES to others.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use nix::errno::Errno;
use seccompiler::{BpfProgram, sock_filter};

use super::{bpf::FilterError, no_new_privs};

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    filter: *const sock_filter,
}

/// For the calling thread, and what it starts from here on.
pub(crate) fn load(program: &BpfProgram) -> io::Result<()> {
    seccomp(program, 0).map(drop)
}

/// The same, and gives the descriptor (close-on-exec) at which a supervisor is asked
/// about the calls that the program hands to it. A thread can have one such program:
/// EBUSY tells that there is one, of a sandbox around it.
pub(crate) fn load_with_listener(program: &BpfProgram) -> io::Result<OwnedFd> {
    let fd = seccomp(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::from(Errno::EBADF))?;
    // SAFETY: with this flag the call returns a new descriptor, and nobody has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// For every thread of the process, or for none. Sets no-new-privs, which all threads
/// get with it.
pub(crate) fn load_with_no_new_privs(program: &BpfProgram) -> Result<(), FilterError> {
    no_new_privs::set().map_err(|_| FilterError::NoRight)?;
    match seccomp(program, libc::SECCOMP_FILTER_FLAG_TSYNC)? {
        0 => Ok(()),
        // It has programs that the calling thread has not.
        thread => Err(FilterError::Thread { thread }),
    }
}

fn seccomp(program: &BpfProgram, flags: libc::c_ulong) -> io::Result<i64> {
    let Ok(length) = u16::try_from(program.len()) else {
        return Err(Errno::E2BIG.into());
    };
    let program = Program {
        length,
        filter: program.as_ptr(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel reads `length` instructions at `filter`, which the slice
    // has; its type is laid out as the kernel's.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    Ok(Errno::result(result)?)
}
