// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process that confines itself by hand, with the kernel's own calls, so that what
//! audits say is not checked against this project's own way to do it.

use std::{
    env,
    fs::File,
    io::{Read, Write},
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, setrlimit},
        stat::{Mode, SFlag, mknod},
        wait::waitpid,
    },
    unistd::{ForkResult, chdir, chroot, fork, pivot_root, setsid},
};
use xen_restrict::confine::xen_requests::{self, Mapping, Phase};

use crate::support::PLAN;

/// Nobody's, here.
pub(crate) const UID: u32 = 1_900_000_001;
pub(crate) const GID: u32 = 1_900_000_002;
const OTHER_GROUP: u32 = 4711;

pub(crate) const LIMITS: [(&str, Resource, u64); 6] = [
    ("core", Resource::RLIMIT_CORE, 0),
    ("fsize", Resource::RLIMIT_FSIZE, 1 << 20),
    ("locks", Resource::RLIMIT_LOCKS, 0),
    ("memlock", Resource::RLIMIT_MEMLOCK, 0),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE, 0),
    ("nofile", Resource::RLIMIT_NOFILE, 2048),
];

/// What is to be wrong with it.
struct Plan(Vec<String>);

impl Plan {
    fn has(&self, flaw: &str) -> bool {
        self.0.iter().any(|own| own == flaw)
    }

    /// `NAME=VALUE`.
    fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|own| own.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Not a test: what [`Subject`](crate::support::Subject) starts.
#[test]
#[ignore = "the other tests start it"]
fn waits() {
    let Ok(plan) = env::var(PLAN) else { return };
    let plan = Plan(plan.split_whitespace().map(str::to_owned).collect());
    let (mut ready, done) = std::io::pipe().unwrap();
    let mut flags = CloneFlags::empty();
    flags.set(CloneFlags::CLONE_NEWPID, !plan.has("pid-ns"));
    flags.set(CloneFlags::CLONE_NEWUTS, plan.has("neighbour"));
    unshare(flags).unwrap();
    // SAFETY: the harness runs one test in its first thread, the only one.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            drop(ready);
            confine(&plan, done.into());
        }
        ForkResult::Parent { child } => {
            drop(done);
            let mut answer = [0];
            ready.read_exact(&mut answer).unwrap();
            let line = format!("\nsubject {child}\n");
            std::io::stdout().write_all(line.as_bytes()).unwrap();
            waitpid(child, None).unwrap();
            std::process::exit(0);
        }
    }
}

fn confine(plan: &Plan, done: OwnedFd) -> ! {
    // Descriptors that are made outside.
    let outside = descriptors_of_outside(plan);
    namespaces(plan);
    if !plan.has("session") {
        setsid().unwrap();
    }
    if let Some(terminal) = plan.value("terminal") {
        let terminal = File::options()
            .read(true)
            .write(true)
            .open(terminal)
            .unwrap();
        // SAFETY: a number.
        succeeded(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into());
    }
    let inside = descriptors_of_inside(plan);
    root(plan);
    // SAFETY: a number.
    unsafe { libc::umask(if plan.has("umask") { 0o022 } else { 0o077 }) };
    for (name, resource, value) in LIMITS {
        let value = if plan.has(name) { value + 1 } else { value };
        setrlimit(resource, value, value).unwrap();
    }
    children(plan);
    if plan.has("renamed") {
        // SAFETY: a string that ends with NUL.
        unsafe { libc::prctl(libc::PR_SET_NAME, c"c\x1b[31m\n".as_ptr(), 0, 0, 0) };
    }
    if plan.has("no-new-privs") {
        load_a_filter();
    }
    let threads = threads(plan);
    credentials(&Keep::of(plan, plan.has("capability")));
    if !plan.has("seccomp") && !plan.has("no-new-privs") {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
        if plan.has("thread-seccomp") {
            load_a_filter();
        } else {
            let phase = if plan.has("set-up") {
                Phase::SetUp
            } else {
                Phase::Sealed
            };
            let mapping = if plan.has("mapped") {
                Mapping::UntilSealed
            } else {
                Mapping::Always
            };
            xen_requests::enforce_with(phase, mapping).unwrap();
        }
    } else if plan.has("seccomp") {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
    }
    for thread in threads {
        thread.recv().unwrap();
    }
    if plan.has("exits-soon") {
        thread::sleep(Duration::from_millis(5));
        std::process::exit(0);
    }
    File::from(done).write_all(b"!").unwrap();
    if plan.has("leader-ends") {
        // SAFETY: ends this thread alone, and no value of it is used by others.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    if plan.has("spins") {
        loop {
            std::hint::spin_loop();
        }
    }
    if plan.has("flips") {
        flip();
    }
    if plan.has("opens") {
        loop {
            drop(std::io::pipe().unwrap());
        }
    }
    loop {
        // Keeps `outside` and `inside`.
        std::hint::black_box((&outside, &inside));
        thread::sleep(Duration::from_secs(1000));
    }
}

