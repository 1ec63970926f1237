// SPDX-License-Identifier: MIT OR Apache-2.0
//! The other half: what the process could do to dom0. `dm-restrict run` started it,
//! confined and with handles that were restricted before.

use std::{
    env,
    ffi::CStr,
    fmt, io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
    ptr, thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use xen_restrict::{EventChannel, GuestId, Handover, PrivCmd, Restricted};
use xen_sys::{Request, evtchn, gntdev, privcmd};

/// Handles as they were handed over.
pub(crate) struct Given {
    pub(crate) privcmd: PrivCmd<Restricted>,
    pub(crate) events: EventChannel<Restricted>,
}

/// Takes them.
pub(crate) fn receive() -> Result<Given, Box<dyn std::error::Error>> {
    // SAFETY: nothing in this process has taken or opened a descriptor before.
    let handover = unsafe { Handover::receive() }?;
    Ok(Given {
        privcmd: handover
            .privcmd
            .ok_or("start me with `--xen privcmd,evtchn`")?,
        events: handover
            .events
            .ok_or("start me with `--xen privcmd,evtchn`")?,
    })
}

/// Tells the supervisor that the guest may run, and waits until that has sealed this
/// process.
pub(crate) fn ready(given: &Given) -> io::Result<()> {
    let socket = env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    UnixDatagram::unbound()?.send_to(b"READY=1", socket)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while resource(given) != Err(EPERM) {
        if deadline < Instant::now() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Something an attacker would try: what it would be, and what the kernel is to answer.
struct Attempt {
    name: &'static str,
    expect: Answer,
    run: fn(&Given, GuestId) -> Result<(), Errno>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(Errno),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.pad("done"),
            Self::Refused(errno) => f.pad(&format!("{errno:?}")),
        }
    }
}

const fn row(
    name: &'static str,
    expect: Answer,
    run: fn(&Given, GuestId) -> Result<(), Errno>,
) -> Attempt {
    Attempt { name, expect, run }
}

use Answer::{Done, Refused};
use Errno::{EACCES, ENOENT, EPERM, EROFS, ESRCH};

const ATTEMPTS: &[Attempt] = &[
    row("read dom0's users", Refused(ENOENT), |_, _| {
        open(c"/etc/passwd", libc::O_RDONLY)
    }),
    row("open privcmd anew", Refused(ENOENT), |_, _| {
        open(c"/dev/xen/privcmd", libc::O_RDWR)
    }),
    row("open privcmd in /proc/xen", Refused(ENOENT), |_, _| {
        open(c"/proc/xen/privcmd", libc::O_RDWR)
    }),
    row("reach xenstored", Refused(ENOENT), |_, _| {
        open(c"/run/xenstored/socket", libc::O_PATH)
    }),
    row("see processes", Refused(ENOENT), |_, _| {
        open(c"/proc/self/status", libc::O_RDONLY)
    }),
    row("write a file", Refused(EROFS), |_, _| {
        open(c"/file", libc::O_WRONLY | libc::O_CREAT)
    }),
    row("signal another process", Refused(ESRCH), |_, _| {
        // SAFETY: signal 0 is sent to nobody.
        Errno::result(unsafe { libc::kill(-1, 0) }).map(drop)
    }),
    row("talk to a network", Refused(EPERM), |_, _| {
        socket(libc::AF_INET)
    }),
    row("talk to the kernel's netlink", Refused(EPERM), |_, _| {
        socket(libc::AF_NETLINK)
    }),
    row("become root", Refused(EPERM), |_, _| {
        call(libc::SYS_setuid, [0; 4])
    }),
    row("make a user namespace", Refused(EPERM), |_, _| {
        call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0])
    }),
    row("mount", Refused(EPERM), |_, _| {
        call(libc::SYS_mount, [0; 4])
    }),
    row("trace", Refused(EPERM), |_, _| {
        call(libc::SYS_ptrace, [0; 4])
    }),
    row("load a module", Refused(EPERM), |_, _| {
        call(libc::SYS_init_module, [0; 4])
    }),
    row("load a BPF program", Refused(EPERM), |_, _| {
        call(libc::SYS_bpf, [0; 4])
    }),
    row("make an io_uring", Refused(EPERM), |_, _| {
        call(libc::SYS_io_uring_setup, [0; 4])
    }),
    row("restart the machine", Refused(EPERM), |_, _| {
        call(libc::SYS_reboot, [0; 4])
    }),
    row("type into a terminal", Refused(EPERM), |given, _| {
        raw(&given.privcmd, 0x5412)
    }),
    row("privcmd HYPERCALL", Refused(EPERM), |given, _| {
        raw(&given.privcmd, privcmd::HYPERCALL.number())
    }),
    row(
        "privcmd MMAP_RESOURCE, sealed",
        Refused(EPERM),
        |given, _| resource(given),
    ),
    row("map memory of A, sealed", Refused(EPERM), |given, _| {
        raw(&given.privcmd, privcmd::MMAPBATCH_V2.number())
    }),
    row("privcmd DM_OP to A", Done, |given, _| {
        dm_op(given, given.privcmd.restricted_to())
    }),
    row("privcmd DM_OP to B", Refused(EPERM), dm_op),
    row(
        "evtchn BIND_INTERDOMAIN to B",
        Refused(EACCES),
        |given, b| {
            let mut bind = evtchn::BindInterdomain {
                remote_domain: b.get().into(),
                remote_port: u32::MAX,
            };
            argument(&given.events, evtchn::BIND_INTERDOMAIN, &mut bind)
        },
    ),
    row("evtchn BIND_STATIC", Refused(EPERM), |given, _| {
        raw(&given.events, evtchn::BIND_STATIC.number())
    }),
    row("evtchn BIND_VIRQ", Refused(EPERM), |given, _| {
        raw(&given.events, evtchn::BIND_VIRQ.number())
    }),
    row("gntdev MAP_GRANT_REF", Refused(EPERM), |given, _| {
        raw(&given.privcmd, gntdev::MAP_GRANT_REF.number())
    }),
];

