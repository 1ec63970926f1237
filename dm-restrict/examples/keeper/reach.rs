// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it tries as root, before it gives that up. It says what came of it.

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixStream},
    },
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};

use xen_sys::{memory::Reservation, privcmd};

use crate::{Call, own_memory, says};

pub(crate) fn reach(how: &str, value: &str, call: &Call) {
    let reached = match how {
        "opens" => OpenOptions::new()
            .read(true)
            .write(true)
            .open(value)
            .map(drop),
        "reads" => File::open(value).and_then(|mut file| file.read(&mut [0]).map(drop)),
        "connects" => UnixStream::connect(value).map(drop),
        "connects-by-name" => SocketAddr::from_abstract_name(value)
            .and_then(|address| UnixStream::connect_addr(&address))
            .map(drop),
        "another-root" => another_root(value),
        "changes-itself-below" => own_memory::change(value.parse().unwrap()),
        "hypercall" => hypercall(value, call.domid),
        "says" => says::say(value, call),
        "watches" => says::watch(value),
        other => panic!("{other} is nothing to keep or to reach"),
    };
    match reached {
        Ok(()) => println!("{how} {value}: reached"),
        Err(error) => println!("{how} {value}: {error}"),
    }
}

/// `NUMBER:OPERATION:DOMID`, with a list of one frame for its memory.
fn hypercall(value: &str, guest: u16) -> io::Result<()> {
    let value = value.replace("GUEST", &guest.to_string());
    let numbers: Vec<u64> = value.split(':').map(|n| n.parse().unwrap()).collect();
    let [op, operation, domid] = numbers[..] else {
        panic!("{value}: three numbers")
    };
    // Where nothing is in a guest as small as that.
    let frame = 0xf_0000_u64;
    let reservation = Reservation {
        extent_start: (&raw const frame).expose_provenance() as u64,
        nr_extents: 1,
        domid: domid.try_into().unwrap(),
        ..Reservation::default()
    };
    let request = privcmd::Hypercall {
        op,
        arg: [
            operation,
            (&raw const reservation).expose_provenance() as u64,
            0,
            0,
            0,
        ],
    };
    let handle = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/xen/privcmd")?;
    let number = libc::Ioctl::from(privcmd::HYPERCALL.number());
    // SAFETY: the request, and what it points to, live.
    let result = unsafe { libc::ioctl(handle.as_raw_fd(), number, &raw const request) };
    Errno::result(result)?;
    Ok(())
}

/// `PROC/PID/root:FILE`: a thread of the uid of that process opens its root directory, and
/// another one, which is still root, makes a file there.
fn another_root(value: &str) -> io::Result<()> {
    let (root, file) = value.split_once(':').unwrap();
    let root = CString::new(root).unwrap();
    let opened = thread::spawn(move || as_nobody(&root)).join().unwrap()?;
    let flags = OFlag::O_CREAT | OFlag::O_RDWR;
    openat(&opened, file, flags, Mode::S_IRUSR)?;
    Ok(())
}

fn as_nobody(path: &CString) -> io::Result<OwnedFd> {
    const NOBODY: libc::uid_t = 65534;
    // Of this thread only, as the C library would not do it.
    // SAFETY: numbers.
    let gids = unsafe { libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY) };
    Errno::result(gids)?;
    // SAFETY: numbers.
    let uids = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    Errno::result(uids)?;
    // SAFETY: a path that ends with NUL.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    let fd = Errno::result(fd)?;
    // SAFETY: it is new.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
