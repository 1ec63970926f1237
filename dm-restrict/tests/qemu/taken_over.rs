// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU that its guest has taken over: what it can do then, with our launcher and without.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _};

use nix::errno::Errno;
use xen_restrict::confine::xen_requests::{Allowed, POLICY};

use crate::{
    disk,
    stock::{StockGuest, from_lab},
    support::{Guest, alone},
    tracer::TakenOver,
};

const NEW_USER: u64 = 0x1000_0000;
const SIGCHLD: u64 = 17;
const HERE: u64 = (libc::AT_FDCWD as i64).cast_unsigned();
const NO_FD: u64 = u64::MAX;

/// A call, its number, its arguments.
type Attempt = (&'static str, i64, [u64; 6]);

/// What would lead out, each in a form that does no harm where it succeeds.
fn attempts(qemu: &mut TakenOver) -> Vec<Attempt> {
    let zeros = qemu.put(&[0; 256]);
    let mut text = |text: &str| qemu.put(text.as_bytes());
    let (root, tmpfs, user, x) = (text("/"), text("tmpfs"), text("user"), text("/x"));
    let (passwd, privcmd) = (text("/etc/passwd"), text("/dev/xen/privcmd"));
    let (up, proc) = (text("../../../../../../etc/passwd"), text("/proc/1/status"));
    let xenstored = qemu.put(&[&[1, 0][..], b"/run/xenstored/socket"].concat());
    let four = |number, [a, b, c, d]: [u64; 4]| (number, [a, b, c, d, 0, 0]);
    let all: [(&str, (i64, [u64; 6])); 48] = [
        ("mount", (libc::SYS_mount, [tmpfs, root, tmpfs, 0, 0, 0])),
        ("umount2", four(libc::SYS_umount2, [root, 2, 0, 0])),
        ("open_tree", four(libc::SYS_open_tree, [HERE, root, 1, 0])),
        ("fsopen", four(libc::SYS_fsopen, [tmpfs, 0, 0, 0])),
        ("pivot_root", four(libc::SYS_pivot_root, [root, root, 0, 0])),
        ("chroot", four(libc::SYS_chroot, [root, 0, 0, 0])),
        ("unshare", four(libc::SYS_unshare, [NEW_USER, 0, 0, 0])),
        ("setns", four(libc::SYS_setns, [NO_FD, 0, 0, 0])),
        (
            "clone newuser",
            four(libc::SYS_clone, [NEW_USER | SIGCHLD, 0, 0, 0]),
        ),
        ("clone3", four(libc::SYS_clone3, [zeros, 0, 0, 0])),
        ("execve", four(libc::SYS_execve, [x, 0, 0, 0])),
        ("execveat", (libc::SYS_execveat, [HERE, x, 0, 0, 0, 0])),
        ("ptrace", four(libc::SYS_ptrace, [16, 1, 0, 0])),
        (
            "process_vm_readv",
            (libc::SYS_process_vm_readv, [1, zeros, 1, zeros, 1, 0]),
        ),
        ("pidfd_getfd", four(libc::SYS_pidfd_getfd, [NO_FD, 0, 0, 0])),
        ("setuid", four(libc::SYS_setuid, [0; 4])),
        ("setresuid", four(libc::SYS_setresuid, [0; 4])),
        ("setgid", four(libc::SYS_setgid, [0; 4])),
        ("setgroups", four(libc::SYS_setgroups, [0; 4])),
        ("bpf", four(libc::SYS_bpf, [0, zeros, 48, 0])),
        (
            "perf_event_open",
            (libc::SYS_perf_event_open, [zeros, 0, 0, 0, 0, 0]),
        ),
        (
            "io_uring_setup",
            four(libc::SYS_io_uring_setup, [1, zeros, 0, 0]),
        ),
        ("io_setup", four(libc::SYS_io_setup, [1, zeros, 0, 0])),
        ("userfaultfd", four(libc::SYS_userfaultfd, [1, 0, 0, 0])),
        ("keyctl", four(libc::SYS_keyctl, [0, 0, 0, 0])),
        (
            "add_key",
            (libc::SYS_add_key, [user, user, root, 1, u64::MAX - 1, 0]),
        ),
        ("init_module", four(libc::SYS_init_module, [0, 0, root, 0])),
        ("kexec_load", four(libc::SYS_kexec_load, [0; 4])),
        ("reboot", four(libc::SYS_reboot, [0; 4])),
        ("sethostname", four(libc::SYS_sethostname, [root, 1, 0, 0])),
        ("syslog", four(libc::SYS_syslog, [3, zeros, 1, 0])),
        (
            "open_by_handle_at",
            four(libc::SYS_open_by_handle_at, [NO_FD, zeros, 0, 0]),
        ),
        (
            "mknodat",
            four(libc::SYS_mknodat, [HERE, x, 0o20666, 0x101]),
        ),
        ("shmget", four(libc::SYS_shmget, [0, 4096, 0o1600, 0])),
        ("socket inet", four(libc::SYS_socket, [2, 1, 0, 0])),
        ("socket netlink", four(libc::SYS_socket, [16, 3, 0, 0])),
        ("socket packet", four(libc::SYS_socket, [17, 3, 0, 0])),
        ("socket vsock", four(libc::SYS_socket, [40, 1, 0, 0])),
        (
            "connect",
            four(libc::SYS_connect, [NO_FD, xenstored, 24, 0]),
        ),
        ("TIOCSTI", four(libc::SYS_ioctl, [NO_FD, 0x5412, zeros, 0])),
        (
            "TUNSETIFF",
            four(libc::SYS_ioctl, [NO_FD, 0x4004_54ca, zeros, 0]),
        ),
        ("dumpable", four(libc::SYS_prctl, [4, 1, 0, 0])),
        ("a listener", four(libc::SYS_seccomp, [1, 8, zeros, 0])),
        ("personality", four(libc::SYS_personality, [0, 0, 0, 0])),
        ("dom0's users", four(libc::SYS_openat, [HERE, passwd, 0, 0])),
        (
            "dom0's users, above",
            four(libc::SYS_openat, [HERE, up, 0, 0]),
        ),
        (
            "a new handle",
            four(libc::SYS_openat, [HERE, privcmd, 2, 0]),
        ),
        (
            "dom0's processes",
            four(libc::SYS_openat, [HERE, proc, 0, 0]),
        ),
    ];
    all.map(|(name, (number, arguments))| (name, number, arguments))
        .into()
}

/// What the kernel answers to each.
fn answers(qemu: &mut TakenOver) -> Vec<(&'static str, Result<i64, Errno>)> {
    let tried = attempts(qemu).into_iter();
    tried
        .map(|(name, number, arguments)| (name, qemu.call(number, arguments)))
        .collect()
}

fn handle(pid: i32, device: &str) -> u64 {
    let directory = format!("/proc/{pid}/fd");
    let mut entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let number = fs::metadata(format!("/dev/xen/{device}")).unwrap().rdev();
    // Its path ends where it was mounted by itself.
    let found =
        entries.find(|entry| fs::metadata(entry.path()).is_ok_and(|file| file.rdev() == number));
    let name = found.unwrap().file_name();
    name.to_str().unwrap().parse().unwrap()
}

/// `struct privcmd_dm_op` without buffers.
fn dm_op(domid: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&domid.to_ne_bytes());
    bytes
}

