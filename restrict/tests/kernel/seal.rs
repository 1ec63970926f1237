// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sealing: what is gone afterwards, from which threads, and when it is refused.

use std::{
    env,
    fs::{self, File},
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    panic::{self, AssertUnwindSafe},
    ptr,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Gid, Uid, fork, setgroups, setresgid, setresuid},
};
use xen_restrict::confine::{
    Mechanism::{
        self, Capabilities, Identity, Landlock, NoNewPrivs, Rlimits, Seccomp, XenRequests,
    },
    Seal, landlock, seccomp,
};
use xen_sys::privcmd;

use crate::alone::alone;

/// Nobody's uid and gid on the machines that test this.
const SOMEBODY: u32 = 2_000_003;
const EPERM: Result<i64, Errno> = Err(Errno::EPERM);

fn call<const N: usize>(number: i64, arguments: [u64; N]) -> Result<i64, Errno> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: the tests' calls fail, or name memory of this process that lives.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// In a process with one thread: the test's own has the harness's, too.
fn single(rest: impl FnOnce()) {
    // SAFETY: the other thread waits for this one, and holds no lock.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let passed = panic::catch_unwind(AssertUnwindSafe(rest)).is_ok();
            // SAFETY: ends the process; nothing of the harness, whose copy this is, runs.
            unsafe { libc::_exit(i32::from(!passed)) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
        }
    }
}

/// All threads; their capabilities go with the uid.
fn become_somebody() {
    let (user, group) = (Uid::from_raw(SOMEBODY), Gid::from_raw(SOMEBODY));
    setgroups(&[]).expect("run the tests as root");
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
}

/// This thread only.
fn become_somebody_alone() {
    let id = SOMEBODY.into();
    call(libc::SYS_setgroups, [0, 0]).expect("run the tests as root");
    call(libc::SYS_setresgid, [id, id, id]).unwrap();
    call(libc::SYS_setresuid, [id, id, id]).unwrap();
}

