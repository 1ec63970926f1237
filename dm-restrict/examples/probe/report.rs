// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program is and has, by system calls alone: there may be no /proc.

use std::os::unix::ffi::OsStrExt as _;

use nix::{
    errno::Errno,
    sys::{
        signal::{SigmaskHow, pthread_sigmask},
        stat::{Mode, umask},
    },
    unistd::{getgroups, gethostname, getpgrp, getpid, getppid, getresgid, getresuid, getsid},
};

/// Of `linux/capability.h`.
const VERSION: u32 = 0x2008_0522;
const LAST_SIGNAL: i32 = 64;

pub(crate) fn report() {
    let uids = getresuid().unwrap();
    let gids = getresgid().unwrap();
    println!("uids {} {} {}", uids.real, uids.effective, uids.saved);
    println!("gids {} {} {}", gids.real, gids.effective, gids.saved);
    let groups: Vec<_> = getgroups()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    println!("groups [{}]", groups.join(" "));
    capabilities();
    println!("no-new-privs {}", prctl(libc::PR_GET_NO_NEW_PRIVS, 0));
    println!("seccomp {}", prctl(libc::PR_GET_SECCOMP, 0));
    println!("dumpable {}", prctl(libc::PR_GET_DUMPABLE, 0));
    println!("fds {}", open_fds());
    for (name, value) in std::env::vars_os() {
        println!("env {}={}", name.display(), value.display());
    }
    let cwd = std::env::current_dir().unwrap();
    println!("cwd {}", cwd.as_os_str().as_bytes().escape_ascii());
    let mask = umask(Mode::empty());
    umask(mask);
    println!("umask {:03o}", mask.bits());
    println!("pid {}", getpid());
    println!("ppid {}", getppid());
    println!("pgrp {}", getpgrp());
    println!("sid {}", getsid(None).unwrap());
    println!("hostname {:?}", gethostname().unwrap());
    signals();
    limits();
}

fn prctl(option: i32, argument: u64) -> i32 {
    // SAFETY: these options take a number and return one.
    let result = unsafe { libc::prctl(option, argument, 0, 0, 0) };
    match Errno::result(result) {
        Ok(value) => value,
        Err(errno) => -(errno as i32),
    }
}

fn capabilities() {
    let mut header = [VERSION, 0];
    let mut data = [[0_u32; 3]; 2];
    // SAFETY: the kernel writes two structs of three numbers each, which are there.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) };
    Errno::result(result).unwrap();
    let both = |at: usize| u64::from(data[1][at]) << 32 | u64::from(data[0][at]);
    println!("effective {:x}", both(0));
    println!("permitted {:x}", both(1));
    println!("inheritable {:x}", both(2));
    let set = |ask: &dyn Fn(u64) -> i32| {
        let held = (0..64).filter(|capability| ask(*capability) == 1);
        held.fold(0_u64, |set, capability| set | 1 << capability)
    };
    let bounding = set(&|capability| prctl(libc::PR_CAPBSET_READ, capability));
    let ambient = set(&|capability| {
        // SAFETY: takes numbers.
        unsafe {
            libc::prctl(
                libc::PR_CAP_AMBIENT,
                libc::PR_CAP_AMBIENT_IS_SET,
                capability,
                0,
                0,
            )
        }
    });
    println!("bounding {bounding:x}");
    println!("ambient {ambient:x}");
    println!("securebits {:x}", prctl(libc::PR_GET_SECUREBITS, 0));
}

/// Those below 4096, whatever the limit says.
fn open_fds() -> String {
    let open = (0..4096).filter(|number| {
        // SAFETY: only asks; an unused number is an error.
        unsafe { libc::fcntl(*number, libc::F_GETFD) >= 0 }
    });
    open.map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

fn signals() {
    let mut blocked = nix::sys::signal::SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut blocked)).unwrap();
    println!("blocked {:?}", blocked.iter().collect::<Vec<_>>());
    let ignored = (1..=LAST_SIGNAL).filter(|signal| {
        // SAFETY: zeros are a valid struct.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: only asks; the struct lives.
        let result = unsafe { libc::sigaction(*signal, std::ptr::null(), &raw mut action) };
        result == 0 && action.sa_sigaction == libc::SIG_IGN
    });
    // The language's own start ignores SIGPIPE.
    let ignored: Vec<_> = ignored.filter(|signal| *signal != libc::SIGPIPE).collect();
    println!("ignored {ignored:?}");
}

fn limits() {
    for (name, resource) in [
        ("as", libc::RLIMIT_AS),
        ("core", libc::RLIMIT_CORE),
        ("cpu", libc::RLIMIT_CPU),
        ("fsize", libc::RLIMIT_FSIZE),
        ("locks", libc::RLIMIT_LOCKS),
        ("memlock", libc::RLIMIT_MEMLOCK),
        ("msgqueue", libc::RLIMIT_MSGQUEUE),
        ("nice", libc::RLIMIT_NICE),
        ("nofile", libc::RLIMIT_NOFILE),
        ("nproc", libc::RLIMIT_NPROC),
        ("rtprio", libc::RLIMIT_RTPRIO),
        ("sigpending", libc::RLIMIT_SIGPENDING),
    ] {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: writes the struct, which lives.
        let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
        match Errno::result(result) {
            Ok(_) => println!("rlimit {name} {} {}", limit.rlim_cur, limit.rlim_max),
            Err(errno) => println!("rlimit {name} {errno:?}"),
        }
    }
}