fn namespaces(plan: &Plan) {
    for (name, flag) in [
        ("mount-ns", CloneFlags::CLONE_NEWNS),
        ("ipc-ns", CloneFlags::CLONE_NEWIPC),
        ("net-ns", CloneFlags::CLONE_NEWNET),
        ("uts-ns", CloneFlags::CLONE_NEWUTS),
        ("cgroup-ns", CloneFlags::CLONE_NEWCGROUP),
    ] {
        let starters = name == "uts-ns" && plan.has("neighbour");
        if !plan.has(name) && !starters {
            unshare(flag).unwrap();
        }
    }
    if !plan.has("mount-ns") {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    }
    if plan.has("loopback") {
        let socket = UnixDatagram::unbound().unwrap();
        // SAFETY: all zeroes are an `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_name[..2].copy_from_slice(&[b'l'.cast_signed(), b'o'.cast_signed()]);
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
        // SAFETY: an `ifreq`. Interfaces are asked of any socket.
        let up = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
        assert_eq!(up, 0);
    }
}

fn root(plan: &Plan) {
    if plan.has("root") {
        return;
    }
    let none = None::<&str>;
    let top = plan.value("at").unwrap_or("/mnt");
    let kind = if plan.has("ramfs") { "ramfs" } else { "tmpfs" };
    mount(Some(kind), top, Some(kind), MsFlags::empty(), none).unwrap();
    let bind = |from: &str, to: &str| {
        let to = format!("{top}/{to}");
        std::fs::create_dir(&to).unwrap();
        mount(Some(from), to.as_str(), none, MsFlags::MS_BIND, none).unwrap();
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        if !plan.has("writable-bind") {
            mount(none, to.as_str(), none, flags, none).unwrap();
        }
    };
    bind("/usr/share", "named");
    if plan.has("bind") {
        bind("/usr/share", "other");
    }
    if plan.has("whole-bind") {
        let to = format!("{top}/named/doc");
        mount(Some("/"), to.as_str(), none, MsFlags::MS_BIND, none).unwrap();
    }
    if !plan.has("writable-root") {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, top, none, flags, none).unwrap();
    }
    if plan.has("current-directory") {
        return chroot(top).unwrap();
    }
    chdir(top).unwrap();
    if plan.has("mount-ns") {
        chroot(".").unwrap();
    } else {
        pivot_root(".", ".").unwrap();
        umount2(".", MntFlags::MNT_DETACH).unwrap();
    }
    chdir("/").unwrap();
}

/// What a process keeps that it should not.
#[derive(Clone, Copy)]
struct Keep {
    root: bool,
    group: bool,
    capability: bool,
    bounding: bool,
    saved: bool,
}

impl Keep {
    fn of(plan: &Plan, capability: bool) -> Self {
        Self {
            root: plan.has("uid"),
            group: plan.has("group"),
            capability,
            bounding: plan.has("bounding"),
            saved: plan.has("saved-uid"),
        }
    }
}

/// This thread's alone: the C library's functions would change all threads'.
fn credentials(keep: &Keep) {
    for capability in (0..=63).filter(|_| !keep.bounding) {
        // SAFETY: numbers. Those that there are not are refused.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    prctl(libc::PR_SET_KEEPCAPS, 1);
    let groups = [OTHER_GROUP];
    let number = usize::from(keep.group);
    // SAFETY: an array of so many.
    succeeded(unsafe { libc::syscall(libc::SYS_setgroups, number, groups.as_ptr()) });
    // SAFETY: numbers.
    succeeded(unsafe { libc::syscall(libc::SYS_setresgid, GID, GID, GID) });
    if !keep.root {
        let saved = if keep.saved { UID + 1 } else { UID };
        // SAFETY: numbers.
        succeeded(unsafe { libc::syscall(libc::SYS_setresuid, UID, UID, saved) });
    }
    const CAP_NET_RAW: u32 = 13;
    let header: [u32; 2] = [0x2008_0522, 0];
    let permitted = if keep.capability { 1 << CAP_NET_RAW } else { 0 };
    let data: [u32; 6] = [0, permitted, 0, 0, 0, 0];
    // SAFETY: a header and two sets of three words.
    succeeded(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) });
}

