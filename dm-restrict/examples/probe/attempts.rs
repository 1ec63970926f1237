// SPDX-License-Identifier: MIT OR Apache-2.0
//! What somebody who took the program over would try: each call, and the kernel's answer.

use std::ptr;

use nix::errno::Errno;

use crate::word;

fn call<const N: usize>(number: i64, arguments: [u64; N]) -> Result<i64, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the calls below take numbers, null, or strings and structs that live; what
    // one of them changes is this test's process, which is asked to.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

fn address<T: ?Sized>(of: &T) -> u64 {
    ptr::from_ref(of).cast::<u8>().addr() as u64
}

const SIGCHLD: u64 = 17;
const NEW_USER: u64 = 0x1000_0000;
const AT_FDCWD: u64 = u64::MAX - 99;

/// Tries them in turn.
pub(crate) fn attempts() {
    let root = address(c"/");
    let empty = address(c"");
    let zeros = [0_u64; 32];
    let zero = address(&zeros);
    let all: &[(&str, i64, [u64; 5])] = &[
        (
            "mount",
            libc::SYS_mount,
            [empty, root, address(c"tmpfs"), 0, 0],
        ),
        ("umount2", libc::SYS_umount2, [root, 2, 0, 0, 0]),
        ("open_tree", libc::SYS_open_tree, [AT_FDCWD, root, 1, 0, 0]),
        ("fsopen", libc::SYS_fsopen, [address(c"tmpfs"), 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [root, root, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [root, 0, 0, 0, 0]),
        ("unshare", libc::SYS_unshare, [NEW_USER, 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, [0, 0, 0, 0, 0]),
        (
            "clone-newuser",
            libc::SYS_clone,
            [NEW_USER | SIGCHLD, 0, 0, 0, 0],
        ),
        ("clone3", libc::SYS_clone3, [zero, 88, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [16, 1, 0, 0, 0]),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [1, zero, 1, zero, 1],
        ),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [0, 0, 0, 0, 0]),
        ("setuid", libc::SYS_setuid, [0, 0, 0, 0, 0]),
        ("setgid", libc::SYS_setgid, [0, 0, 0, 0, 0]),
        ("setgroups", libc::SYS_setgroups, [0, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, zero, 48, 0, 0]),
        (
            "perf_event_open",
            libc::SYS_perf_event_open,
            [zero, 0, 0, 0, 0],
        ),
        (
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            [1, zero, 0, 0, 0],
        ),
        ("io_setup", libc::SYS_io_setup, [1, zero, 0, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0, 0, 0, 0, 0]),
        (
            "add_key",
            libc::SYS_add_key,
            [address(c"user"), address(c"a"), root, 1, 0],
        ),
        ("init_module", libc::SYS_init_module, [0, 0, empty, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, 0, 0, 0]),
        ("reboot", libc::SYS_reboot, [0, 0, 0, 0, 0]),
        ("sethostname", libc::SYS_sethostname, [root, 1, 0, 0, 0]),
        ("syslog", libc::SYS_syslog, [3, zero, 1, 0, 0]),
        (
            "open_by_handle_at",
            libc::SYS_open_by_handle_at,
            [0, zero, 0, 0, 0],
        ),
        (
            "mknodat",
            libc::SYS_mknodat,
            [AT_FDCWD, address(c"/x"), 0o20666, 0x101, 0],
        ),
        ("splice", libc::SYS_splice, [0, 0, 1, 0, 1]),
        ("shmget", libc::SYS_shmget, [0, 4096, 0o1600, 0, 0]),
        ("socket-inet", libc::SYS_socket, [2, 1, 0, 0, 0]),
        ("socket-netlink", libc::SYS_socket, [16, 3, 0, 0, 0]),
        ("socket-packet", libc::SYS_socket, [17, 3, 0, 0, 0]),
        ("socket-vsock", libc::SYS_socket, [40, 1, 0, 0, 0]),
        ("fcntl-SETLK", libc::SYS_fcntl, [1, 6, zero, 0, 0]),
        ("ioctl-TIOCSTI", libc::SYS_ioctl, [0, 0x5412, zero, 0, 0]),
        ("prctl-SET_DUMPABLE", libc::SYS_prctl, [4, 1, 0, 0, 0]),
        ("seccomp-listener", libc::SYS_seccomp, [1, 8, zero, 0, 0]),
        (
            "personality",
            libc::SYS_personality,
            [0x0004_0000, 0, 0, 0, 0],
        ),
        ("no-such-call", 999, [0, 0, 0, 0, 0]),
    ];
    for (name, number, arguments) in all {
        println!("{name} {}", word(call(*number, *arguments)));
    }
}
