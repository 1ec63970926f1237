// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel keeps for a program, and its time.

use std::{
    hint,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    ptr, thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
        eventfd::EventFd,
        memfd::{MFdFlags, memfd_create},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
    },
    unistd::{ForkResult, dup, fork, pipe2, setsid},
};

use crate::{Taken, memory::filled, until_refused};

pub(crate) fn pipes(most: u64) -> Taken {
    filling(most, || {
        let (reader, writer) = pipe2(OFlag::O_NONBLOCK)?;
        Ok([reader, writer])
    })
}

pub(crate) fn sockets(most: u64) -> Taken {
    filling(most, || {
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let (one, other) = socketpair(family, kind, None, SockFlag::SOCK_NONBLOCK)?;
        Ok([one, other])
    })
}

/// KiB that wait in them to be read.
fn filling(most: u64, mut next: impl FnMut() -> nix::Result<[OwnedFd; 2]>) -> Taken {
    let (mut kept, mut bytes, block) = (Vec::new(), 0, [7; 4096]);
    while bytes >> 10 < most {
        match next() {
            Ok(ends) => {
                let sides = ends.each_ref().map(|end| filled(end.as_fd(), &block));
                bytes += sides.iter().sum::<u64>();
                kept.push(ends);
            }
            Err(errno) => {
                hold(kept);
                return Taken(bytes >> 10, Some(errno));
            }
        }
    }
    hold(kept);
    Taken(bytes >> 10, None)
}

/// For as long as this process lives.
fn hold<T>(kept: T) {
    std::mem::forget(kept);
}

/// Of every second byte of files in memory: no two can be joined.
pub(crate) fn locks(most: u64) -> Taken {
    /// Finding a lock's place takes a look at each of the file's.
    const A_FILE: u64 = 500;
    let mut file: Option<OwnedFd> = None;
    until_refused(most, |count| {
        if count % A_FILE == 0 {
            hold(file.replace(memfd_create(c"costly", MFdFlags::MFD_CLOEXEC)?));
        }
        let lock = libc::flock {
            l_type: 1,
            l_whence: 0,
            l_start: i64::try_from(2 * (count % A_FILE)).unwrap_or_default(),
            l_len: 1,
            l_pid: 0,
        };
        let fd = file.as_ref().map_or(-1, |fd| fd.as_raw_fd());
        // SAFETY: reads the struct, which lives.
        Errno::result(unsafe { libc::fcntl(fd, libc::F_SETLK, &raw const lock) }).map(drop)
    })
}

pub(crate) fn timers(most: u64) -> Taken {
    until_refused(most, |_| {
        let mut timer = ptr::null_mut();
        let clock = libc::CLOCK_MONOTONIC;
        // SAFETY: writes the timer's number, which lives.
        let made = unsafe { libc::timer_create(clock, ptr::null_mut(), &raw mut timer) };
        Errno::result(made).map(drop)
    })
}

/// Of one file, by many numbers, in many instances of epoll.
pub(crate) fn watches(most: u64) -> Taken {
    const NUMBERS: usize = 800;
    let event = EventFd::new().expect("a descriptor");
    let numbers: Vec<_> = (0..NUMBERS).map_while(|_| dup(&event).ok()).collect();
    let mut instances = Vec::new();
    let taken = until_refused(most, |count| {
        let at = usize::try_from(count).unwrap_or_default() % numbers.len();
        if at == 0 {
            instances.push(Epoll::new(EpollCreateFlags::empty())?);
        }
        let epoll = instances.last().ok_or(Errno::EINVAL)?;
        epoll.add(&numbers[at], EpollEvent::new(EpollFlags::EPOLLIN, count))
    });
    hold((numbers, instances));
    taken
}

/// System call filters, as long as may be, in each of its processes.
pub(crate) fn filters(most: u64) -> Taken {
    const LONGEST: usize = 4096;
    let allow = libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    // A load of the number does nothing, and ends nothing.
    let load = libc::sock_filter {
        code: 0x20,
        k: 0,
        ..allow
    };
    let mut program = vec![load; LONGEST - 1];
    program.push(allow);
    // In profile `libxl` nobody has.
    nix::sys::prctl::set_no_new_privs().expect("it only takes away");
    in_each_process(most, 8, |_| {
        let filter = libc::sock_fprog {
            len: 4096,
            filter: program.as_mut_ptr(),
        };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: reads the program, which lives.
        let loaded = unsafe { libc::syscall(libc::SYS_seccomp, mode, 0, &raw const filter) };
        Errno::result(loaded).map(drop)
    })
}

pub(crate) fn processes(most: u64) -> Taken {
    until_refused(most, |_| forked(sleep))
}

pub(crate) fn descriptors(most: u64) -> Taken {
    in_each_process(most, 1000, |_| {
        EventFd::new().map(|fd| hold::<OwnedFd>(fd.into()))
    })
}

/// Each a session of its own: where nothing else says whose turn it is, sessions take turns.
/// All begin when there are so many.
pub(crate) fn spin(most: u64) -> Taken {
    let (mut begin, kept) = io::pipe().expect("descriptors");
    let last = kept.as_raw_fd();
    let taken = until_refused(most, |_| {
        forked(|| {
            // SAFETY: this process's copy of the pipe's end, which nobody uses here.
            unsafe { libc::close(last) };
            let _ = setsid();
            let _ = begin.read(&mut [0]);
            loop {
                hint::spin_loop();
            }
        })
    });
    drop(kept);
    taken
}

pub(crate) fn sleep() {
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}

/// As many processes as there can be, each of which takes what it can, some `each`.
fn in_each_process(most: u64, each: u64, mut one: impl FnMut(u64) -> nix::Result<()>) -> Taken {
    let (mut told, mut tell) = io::pipe().expect("descriptors");
    let Taken(mut running, mut refusal) = until_refused(most.div_ceil(each), |_| {
        forked(|| {
            let Taken(count, errno) = until_refused(most, &mut one);
            let errno = errno.map_or(0, |errno| errno as u64);
            let bytes = [count.to_le_bytes(), errno.to_le_bytes()].concat();
            let _ = tell.write_all(&bytes);
            sleep();
        })
    });
    drop(tell);
    let mut total = 0;
    while running > 0 {
        let mut word = [[0; 8]; 2];
        if told.read_exact(word.as_flattened_mut()).is_err() {
            break;
        }
        let [count, errno] = word.map(u64::from_le_bytes);
        total += count;
        running -= 1;
        let errno = i32::try_from(errno).unwrap_or_default();
        refusal = Some(Errno::from_raw(errno))
            .filter(|_| errno != 0)
            .or(refusal);
        if total >= most {
            return Taken(total, None);
        }
    }
    Taken(total, refusal)
}

/// A child, which does this and ends.
pub(crate) fn forked(work: impl FnOnce()) -> nix::Result<()> {
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(()),
        ForkResult::Child => {
            work();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
    }
}
