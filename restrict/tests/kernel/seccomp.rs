// SPDX-License-Identifier: MIT OR Apache-2.0
//! The allowlist of system calls, by trying: what it stops and what it lets be. As root,
//! who could do it all.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    process::Command,
    ptr,
    sync::mpsc,
    thread,
};

use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, fork},
};
use xen_restrict::confine::{
    seccomp,
    xen_requests::{self, Phase},
};

use crate::alone::alone;

const EPERM: Result<i64, Errno> = Err(Errno::EPERM);
const ENOSYS: Result<i64, Errno> = Err(Errno::ENOSYS);
const HIGH: u64 = 0xdead_beef << 32;

fn call<const N: usize>(number: i64, arguments: [u64; N]) -> Result<i64, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the tests' calls fail, or name memory of this process that lives.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

fn fd(file: &impl AsRawFd) -> u64 {
    file.as_raw_fd().cast_unsigned().into()
}

fn address<T>(of: &mut T) -> u64 {
    ptr::from_mut(of).addr() as u64
}

/// How a child ends that does this.
fn ends(work: impl FnOnce()) -> WaitStatus {
    // SAFETY: the harness's thread, which the copy has not, waits and holds no lock.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            work();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
    }
}

fn killed(by: WaitStatus) -> Option<Signal> {
    match by {
        WaitStatus::Signaled(_, signal, _) => Some(signal),
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_call_kills() {
    /// getpid, as a 32-bit program asks.
    fn int_0x80() {
        let mut number = 20_u64;
        // SAFETY: the kernel changes rax and nothing else of this process.
        unsafe { std::arch::asm!("int 0x80", inout("rax") number) };
        assert!(number > 0);
    }
    alone(|| {
        // A kernel without such calls has one signal for it, filter or not.
        let expected = match killed(ends(int_0x80)) {
            None => Signal::SIGSYS,
            Some(signal) => signal,
        };
        seccomp::enforce().unwrap();
        assert_eq!(killed(ends(int_0x80)), Some(expected));
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_x32_call_kills() {
    alone(|| {
        seccomp::enforce().unwrap();
        for number in [39, 16, 512, 514] {
            let ended = ends(|| {
                let _ = call(0x4000_0000 | number, [0; 6]);
            });
            assert_eq!(killed(ended), Some(Signal::SIGSYS), "{number}");
        }
    });
}

#[test]
fn a_number_that_nobody_knows_is_answered_as_by_an_older_kernel() {
    alone(|| {
        seccomp::enforce().unwrap();
        assert_eq!(call(999, []), ENOSYS);
        assert_eq!(call(500_000_000, []), ENOSYS);
    });
}

#[test]
fn what_root_could_do_is_refused() {
    alone(|| {
        seccomp::enforce().unwrap();
        let pid = u64::from(std::process::id());
        let mut room = [0_u64; 64];
        let room = address(&mut room);
        for (name, answer) in [
            (
                "unshare",
                call(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64]),
            ),
            ("unshare nothing", call(libc::SYS_unshare, [0])),
            ("setns", call(libc::SYS_setns, [0, 0])),
            ("mount", call(libc::SYS_mount, [0, 0, 0, 0, 0])),
            ("chroot", call(libc::SYS_chroot, [0])),
            ("PTRACE_TRACEME", call(libc::SYS_ptrace, [0, 0, 0, 0])),
            (
                "process_vm_readv",
                call(libc::SYS_process_vm_readv, [pid, room, 0, room, 0, 0]),
            ),
            ("pidfd_getfd", call(libc::SYS_pidfd_getfd, [0, 0, 0])),
            ("bpf", call(libc::SYS_bpf, [0, room, 0])),
            (
                "perf_event_open",
                call(libc::SYS_perf_event_open, [room, 0, 0, 0, 0]),
            ),
            ("io_uring_setup", call(libc::SYS_io_uring_setup, [1, room])),
            ("userfaultfd", call(libc::SYS_userfaultfd, [0])),
            ("keyctl", call(libc::SYS_keyctl, [0, 0, 0])),
            (
                "open_by_handle_at",
                call(libc::SYS_open_by_handle_at, [0, room, 0]),
            ),
            ("init_module", call(libc::SYS_init_module, [0, 0, 0])),
            ("reboot", call(libc::SYS_reboot, [0, 0, 0, 0])),
            ("personality", call(libc::SYS_personality, [0xffff_ffff])),
            ("setuid 0", call(libc::SYS_setuid, [0])),
            (
                "setresuid to whom it is",
                call(libc::SYS_setresuid, [0, 0, 0]),
            ),
            ("setgroups", call(libc::SYS_setgroups, [0, 0])),
            ("mknodat", call(libc::SYS_mknodat, [0, 0, 0, 0])),
            ("clock_settime", call(libc::SYS_clock_settime, [0, 0])),
            ("vmsplice", call(libc::SYS_vmsplice, [0, 0, 0, 0])),
            ("shmget", call(libc::SYS_shmget, [0, 4096, 0o1000])),
        ] {
            assert_eq!(answer, EPERM, "{name}");
        }
    });
}

#[test]
fn clone_makes_no_namespace() {
    alone(|| {
        seccomp::enforce().unwrap();
        for flag in [
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWNS,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWCGROUP,
        ] {
            let flags = u64::from(flag.cast_unsigned());
            assert_eq!(call(libc::SYS_clone, [flags, 0]), EPERM);
            assert_eq!(
                call(libc::SYS_clone, [flags | libc::SIGCHLD as u64, 0]),
                EPERM
            );
        }
        let mut arguments = [0_u64; 11];
        let at = address(&mut arguments);
        assert_eq!(call(libc::SYS_clone3, [at, 88]), ENOSYS);
        // Whoever asked for it goes on with clone.
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        assert_eq!(killed(ends(|| ())), None);
    });
}

#[test]
fn sockets_are_local() {
    alone(|| {
        seccomp::enforce().unwrap();
        for family in [
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
            libc::AF_PACKET,
            38,
            40,
        ] {
            let family = u64::from(family.cast_unsigned());
            for high in [0, HIGH] {
                assert_eq!(call(libc::SYS_socket, [high | family, 1, 0]), EPERM);
                assert_eq!(call(libc::SYS_socketpair, [high | family, 1, 0, 0]), EPERM);
            }
        }
        // The kernel ignores what the filter does.
        let local = call(libc::SYS_socket, [HIGH | 1, 1, 0]).unwrap();
        // SAFETY: a new descriptor, nobody else's.
        drop(unsafe { OwnedFd::from_raw_fd(i32::try_from(local).unwrap()) });

        let name = format!("xen-restrict-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&name).unwrap();
        let error = UnixStream::connect_addr(&name).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        drop(listener);
        let (mut client, mut server) = UnixStream::pair().unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");

        let urgent = u64::from(libc::MSG_OOB.cast_unsigned());
        let mut byte = [0_u8; 1];
        let at = address(&mut byte);
        assert_eq!(
            call(libc::SYS_sendto, [fd(&server), at, 1, urgent, 0, 0]),
            EPERM
        );
        assert_eq!(
            call(libc::SYS_recvfrom, [fd(&client), at, 1, urgent, 0, 0]),
            EPERM
        );
        assert_eq!(call(libc::SYS_sendto, [fd(&server), at, 1, 0, 0, 0]), Ok(1));
        let filter = u64::from(libc::SO_ATTACH_FILTER.cast_unsigned());
        let level = u64::from(libc::SOL_SOCKET.cast_unsigned());
        assert_eq!(
            call(libc::SYS_setsockopt, [fd(&client), level, filter, at, 16]),
            EPERM
        );
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(1)))
            .unwrap();
    });
}

#[test]
fn ioctls_are_the_harmless_ones_whatever_the_high_half_says() {
    alone(|| {
        seccomp::enforce().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"four").unwrap();
        let mut many = 0_i32;
        let many_at = address(&mut many);
        for high in [0, HIGH] {
            let ask = |request: u64| call(libc::SYS_ioctl, [fd(&reader), high | request, many_at]);
            assert_eq!(ask(libc::TIOCSTI), EPERM);
            assert_eq!(ask(libc::TIOCLINUX), EPERM);
            assert_eq!(ask(libc::TCSETS), EPERM);
            assert_eq!(ask(libc::FIONREAD), Ok(0));
            assert_eq!(ask(libc::TIOCGWINSZ), Err(Errno::ENOTTY));
        }
        assert_eq!(many, 4);
        assert!(!io::IsTerminal::is_terminal(&reader.as_fd()));
    });
}

#[test]
fn record_locks_are_refused_and_whole_files_are_locked() {
    alone(|| {
        seccomp::enforce().unwrap();
        let file = tempfile();
        let mut lock = libc::flock {
            l_type: 1,
            l_whence: 0,
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        let at = address(&mut lock);
        let ask = |command: i32, high: u64| {
            let command = high | u64::from(command.cast_unsigned());
            call(libc::SYS_fcntl, [fd(&file), command, at])
        };
        for high in [0, HIGH] {
            for refused in [
                libc::F_SETLK,
                libc::F_SETLKW,
                libc::F_OFD_GETLK,
                libc::F_OFD_SETLK,
                libc::F_OFD_SETLKW,
            ] {
                assert_eq!(ask(refused, high), EPERM);
            }
        }
        assert_eq!(ask(libc::F_GETLK, HIGH), Ok(0));
        assert_eq!(call(libc::SYS_fcntl, [fd(&file), 1, 0]), Ok(1));
        let exclusive = u64::from(libc::LOCK_EX.cast_unsigned());
        assert_eq!(call(libc::SYS_flock, [fd(&file), exclusive]), Ok(0));
    });
}

/// In memory.
fn tempfile() -> std::fs::File {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    memfd_create(c"file", MFdFlags::MFD_CLOEXEC).unwrap().into()
}

#[test]
fn a_program_can_take_more_from_itself_and_nothing_back() {
    alone(|| {
        seccomp::enforce().unwrap();
        let prctl = |option: i32, value: u64| {
            call(
                libc::SYS_prctl,
                [option.cast_unsigned().into(), value, 0, 0, 0],
            )
        };
        assert_eq!(prctl(libc::PR_SET_DUMPABLE, 0), Ok(0));
        assert_eq!(prctl(libc::PR_SET_DUMPABLE, 1), EPERM);
        assert_eq!(prctl(libc::PR_SET_NO_NEW_PRIVS, 1), Ok(0));
        assert_eq!(prctl(libc::PR_GET_SECCOMP, 0), Ok(2));
        assert_eq!(prctl(libc::PR_SET_SECUREBITS, 0), EPERM);
        assert_eq!(prctl(libc::PR_SET_KEEPCAPS, 1), EPERM);
        assert_eq!(prctl(libc::PR_SET_MM, 1), EPERM);

        // SET_MODE_FILTER: a bad address would be EFAULT.
        assert_eq!(call(libc::SYS_seccomp, [1, 0, 0]), Err(Errno::EFAULT));
        let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        assert_eq!(call(libc::SYS_seccomp, [1, listener, 0]), EPERM);
        assert_eq!(call(libc::SYS_seccomp, [1, HIGH | listener | 1, 0]), EPERM);
        xen_requests::enforce(Phase::Sealed).unwrap();
        seccomp::enforce().unwrap();
        assert_eq!(call(libc::SYS_unshare, [0]), EPERM);
    });
}

#[test]
fn threads_that_were_there_before_and_children_have_it_too() {
    alone(|| {
        let (go, wait) = mpsc::channel::<()>();
        let early = thread::spawn(move || {
            wait.recv().unwrap();
            call(libc::SYS_unshare, [0])
        });
        seccomp::enforce().unwrap();
        go.send(()).unwrap();
        assert_eq!(early.join().unwrap(), EPERM);
        let late = thread::spawn(|| call(libc::SYS_unshare, [0]));
        assert_eq!(late.join().unwrap(), EPERM);
        // Executed anew, with the same filter and one more.
        let output = Command::new("/proc/self/exe")
            .args([
                "--exact",
                "seccomp::what_root_could_do_is_refused",
                "--test-threads=1",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    });
}

#[test]
fn a_thread_with_a_filter_of_its_own_is_an_error_and_nobody_gets_it() {
    alone(|| {
        let (go, wait) = mpsc::channel::<()>();
        let (give, take) = mpsc::channel();
        let other = thread::spawn(move || {
            // `RET ALLOW`.
            let instruction = libc::sock_filter {
                code: 6,
                jt: 0,
                jf: 0,
                k: 0x7fff_0000,
            };
            let program = libc::sock_fprog {
                len: 1,
                filter: ptr::from_ref(&instruction).cast_mut(),
            };
            let at = ptr::from_ref(&program).addr() as u64;
            call(libc::SYS_prctl, [38, 1, 0, 0, 0]).unwrap();
            call(libc::SYS_seccomp, [1, 0, at]).unwrap();
            give.send(call(libc::SYS_gettid, []).unwrap()).unwrap();
            wait.recv().unwrap();
        });
        let thread = take.recv().unwrap();
        let error = seccomp::enforce().unwrap_err().to_string();
        assert!(
            error.contains(&format!("thread {thread} has a seccomp filter")),
            "{error}"
        );
        assert_eq!(call(libc::SYS_unshare, [0]), Ok(0));
        go.send(()).unwrap();
        other.join().unwrap();
    });
}
