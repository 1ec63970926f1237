// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it can keep. All stays open until it ends.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::IoSlice,
    mem::forget,
    os::{
        fd::AsRawFd as _,
        linux::net::SocketAddrExt as _,
        unix::{
            fs::FileTypeExt as _,
            net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
        },
    },
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
    unistd::{ForkResult, dup2_stdout, fork, pause},
};
use xen_sys::{Request, evtchn, privcmd};

use crate::{Call, reach, says};

const PRIVCMD: &str = "/dev/xen/privcmd";

/// Each of `all`, between commas, is one of these, and `=` a value for some. Gives a connection
/// to xenstored that is to be tried afterwards.
pub(crate) fn keep(all: &str, call: &Call) -> Option<UnixStream> {
    let mut connection = None;
    for what in all.split(',') {
        match what {
            "a-connection-for-later" => connection = Some(says::connected()),
            other => keep_one(other, call),
        }
    }
    connection
}

fn keep_one(what: &str, call: &Call) {
    let (what, value) = what.split_once('=').unwrap_or((what, ""));
    match what {
        "handles-of-its-guest" => {
            forget(restricted(PRIVCMD, call.domid));
            let mut domid = evtchn::RestrictDomid { domid: call.domid };
            let events = open("/dev/xen/evtchn");
            request(&events, evtchn::RESTRICT_DOMID, &mut domid);
            forget(events);
        }
        "what-it-is-given" => given(call.domid, value.parse().unwrap()),
        "a-handle-of-another" => {
            let (domid, path) = value.split_once(':').unwrap();
            forget(restricted(path, domid.parse().unwrap()));
        }
        "file" => forget(open(value)),
        "to-read" => forget(File::open(value).unwrap()),
        "as-its-output" => dup2_stdout(File::open(value).unwrap()).unwrap(),
        "connection" => forget(UnixStream::connect(value).unwrap()),
        "datagrams" => {
            // Of which it could be a peer itself.
            let socket = UnixDatagram::bind_addr(&abstract_name(what)).unwrap();
            forget(socket);
        }
        "in-a-pair" => {
            let (one, other) = UnixStream::pair().unwrap();
            send(&one, open(value));
            forget((one, other));
        }
        "a-listener" => forget(UnixListener::bind_addr(&abstract_name(what)).unwrap()),
        "in-the-place-of-another" => {
            // By its number it was handed over.
            let listener = UnixListener::bind_addr(&abstract_name(what)).unwrap();
            // SAFETY: nobody in this process owns that number.
            Errno::result(unsafe { libc::dup2(listener.as_raw_fd(), 3) }).unwrap();
        }
        "mapped" => map(&open(value), libc::PROT_READ | libc::PROT_WRITE),
        "mapped-file" => map(&File::open(value).unwrap(), libc::PROT_READ),
        "disks-to-write" => disks_to_write(),
        // SAFETY: there is one thread, and the child does nothing.
        "a-child" => match unsafe { fork() } {
            Ok(ForkResult::Child) => loop {
                pause();
            },
            Ok(ForkResult::Parent { .. }) => {}
            Err(errno) => println!("it starts no process: {errno}"),
        },
        "a-table-of-its-own" => table_of_its_own(value, call),
        "too-long-a-message" => says::too_long(),
        "much-that-is-not-finished" => says::hold_up(),
        other => reach::reach(other, value, call),
    }
}

