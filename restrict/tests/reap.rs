// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reaping, on processes of uids that are nobody's on this machine.
//!
//! Each test has a domid of its own, each run of the tests a range of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    io,
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use xen_restrict::{
    GuestId,
    confine::{Identity, ReapError, Reaper, UIDS_IN_RANGE, UserDb},
};

/// Forks without pause, each process living as long as its fork takes: no list
/// of processes is ever right. Like all that the tests start, it ends by itself.
const STORM: &str = "f() { [ $1 -gt 4000 ] || f $(($1 + 1)) & }; f 0; f 0; f 0";
const MANY: &str = "while :; do sleep 60 & done";
const DEAF: &str = "trap '' HUP INT TERM QUIT USR1 USR2; for n in 1 2 3 4 5; do sleep 12; done";
const STOPPED: &str = "(sleep 60; kill -KILL $$) & kill -STOP $$";

fn lock_dir() -> &'static Path {
    static DIR: OnceLock<TempDir> = OnceLock::new();
    DIR.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// The first uid of this run: far above people's, and this run's by its pid.
fn base() -> u32 {
    2_000_000 + (std::process::id() % 10_000) * 2 * UIDS_IN_RANGE
}

fn db() -> UserDb {
    assert!(
        nix::unistd::geteuid().is_root(),
        "reaping and other users' processes take root: run the tests as root"
    );
    let (base, reaper) = (base(), base() + UIDS_IN_RANGE);
    let passwd = format!(
        "xen-qemuuser-range-base:x:{base}:65534::/:\nxen-qemuuser-reaper:x:{reaper}:65534::/:\n"
    );
    UserDb::from_text(passwd.as_bytes(), b"").unwrap()
}

fn identity(domid: u16) -> Identity {
    let identity = Identity::choose(GuestId::new(domid).unwrap(), None, &db()).unwrap();
    let real = UserDb::from_system().unwrap();
    for uid in [identity.uid(), base() + UIDS_IN_RANGE] {
        assert!(uid >= 2_000_000);
        assert!(
            real.others_with_uid(uid, "").unwrap().is_empty(),
            "{uid} is somebody's"
        );
    }
    identity
}

fn reaper(domid: u16) -> Reaper {
    Reaper::new(&identity(domid), &db(), lock_dir())
        .unwrap()
        .timeout(Duration::from_secs(60))
}

/// One that takes no turns with the others: it has a reaper's uid, the range base's,
/// and a lock of its own.
fn reaper_apart(domid: u16, lock_dir: &Path) -> Reaper {
    let passwd = format!("xen-qemuuser-range-base:x:{}:65534::/:\n", base());
    let db = UserDb::from_text(passwd.as_bytes(), b"").unwrap();
    Reaper::new(&identity(domid), &db, lock_dir).unwrap()
}

/// A shell of that domain's uid; it forks while the uid has under 60 processes. Those
/// that process 1 has yet to wait for count.
fn shell(domid: u16, script: &str) -> Child {
    shell_limited(domid, "--nproc=60", script)
}

fn shell_limited(domid: u16, limit: &str, script: &str) -> Child {
    command(domid, "prlimit")
        .args([limit, "sh", "-c", script])
        .spawn()
        .unwrap()
}

fn command(domid: u16, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .uid(identity(domid).uid())
        .gid(65534)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// The processes of the domain's uid that have not ended, by this test's own look.
fn alive(domid: u16) -> usize {
    let uid = format!("\nUid:\t{}\t", identity(domid).uid());
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("status")).ok())
        .filter(|status| status.contains(&uid) && !status.contains("\nState:\tZ"))
        .count()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for a process that was killed, so that none is left as a zombie.
fn killed(mut child: Child) -> bool {
    child.wait().unwrap().signal() == Some(libc::SIGKILL)
}