/// A thread that was there before, and does what it is told later.
struct Early<T> {
    id: i64,
    go: Sender<()>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Early<T> {
    fn start(before: fn(), after: fn() -> T) -> Self {
        let (go, wait): (_, Receiver<()>) = mpsc::channel();
        let (give, take) = mpsc::channel();
        let thread = thread::spawn(move || {
            before();
            give.send(call(libc::SYS_gettid, []).unwrap()).unwrap();
            wait.recv().unwrap();
            after()
        });
        let id = take.recv().unwrap();
        Self { id, go, thread }
    }

    fn finish(self) -> T {
        self.go.send(()).unwrap();
        let value = self.thread.join().unwrap();
        // Joined is not yet gone for who looks in /proc.
        let task = format!("/proc/self/task/{}", self.id);
        while fs::exists(&task).unwrap() {
            thread::yield_now();
        }
        value
    }
}

/// Where only the calling thread can be reached, threads are a reason against it.
fn has_landlock_for_threads() -> bool {
    landlock::abi().is_ok_and(landlock::reaches_all_threads)
}

fn without_landlock() -> Seal {
    Seal::new().without(Landlock)
}

#[test]
fn root_is_refused_and_nothing_changes() {
    alone(|| {
        single(|| {
            let error = Seal::new().apply().unwrap_err();
            assert_eq!(error.mechanism, Identity);
            let id = std::process::id();
            assert!(
                error.reason.contains(&format!("thread {id}: has root's")),
                "{error}"
            );
            assert_eq!(prctl::get_dumpable(), Ok(true));
            assert_eq!(prctl::get_no_new_privs(), Ok(false));
            call(libc::SYS_unshare, [0]).unwrap();
        });
    });
}

#[test]
fn what_was_possible_before_is_not_any_more() {
    alone(|| {
        single(|| {
            become_somebody();
            let null = File::open("/dev/null").unwrap();
            let ioctl = |request: u32| {
                let fd = null.as_raw_fd().cast_unsigned().into();
                call(libc::SYS_ioctl, [fd, request.into(), 0])
            };
            assert_eq!(ioctl(privcmd::MMAP_RESOURCE.number()), Err(Errno::ENOTTY));
            fs::read("/proc/self/status").unwrap();

            let sealed = Seal::new().read_only("/dev/null").apply().unwrap();
            let mut expected = vec![
                Identity,
                Capabilities,
                NoNewPrivs,
                XenRequests,
                Seccomp,
                Landlock,
                Rlimits,
            ];
            match landlock::abi() {
                Ok(_) => {
                    let error = fs::read("/proc/self/status").unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
                    assert_eq!(sealed.absent(), None);
                }
                Err(absent) => {
                    expected.retain(|mechanism| *mechanism != Landlock);
                    assert_eq!(sealed.absent(), Some(&absent));
                }
            }
            assert_eq!(sealed.applied(), expected);
            assert!(!sealed.told_supervisor());
            File::open("/dev/null").unwrap();

            assert_eq!(ioctl(privcmd::MMAP_RESOURCE.number()), EPERM);
            assert_eq!(ioctl(privcmd::HYPERCALL.number()), EPERM);
            assert_eq!(ioctl(privcmd::DM_OP.number()), Err(Errno::ENOTTY));
            assert_eq!(call(libc::SYS_unshare, [0]), EPERM);
            assert_eq!(call(libc::SYS_socket, [2, 1, 0]), EPERM);
            assert_eq!(prctl::get_dumpable(), Ok(false));
            assert_eq!(prctl::set_dumpable(true), Err(Errno::EPERM));
            assert_eq!(prctl::get_no_new_privs(), Ok(true));
            for (limit, value) in [
                (Resource::RLIMIT_CORE, 1),
                (Resource::RLIMIT_MEMLOCK, 0),
                (Resource::RLIMIT_MSGQUEUE, 0),
            ] {
                assert_eq!(getrlimit(limit), Ok((value, value)));
            }
            let late = thread::spawn(|| call(libc::SYS_unshare, [0]));
            assert_eq!(late.join().unwrap(), EPERM);
        });
    });
}

#[test]
fn a_thread_that_was_there_before_is_sealed_too_or_it_is_an_error() {
    alone(|| {
        single(|| {
            become_somebody();
            let early = Early::start(
                || (),
                || {
                    (
                        call(libc::SYS_unshare, [0]),
                        prctl::get_no_new_privs(),
                        prctl::get_dumpable(),
                    )
                },
            );
            let sealed = if has_landlock_for_threads() {
                let sealed = Seal::new().apply().unwrap();
                assert!(sealed.applied().contains(&Landlock));
                sealed
            } else {
                if landlock::abi().is_ok() {
                    let error = Seal::new().apply().unwrap_err();
                    assert_eq!(error.mechanism, Landlock);
                    assert!(error.to_string().contains("there are 2"), "{error}");
                    assert_eq!(prctl::get_no_new_privs(), Ok(false));
                }
                without_landlock().apply().unwrap()
            };
            assert!(sealed.applied().contains(&Seccomp));
            assert_eq!(early.finish(), (EPERM, Ok(true), Ok(false)));
        });
    });
}

#[test]
fn what_another_thread_has_and_only_it_could_give_up_is_an_error() {
    alone(|| {
        single(|| {
            let root = Early::start(|| (), || ());
            become_somebody_alone();
            let error = without_landlock().apply().unwrap_err();
            assert_eq!(error.mechanism, Identity);
            assert!(error.reason.contains(&root.id.to_string()), "{error}");
            let error = without_landlock().without(Identity).apply().unwrap_err();
            assert_eq!(error.mechanism, Capabilities);
            let who = format!("thread {}: has capabilities", root.id);
            assert!(error.reason.contains(&who), "{error}");
            assert_eq!(prctl::get_no_new_privs(), Ok(false));
            root.finish();
            without_landlock().apply().unwrap();
        });
    });
}

#[test]
fn own_capabilities_are_given_up() {
    alone(|| {
        single(|| {
            // KEEPCAPS: the permitted set stays.
            call(libc::SYS_prctl, [8, 1, 0, 0, 0]).unwrap();
            become_somebody();
            let held = || {
                let status = fs::read_to_string("/proc/thread-self/status").unwrap();
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("CapPrm:\t"));
                u64::from_str_radix(line.unwrap(), 16).unwrap()
            };
            assert_ne!(held(), 0);
            without_landlock().apply().unwrap();
            assert_eq!(held(), 0);
        });
    });
}

/// A filter that allows everything, of one thread.
fn filter_of_its_own() {
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
    call(libc::SYS_prctl, [38, 1, 0, 0, 0]).unwrap();
    call(
        libc::SYS_seccomp,
        [1, 0, ptr::from_ref(&program).addr() as u64],
    )
    .unwrap();
}

