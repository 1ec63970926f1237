// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests on the shared descriptor, in every way there is.

use std::{
    io::IoSlice,
    os::fd::{AsRawFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
        },
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};
use xen_restrict::{GRANT_BROKER_NAME, GRANT_DEVICE_NAME};

/// The number of a descriptor that was handed over.
pub(crate) fn number_of(name: &str) -> RawFd {
    let names = std::env::var("LISTEN_FDNAMES").expect("started by a launcher");
    let at = names.split(':').position(|other| other == name);
    let at = at.expect("handed over");
    3 + i32::try_from(at).expect("few")
}

pub(crate) fn broker() -> RawFd {
    number_of(GRANT_BROKER_NAME)
}

pub(crate) fn gntdev() -> RawFd {
    number_of(GRANT_DEVICE_NAME)
}

/// An ioctl as the kernel gets it, with all 64 bits of its number.
fn ioctl(fd: RawFd, number: u64) -> Result<i64, Errno> {
    // SAFETY: a null argument.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioctl, fd, number, 0) })
}

pub(crate) fn all_are_refused() {
    every_number(gntdev());
    in_a_child();
    not_through_a_socket();
    no_ring();
}

fn every_number(fd: RawFd) {
    // Sizes that occur, and the largest.
    for size in [0_u64, 4, 8, 16, 20, 24, 0x3fff] {
        for nr in 0..=255 {
            let number = size << 16 | u64::from(b'G') << 8 | nr;
            for bits in [0, 1 << 30, 2 << 30, 3 << 30, 1 << 32, u64::MAX << 32] {
                assert_eq!(ioctl(fd, number | bits), Err(Errno::EPERM), "{number:#x}");
            }
        }
    }
}

fn in_a_child() {
    // SAFETY: one thread.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            every_number(gntdev());
            std::process::exit(0);
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
        }
    }
}

/// It is the same open file for whoever gets it, and somebody else has no filter.
fn not_through_a_socket() {
    let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
    let (one, other) = socketpair(AddressFamily::Unix, kind, None, flags).expect("a pair");
    let fds = [gntdev()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let text = [IoSlice::new(b"x")];
    let sent = sendmsg::<()>(one.as_raw_fd(), &text, &rights, MsgFlags::empty(), None);
    assert_eq!(sent, Err(Errno::EPERM));
    // SAFETY: null arguments.
    let sent = unsafe { libc::sendmmsg(one.as_raw_fd(), std::ptr::null_mut(), 0, 0) };
    assert_eq!(Errno::result(sent), Err(Errno::EPERM));
    drop(other);
}

/// No requests by io_uring, either.
fn no_ring() {
    // SAFETY: null arguments.
    let ring = Errno::result(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, 0) });
    assert!(
        matches!(ring, Err(Errno::EPERM | Errno::ENOSYS)),
        "{ring:?}"
    );
}

/// The 32-bit system call.
#[cfg(target_arch = "x86_64")]
pub(crate) fn by_int80() {
    const IOCTL: u64 = 54;
    let fd = u64::from(gntdev().unsigned_abs());
    let answer: i64;
    // SAFETY: a null argument; rbx is put back.
    unsafe {
        std::arch::asm!(
            "xchg {fd}, rbx", "int 0x80", "xchg {fd}, rbx",
            fd = inout(reg) fd => _,
            inlateout("rax") IOCTL => answer,
            in("rcx") 0x0018_4700_u64, in("rdx") 0_u64,
        );
    }
    panic!("int 0x80 answered {answer}");
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn by_x32() {
    const X32: i64 = 0x4000_0000;
    // SAFETY: a null argument.
    let answer = unsafe { libc::syscall(X32 | 514, gntdev(), 0x0018_4700, 0) };
    panic!("x32 answered {answer}");
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn by_int80() {
    panic!("there is none here");
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn by_x32() {
    panic!("there is none here");
}