fn open(path: &str) -> File {
    open_anew(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn open_anew(path: &str) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn restricted(path: &str, domid: u16) -> File {
    let handle = open(path);
    request(&handle, privcmd::RESTRICT, &mut { domid });
    handle
}

/// And does not keep the descriptor.
fn map(file: &File, prot: libc::c_int) {
    let (nowhere, number) = (ptr::null_mut(), file.as_raw_fd());
    // SAFETY: at a free place.
    let at = unsafe { libc::mmap(nowhere, 4096, prot, libc::MAP_SHARED, number, 0) };
    assert_ne!(at, libc::MAP_FAILED);
}

/// What it was given to read, opened again.
fn disks_to_write() {
    let is_disk = |number: &i32| {
        let found = fs::metadata(format!("/proc/self/fd/{number}"));
        found.is_ok_and(|found| found.is_file() || found.file_type().is_block_device())
    };
    let disks: Vec<_> = (3..64).filter(is_disk).collect();
    assert!(!disks.is_empty());
    for number in disks {
        match open_anew(&format!("/proc/self/fd/{number}")) {
            Ok(disk) => forget(disk),
            Err(error) => println!("disk {number}: {error}"),
        }
    }
}

/// Before it has restricted anything.
fn given(own: u16, other: u16) {
    let events = open("/dev/xen/evtchn");
    let mut bind = evtchn::BindInterdomain {
        remote_domain: other.into(),
        remote_port: 1,
    };
    let bound = ask(&events, evtchn::BIND_INTERDOMAIN, &mut bind);
    assert_eq!(bound, Err(Errno::EACCES));
    let memory = open(PRIVCMD);
    let mut batch = privcmd::MmapBatchV2 {
        dom: other,
        ..privcmd::MmapBatchV2::default()
    };
    let mapped = ask(&memory, privcmd::MMAPBATCH_V2, &mut batch);
    assert_eq!(mapped, Err(Errno::EPERM));
    let mut operation = privcmd::DmOp {
        dom: other,
        ..privcmd::DmOp::default()
    };
    let operated = ask(&memory, privcmd::DM_OP, &mut operation);
    assert_eq!(operated, Err(Errno::EPERM));
    // Its own: how many frames there are.
    let mut resource = privcmd::MmapResource {
        dom: own,
        ..privcmd::MmapResource::default()
    };
    let counted = ask(&memory, privcmd::MMAP_RESOURCE, &mut resource);
    assert_eq!(counted, Err(Errno::EPERM));
    let restricted = ask(&memory, privcmd::RESTRICT, &mut { other });
    assert_eq!(restricted, Err(Errno::EINVAL));
    // In no other way.
    for path in [
        "/dev/xen/evtchn",
        PRIVCMD,
        "/dev/xen/xenbus",
        "/proc/xen/privcmd",
    ] {
        File::open(path).unwrap_err();
    }
    open_anew("/dev/xen/xenbus").unwrap_err();
    forget((events, memory));
    println!("its handles are its guest's");
}

fn request<T>(handle: &File, request: Request<T>, argument: &mut T) {
    ask(handle, request, argument).unwrap();
}

fn ask<T>(handle: &File, request: Request<T>, argument: &mut T) -> Result<(), Errno> {
    let number = libc::Ioctl::from(request.number());
    // SAFETY: the request is of this type.
    let answer = unsafe { libc::ioctl(handle.as_raw_fd(), number, ptr::from_mut(argument)) };
    Errno::result(answer).map(drop)
}

fn abstract_name(name: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(name).unwrap()
}

/// Leaves it in the other end only.
fn send(socket: &UnixStream, kept: File) {
    let fds = [kept.as_raw_fd()];
    let (bytes, rights) = ([IoSlice::new(b"x")], [ControlMessage::ScmRights(&fds)]);
    sendmsg::<()>(socket.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
}

struct Kept {
    path: CString,
    gid: u32,
    uid: u32,
}

static READY: AtomicBool = AtomicBool::new(false);

/// A thread that shares all with this one but its descriptors.
fn table_of_its_own(path: &str, call: &Call) {
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let kept = Box::leak(Box::new(Kept {
        path: CString::new(path).unwrap(),
        gid: call.gid.as_raw(),
        uid: call.uid.as_raw(),
    }));
    let stack = Box::leak(vec![0_u128; 1 << 12].into_boxed_slice());
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: a stack and an argument that stay, and a function that returns never.
    let thread = unsafe { libc::clone(keeps_apart, top.cast(), flags, ptr::from_mut(kept).cast()) };
    Errno::result(thread).unwrap();
    while !READY.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Without the C library, to which this thread is unknown.
extern "C" fn keeps_apart(kept: *mut libc::c_void) -> libc::c_int {
    // SAFETY: as it was given, for good.
    let Kept { path, gid, uid } = unsafe { &*kept.cast::<Kept>() };
    let (path, gid, uid) = (path.as_ptr(), *gid, *uid);
    // SAFETY: a path that ends with NUL.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDWR) };
    // SAFETY: one number at the address.
    unsafe { libc::syscall(libc::SYS_setgroups, 1, &raw const gid) };
    // SAFETY: numbers.
    unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    // SAFETY: numbers.
    unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    READY.store(true, Ordering::Release);
    loop {
        // SAFETY: no arguments.
        unsafe { libc::syscall(libc::SYS_pause) };
    }
}