fn succeeded(result: libc::c_long) {
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
}

fn prctl(option: libc::c_int, value: libc::c_ulong) {
    // SAFETY: numbers.
    succeeded(unsafe { libc::prctl(option, value, 0, 0, 0) }.into());
}

/// In this thread alone: one that allows everything.
fn load_a_filter() {
    let allow = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let mut program = [allow];
    let program = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: a program of one instruction.
    succeeded(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    });
}

/// Second threads, each with a flaw of its own; each tells when it is ready.
fn threads(plan: &Plan) -> Vec<mpsc::Receiver<()>> {
    let mut started = Vec::new();
    let mut start = |keep: Keep, body: fn()| {
        let (tell, ready) = mpsc::channel();
        thread::spawn(move || {
            body();
            credentials(&keep);
            prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
            tell.send(()).unwrap();
            loop {
                thread::sleep(Duration::from_secs(1000));
            }
        });
        started.push(ready);
    };
    let keep = Keep::of(plan, false);
    for (flaw, keep, body) in [
        ("thread", keep, (|| {}) as fn()),
        ("thread-seccomp", keep, || {}),
        (
            "thread-capability",
            Keep {
                capability: true,
                ..keep
            },
            || {},
        ),
        ("thread-uid", Keep { root: true, ..keep }, || {}),
        ("thread-umask", keep, || {
            unshare(CloneFlags::CLONE_FS).unwrap();
            // SAFETY: a number.
            unsafe { libc::umask(0) };
        }),
        ("thread-files", keep, || {
            unshare(CloneFlags::CLONE_FILES).unwrap();
        }),
        ("thread-directory", keep, || {
            unshare(CloneFlags::CLONE_FILES).unwrap();
            std::mem::forget(File::open("/").unwrap());
        }),
    ] {
        if plan.has(flaw) {
            start(keep, body);
        }
    }
    // Their credentials are theirs before the others' filter is loaded for all.
    started
}

/// A child, with a flaw of its own.
fn children(plan: &Plan) {
    let flaws = ["child-umask", "child-directory", "child"];
    let Some(flaw) = flaws.into_iter().find(|flaw| plan.has(flaw)) else {
        return;
    };
    let (mut ready, mut tell) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread yet.
    if let ForkResult::Parent { .. } = unsafe { fork() }.unwrap() {
        drop(tell);
        ready.read_exact(&mut [0]).unwrap();
        return;
    }
    drop(ready);
    prctl(libc::PR_SET_PDEATHSIG, 9);
    let directory = (flaw == "child-directory").then(|| File::open("/").unwrap());
    if flaw == "child-umask" {
        // SAFETY: a number.
        unsafe { libc::umask(0o027) };
    }
    credentials(&Keep::of(plan, false));
    prctl(libc::PR_SET_PDEATHSIG, 9);
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
    xen_requests::enforce(Phase::Sealed).unwrap();
    tell.write_all(b"!").unwrap();
    loop {
        std::hint::black_box(&directory);
        thread::sleep(Duration::from_secs(1000));
    }
}

fn descriptors_of_outside(plan: &Plan) -> Vec<OwnedFd> {
    let mut all: Vec<OwnedFd> = Vec::new();
    for flaw in &plan.0 {
        match flaw.as_str() {
            "directory" => all.push(File::open("/etc").unwrap().into()),
            "directory-by-path" => {
                let path = File::options().custom(libc::O_PATH).open("/etc");
                all.push(path.unwrap().into());
            }
            "outside-file" => all.push(File::open("/etc/passwd").unwrap().into()),
            "outside-socket" => all.push(UnixStream::pair().unwrap().0.into()),
            "named-file" => {
                let file = File::open("/etc/passwd").unwrap();
                // SAFETY: two numbers; nothing is at the second.
                let named = unsafe { libc::dup2(file.as_raw_fd(), 9) };
                // SAFETY: just made.
                all.push(unsafe { OwnedFd::from_raw_fd(named) });
            }
            "device" => all.push(File::open("/dev/ptmx").unwrap().into()),
            "namespace" => all.push(File::open("/proc/self/ns/net").unwrap().into()),
            "null" => all.push(File::open("/dev/null").unwrap().into()),
            "process" => {
                let own = std::process::id();
                // SAFETY: two numbers.
                let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, own, 0) };
                // SAFETY: just made.
                all.push(unsafe { OwnedFd::from_raw_fd(fd.try_into().unwrap()) });
            }
            "inotify" => {
                // SAFETY: a number.
                let fd = unsafe { libc::inotify_init1(0) };
                // SAFETY: just made.
                all.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
            "many" => {
                for _ in 0..1000 {
                    all.push(File::open("/dev/null").unwrap().into());
                }
            }
            _ => {}
        }
    }
    if let Some(path) = plan.value("file") {
        all.push(File::open(path).unwrap().into());
    }
    all
}