#[test]
fn twenty_rounds_of_processes_that_resist_and_no_bystander_is_hit() {
    let mut bystander = command(2, "sleep").arg("300").spawn().unwrap();
    let mut found = 0;
    // A domid a round, so that none begins with the last one's zombies.
    for round in 100..120 {
        let deaf = shell(round, DEAF);
        let stopped = shell(round, STOPPED);
        let mut session = command(round, "setsid")
            .args(["--fork", "sh", "-c", DEAF])
            .spawn()
            .unwrap();
        assert!(session.wait().unwrap().success());
        // Two shells with their sleep, and the stopped one with a subshell and its sleep.
        wait_for("the first did not start", || alive(round) >= 7);
        let many = shell(round, MANY);
        wait_for("nothing started", || alive(round) > 20);
        // Last, as its zombies leave the others no room to fork.
        let storms = [STORM, STORM].map(|storm| shell_limited(round, "--nproc=2000", storm));

        let reaped = reaper(round).reap().unwrap();
        assert_eq!(alive(round), 0, "round {round}: {reaped:?}");
        found += reaped.found;
        assert!(killed(deaf) && killed(stopped), "round {round}");
        for mut shell in storms.into_iter().chain([many]) {
            shell.wait().unwrap();
        }
        assert_eq!(bystander.try_wait().unwrap(), None, "round {round}");
    }
    assert!(found > 100, "{found}");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_traced_process_is_ended() {
    let mut command = command(3, "sleep");
    command.arg("60");
    let trace_me = || {
        // SAFETY: a system call on numbers.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: the child makes one system call and allocates nothing.
    unsafe { command.pre_exec(trace_me) };
    let traced = command.spawn().unwrap();
    let status = format!("/proc/{}/status", traced.id());
    wait_for("it is not traced", || {
        fs::read_to_string(&status).unwrap().contains("State:\tt")
    });
    assert_eq!(reaper(3).reap().unwrap().found, 1);
    assert!(killed(traced));
}

/// Only a sleeping thread is left of such a process. It shares the stack of the
/// one that has ended, on a part that is its own.
extern "C" fn sleep_a_minute(_: *mut libc::c_void) -> libc::c_int {
    // SAFETY: only a number is passed; nothing of the C library's is changed.
    unsafe { libc::syscall(libc::SYS_poll, 0_usize, 0_usize, 60_000) };
    0
}

#[test]
fn a_process_whose_first_thread_has_ended_is_ended_too() {
    const STACK: usize = 64 << 10;
    let stack = Box::leak(vec![0_u128; STACK / 16].into_boxed_slice())
        .as_mut_ptr_range()
        .end;
    let stack = stack.expose_provenance();
    let leave_a_thread = move || {
        let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        let top = std::ptr::with_exposed_provenance_mut(stack);
        // SAFETY: the stack is this process's copy, of 64 KiB, and used by nobody else.
        let tid = unsafe { libc::clone(sleep_a_minute, top, flags, std::ptr::null_mut()) };
        if tid < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: ends the calling thread, which holds no lock.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        Ok(())
    };
    let mut command = command(15, "true");
    // SAFETY: the child makes system calls only, and ends before it would return.
    unsafe { command.pre_exec(leave_a_thread) };
    // Its thread keeps the pipe to `spawn` open, so `spawn` waits until it is ended.
    thread::scope(|scope| {
        let spawned = scope.spawn(move || command.spawn());
        let leader = format!("\nUid:\t{}\t", identity(15).uid());
        wait_for("the first thread does not end", || {
            fs::read_dir("/proc").unwrap().any(|entry| {
                fs::read_to_string(entry.unwrap().path().join("status")).is_ok_and(|status| {
                    status.contains(&leader)
                        && status.contains("\nState:\tZ")
                        && status.contains("\nThreads:\t2\n")
                })
            })
        });
        assert!(!spawned.is_finished());
        assert_eq!(reaper(15).reap().unwrap().found, 1);
        drop(spawned.join().unwrap().map(killed));
    });
}

#[test]
fn nothing_to_reap_is_done_at_once() {
    let reaped = reaper(4).reap().unwrap();
    assert_eq!(
        (reaped.found, reaped.rounds, reaped.uid),
        (0, 1, base() + 4)
    );
    assert_eq!(
        reaped.to_string(),
        format!("uid {}: 0 found, none left", base() + 4)
    );
}

#[test]
fn a_process_that_has_ended_but_was_not_waited_for_does_not_count() {
    let zombie = shell(5, "exit 0");
    let status = format!("/proc/{}/status", zombie.id());
    wait_for("it does not end", || {
        fs::read_to_string(&status).unwrap().contains("State:\tZ")
    });
    assert_eq!(reaper(5).reap().unwrap().found, 0);
    assert!(!killed(zombie));
}

#[test]
fn a_second_reaper_waits_for_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let reaper = reaper_apart(6, dir.path());
    let lock = File::create(dir.path().join("reap.lock")).unwrap();
    lock.lock().unwrap();

    let child = shell(6, DEAF);
    wait_for("it does not start", || alive(6) > 0);
    let short = reaper.clone().timeout(Duration::from_millis(100)).reap();
    assert!(matches!(short, Err(ReapError::Busy { .. })), "{short:?}");

    thread::scope(|scope| {
        let waiting = scope.spawn(|| reaper.reap());
        thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        assert!(alive(6) > 0, "nothing is killed without the lock");
        drop(lock);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(alive(6), 0);
    assert!(killed(child));
}

#[test]
fn reapers_that_run_at_once_do_not_kill_each_other() {
    thread::scope(|scope| {
        for first in [200, 210, 220, 230] {
            scope.spawn(move || {
                for domid in first..first + 5 {
                    let child = shell(domid, MANY);
                    wait_for("it does not start", || alive(domid) > 3);
                    reaper(domid).reap().unwrap();
                    assert_eq!(alive(domid), 0);
                    drop(child.wait_with_output());
                }
            });
        }
    });
}

#[test]
fn a_lock_that_others_could_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o775)).unwrap();
    let result = Reaper::new(&identity(7), &db(), dir.path()).unwrap().reap();
    assert!(
        matches!(result, Err(ReapError::LockNotRoots { .. })),
        "{result:?}"
    );
    let gone = dir.path().join("gone");
    let result = Reaper::new(&identity(7), &db(), gone).unwrap().reap();
    assert!(matches!(result, Err(ReapError::Lock { .. })), "{result:?}");
}