#[test]
fn a_thread_with_a_filter_of_its_own_is_an_error_that_says_what_is_in_force() {
    alone(|| {
        single(|| {
            become_somebody();
            let early = Early::start(filter_of_its_own, || call(libc::SYS_unshare, [0]));
            let error = without_landlock().apply().unwrap_err();
            assert_eq!(error.mechanism, XenRequests);
            let (id, text) = (early.id, error.to_string());
            assert!(
                text.contains(&format!("thread {id} has a seccomp filter of its own")),
                "{text}"
            );
            assert!(
                text.contains("for good: rlimits, capabilities, no-new-privs"),
                "{text}"
            );
            assert_eq!(early.finish(), Ok(0));
            assert_eq!(call(libc::SYS_unshare, [0]), Ok(0));
        });
    });
}

#[test]
fn a_filter_takes_no_new_privs() {
    alone(|| {
        single(|| {
            become_somebody();
            let error = without_landlock().without(NoNewPrivs).apply().unwrap_err();
            assert_eq!(error.mechanism, XenRequests);
            let all: [Mechanism; 4] = [NoNewPrivs, Seccomp, XenRequests, Landlock];
            let seal = all.into_iter().fold(Seal::new(), Seal::without);
            assert_eq!(
                seal.apply().unwrap().applied(),
                [Identity, Capabilities, Rlimits]
            );
        });
    });
}

#[test]
fn the_supervisor_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    alone(|| {
        single(|| {
            let supervisor = UnixDatagram::bind(&path).unwrap();
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            fs::set_permissions(path.parent().unwrap(), fs::Permissions::clone(&everybody))
                .unwrap();
            fs::set_permissions(&path, everybody).unwrap();
            // SAFETY: this process has no other thread.
            unsafe { env::set_var("NOTIFY_SOCKET", &path) };
            become_somebody();
            assert!(Seal::new().apply().unwrap().told_supervisor());
            let mut message = [0; 64];
            let length = supervisor.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"SEALED=1\nREADY=1");
        });
    });
}

#[test]
fn a_supervisor_that_is_gone_is_no_obstacle() {
    alone(|| {
        single(|| {
            // SAFETY: this process has no other thread.
            unsafe { env::set_var("NOTIFY_SOCKET", "/nowhere/at/all") };
            become_somebody();
            assert!(!Seal::new().apply().unwrap().told_supervisor());
        });
    });
}

fn hide_proc() {
    let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    unshare(CloneFlags::CLONE_NEWNS).expect("run the tests as root");
    mount(none, "/", none, private, none).unwrap();
    mount(none, "/proc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

#[test]
fn without_proc_it_seals_what_was_started_confined() {
    alone(|| {
        single(|| {
            hide_proc();
            let mut capability = 0;
            while call(libc::SYS_prctl, [24, capability, 0, 0, 0]).is_ok() {
                capability += 1;
            }
            prctl::set_no_new_privs().unwrap();
            let error = Seal::new().apply().unwrap_err();
            assert_eq!(error.mechanism, Identity, "{error}");
            become_somebody();
            // As the launcher does, whose filter forbids it afterwards.
            setrlimit(Resource::RLIMIT_CORE, 1, 1).unwrap();
            seccomp::enforce().unwrap();
            let early = Early::start(
                || (),
                || call(libc::SYS_ioctl, [0, privcmd::RESTRICT.number().into()]),
            );
            let sealed = Seal::new().apply().unwrap();
            assert_eq!(
                sealed.applied().contains(&Landlock),
                has_landlock_for_threads()
            );
            assert_eq!(sealed.absent().is_none(), has_landlock_for_threads());
            assert_eq!(early.finish(), EPERM);
        });
    });
}

#[test]
fn without_proc_it_seals_nothing_else() {
    alone(|| {
        single(|| {
            hide_proc();
            become_somebody();
            for without_privilege in [false, true] {
                if without_privilege {
                    // The bounding set is still full.
                    prctl::set_no_new_privs().unwrap();
                }
                let error = without_landlock().apply().unwrap_err().to_string();
                assert!(
                    error.contains("/proc/self/task") && error.contains("mount /proc"),
                    "{error}"
                );
            }
            assert_eq!(call(libc::SYS_unshare, [0]), Ok(0));
        });
    });
}

#[test]
fn under_the_launchers_filter_it_seals_as_well() {
    alone(|| {
        single(|| {
            become_somebody();
            setrlimit(Resource::RLIMIT_CORE, 1, 1).unwrap();
            seccomp::enforce().unwrap();
            let before = call(
                libc::SYS_ioctl,
                [u64::MAX, privcmd::RESTRICT.number().into()],
            );
            assert_eq!(before, Err(Errno::EBADF));
            Seal::new().apply().unwrap();
            let after = call(
                libc::SYS_ioctl,
                [u64::MAX, privcmd::RESTRICT.number().into()],
            );
            assert_eq!(after, EPERM);
        });
    });
}