fn descriptors_of_inside(plan: &Plan) -> Vec<OwnedFd> {
    let mut all: Vec<OwnedFd> = Vec::new();
    for flaw in &plan.0 {
        match flaw.as_str() {
            "harmless" => {
                all.push(std::io::pipe().unwrap().0.into());
                let pair = UnixStream::pair().unwrap();
                all.extend([OwnedFd::from(pair.0), pair.1.into()]);
                all.push(memory_file(b"a\n\x1b[2J\"\xff"));
                // SAFETY: numbers.
                let event = unsafe { libc::eventfd(0, 0) };
                // SAFETY: a number.
                let poll = unsafe { libc::epoll_create1(0) };
                // SAFETY: numbers.
                let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) };
                // SAFETY: just made.
                all.extend([event, poll, timer].map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
            "block-device" => {
                mount(
                    Some("t"),
                    "/mnt",
                    Some("tmpfs"),
                    MsFlags::empty(),
                    None::<&str>,
                )
                .unwrap();
                let mode = Mode::from_bits_truncate(0o600);
                mknod("/mnt/block", SFlag::S_IFBLK, mode, libc::makedev(7, 200)).unwrap();
                let path = File::options().custom(libc::O_PATH).open("/mnt/block");
                all.push(path.unwrap().into());
            }
            "in-flight" => {
                let (one, other) = UnixStream::pair().unwrap();
                send(&one, File::open("/etc").unwrap().into());
                all.extend([OwnedFd::from(one), other.into()]);
            }
            _ => {}
        }
    }
    if let Some(path) = plan.value("listens") {
        all.push(UnixListener::bind(path).unwrap().into());
    }
    if let Some(path) = plan.value("connects") {
        all.push(UnixStream::connect(path).unwrap().into());
    }
    if let Some(path) = plan.value("sends-to") {
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(path).unwrap();
        all.push(socket.into());
    }
    all
}

trait Custom {
    fn custom(&mut self, flags: i32) -> &mut Self;
}

impl Custom for std::fs::OpenOptions {
    fn custom(&mut self, flags: i32) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self.read(true), flags)
    }
}

fn memory_file(name: &[u8]) -> OwnedFd {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a string that ends with NUL.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), 0) };
    assert!(fd >= 0);
    // SAFETY: just made.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Leaves a descriptor in a socket.
fn send(socket: &UnixStream, fd: OwnedFd) {
    let mut byte = *b"!";
    let mut data = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut control = [0_u64; 4];
    // SAFETY: all zeroes are a `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: only computes.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) }.try_into().unwrap();
    // SAFETY: there is room for one header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: only computes.
    let length = unsafe { libc::CMSG_LEN(4) }.try_into().unwrap();
    let value = libc::cmsghdr {
        cmsg_len: length,
        cmsg_level: libc::SOL_SOCKET,
        cmsg_type: libc::SCM_RIGHTS,
    };
    // SAFETY: within `control`.
    unsafe { header.write(value) };
    // SAFETY: behind the header there is room for a number.
    let data = unsafe { libc::CMSG_DATA(header) }.cast::<i32>();
    // SAFETY: as above.
    unsafe { data.write_unaligned(fd.as_raw_fd()) };
    // SAFETY: all that the message points to lives.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    assert_eq!(sent, 1, "{}", std::io::Error::last_os_error());
}

/// Always holds a directory, now by this number and now by that.
fn flip() -> ! {
    let directory = File::open("/").unwrap().into_raw_fd();
    let pipe = std::io::pipe().unwrap().0;
    let other = OwnedFd::from(pipe).into_raw_fd();
    let [spare_directory, spare_pipe] = [700, 701];
    // SAFETY: numbers of this process's own, each open.
    let move_to = |from: i32, to: i32| unsafe { libc::dup2(from, to) };
    move_to(other, spare_pipe);
    loop {
        move_to(directory, spare_directory);
        move_to(spare_pipe, directory);
        move_to(spare_directory, other);
        move_to(spare_pipe, spare_directory);
        move_to(other, spare_directory);
        move_to(spare_directory, directory);
        move_to(spare_pipe, other);
        move_to(spare_pipe, spare_directory);
    }
}