/// Makes every attempt; whether each was answered as expected.
pub(crate) fn attack(given: &Given, b: GuestId) -> bool {
    println!(
        "{:<32}{:<11}{:<11}verdict",
        "attempt of the confined process", "expected", "confined"
    );
    let mut surprises = 0;
    for attempt in ATTEMPTS {
        let answer = match (attempt.run)(given, b) {
            Ok(()) => Done,
            Err(errno) => Refused(errno),
        };
        let holds = answer == attempt.expect;
        surprises += usize::from(!holds);
        let verdict = if holds { "holds" } else { "SURPRISE" };
        println!(
            "{:<32}{:<11}{answer:<11}{verdict}",
            attempt.name, attempt.expect
        );
    }
    println!("\n{} attempts, {surprises} surprises", ATTEMPTS.len());
    surprises == 0
}

fn open(path: &CStr, flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: a string that lives; the descriptor, if there is one, ends with the process.
    Errno::result(unsafe { libc::open(path.as_ptr(), flags, 0o600) }).map(drop)
}

fn socket(family: libc::c_int) -> Result<(), Errno> {
    // SAFETY: takes numbers; the descriptor, if there is one, ends with the process.
    Errno::result(unsafe { libc::socket(family, libc::SOCK_DGRAM, 0) }).map(drop)
}

/// A system call with arguments that do no harm where it is let through.
fn call(number: libc::c_long, [a, b, c, d]: [libc::c_long; 4]) -> Result<(), Errno> {
    // SAFETY: the kernel refuses null pointers and unknown commands.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d) }).map(drop)
}

/// A request without its argument, which says EFAULT where it is let through.
fn raw(fd: impl AsFd, number: u32) -> Result<(), Errno> {
    let null = ptr::null_mut::<u8>();
    // SAFETY: the driver refuses a null pointer.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::Ioctl::from(number), null) };
    Errno::result(result).map(drop)
}

fn argument<T>(fd: impl AsFd, request: Request<T>, argument: &mut T) -> Result<(), Errno> {
    let number = libc::Ioctl::from(request.number());
    // SAFETY: number and argument belong together by type, and the argument lives.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number, ptr::from_mut(argument)) };
    Errno::result(result).map(drop)
}

/// Asks for the size of a resource that no domain has.
fn resource(given: &Given) -> Result<(), Errno> {
    let mut resource = privcmd::MmapResource {
        dom: given.privcmd.restricted_to().get(),
        type_: u32::MAX,
        ..Default::default()
    };
    argument(&given.privcmd, privcmd::MMAP_RESOURCE, &mut resource)
}

/// Without buffers: the driver compares the domain, and Xen is not asked.
fn dm_op(given: &Given, guest: GuestId) -> Result<(), Errno> {
    let mut nothing = privcmd::DmOp {
        dom: guest.get(),
        ..Default::default()
    };
    argument(&given.privcmd, privcmd::DM_OP, &mut nothing)
}