#[test]
fn a_qemu_that_was_taken_over_gets_nowhere() {
    let _alone = alone();
    let guest = Guest::start();
    guest.has_done_its_work();
    let mut qemu = TakenOver::new(guest.pid());
    for (name, answer) in answers(&mut qemu) {
        let refused = [Errno::EPERM, Errno::ENOSYS, Errno::ENOENT].map(Err);
        assert!(refused.contains(&answer), "{name}: {answer:?}");
    }

    // A new file of its own, and a signal to dom0's first process.
    let name = qemu.put(b"/new");
    let made = qemu.call(libc::SYS_openat, [HERE, name, 0o101, 0o600, 0, 0]);
    assert_eq!(made, Err(Errno::EROFS));
    for pid in [u64::from(std::process::id()), 1 << 20] {
        let killed = qemu.call(libc::SYS_kill, [pid, 0, 0, 0, 0, 0]);
        assert_eq!(killed, Err(Errno::ESRCH), "{pid}");
    }
    // Its init, which nobody of the same uid can do anything to.
    let traced = qemu.call(libc::SYS_ptrace, [16, 1, 0, 0, 0, 0]);
    assert_eq!(traced, Err(Errno::EPERM));

    // Every request that the tables do not allow to the end, holes of the kernel among them.
    for (device, of) in [("privcmd", b'P'), ("evtchn", b'E')] {
        let fd = handle(guest.pid(), device);
        for row in POLICY
            .iter()
            .filter(|row| row.number.to_ne_bytes()[1] == of)
        {
            if row.allowed == Allowed::Always {
                continue;
            }
            let answer = qemu.call(libc::SYS_ioctl, [fd, row.number.into(), 0, 0, 0, 0]);
            assert_eq!(answer, Err(Errno::EPERM), "{}", row.request);
        }
    }
    // And what is allowed, for its own guest only.
    let privcmd = handle(guest.pid(), "privcmd");
    let request = POLICY
        .iter()
        .find(|row| row.request == "privcmd DM_OP")
        .unwrap();
    let others = ["XEN_LAB_A", "XEN_LAB_B"].map(|name| from_lab(name).parse().unwrap());
    for domid in others.into_iter().chain([0, 0x7ff0]) {
        let op = qemu.put(&dm_op(domid));
        let answer = qemu.call(
            libc::SYS_ioctl,
            [privcmd, request.number.into(), op, 0, 0, 0],
        );
        assert_eq!(answer, Err(Errno::EPERM), "domain {domid}");
    }
    let own = qemu.put(&dm_op(guest.stock.domid));
    let answer = qemu.call(
        libc::SYS_ioctl,
        [privcmd, request.number.into(), own, 0, 0, 0],
    );
    assert_ne!(answer, Err(Errno::EPERM), "its own guest");
    drop(qemu);
    // It goes on where it was.
    assert_eq!(disk::count(&guest.disk), disk::TIMES);
    assert!(fs::metadata(format!("/proc/{}", guest.pid())).is_ok());
}

#[test]
fn with_stock_dm_restrict_much_is_done() {
    let _alone = alone();
    let guest = StockGuest::start(true);
    let mut qemu = TakenOver::new(guest.pid);
    let done = answers(&mut qemu)
        .into_iter()
        .filter(|(_, answer)| answer.is_ok());
    let done: BTreeSet<_> = done.map(|(name, _)| name).collect();
    println!("with stock dm_restrict=1 was done: {done:?}");
    for name in [
        "socket inet",
        "socket netlink",
        "io_uring_setup",
        "add_key",
        "shmget",
    ] {
        assert!(done.contains(name), "{name}: {done:?}");
    }
}