/// Takes uids for this thread alone: the C library's function is for all threads.
fn set_uids_of_thread(real: u32, effective: u32, saved: u32) {
    // SAFETY: numbers.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) };
    assert_eq!(done, 0);
}

#[test]
fn what_cannot_be_killed_is_named_and_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let reaper = reaper_apart(8, dir.path()).timeout(Duration::from_millis(300));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    // A thread of the test has the uid as its effective one. The kernel asks the
    // process's first thread, root's, whether it may be killed: it may not.
    let thread = thread::spawn(move || {
        set_uids_of_thread(0, base() + 8, 0);
        ready.send(()).unwrap();
        let _ = ended.recv();
    });
    is_ready.recv().unwrap();
    let result = reaper.reap();
    end.send(()).unwrap();
    thread.join().unwrap();
    let Err(ReapError::Left { left, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(left.len(), 1);
    assert_eq!(u32::try_from(left[0].pid).unwrap(), std::process::id());
}

#[test]
fn without_root_the_error_says_so() {
    let reaper = reaper(9);
    let error = thread::spawn(move || {
        set_uids_of_thread(base() + 9, base() + 9, base() + 9);
        reaper.reap().unwrap_err()
    })
    .join()
    .unwrap();
    assert!(matches!(error, ReapError::NotRoot), "{error:?}");
    assert!(error.to_string().contains("run it as root"));
}
