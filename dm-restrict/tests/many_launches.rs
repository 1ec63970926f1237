// SPDX-License-Identifier: MIT OR Apache-2.0
//! Many launches, one after the other and at once, leave nothing: in the process that
//! launches, nor on the machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use xen_restrict::{
    confine::Mechanism,
    launch::{Ended, Launch, RUN_DIR, Supervised},
};

const IN_A_ROW: usize = 100;
const AT_ONCE: usize = 200;
const THREADS: usize = 4;
/// Its programs and their inits are counted as one user's.
const NPROC: &str = "nproc=1000";

/// What there is that a launch could leave.
#[derive(Debug, PartialEq)]
struct Traces {
    descriptors: BTreeSet<String>,
    mounts: Vec<String>,
    directories: BTreeSet<String>,
    /// Of this process, dead or alive.
    children: bool,
    namespaces: Vec<String>,
}

fn traces() -> Traces {
    let names = |path: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let links = fs::read_dir("/proc/self/ns").unwrap();
    let mut namespaces: Vec<_> = links
        .map(|entry| {
            fs::read_link(entry.unwrap().path())
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    namespaces.sort();
    Traces {
        descriptors: names("/proc/self/fd"),
        mounts: mounts.lines().map(ToOwned::to_owned).collect(),
        directories: names(RUN_DIR)
            .into_iter()
            .filter(|name| name.starts_with("uid-"))
            .collect(),
        children: waitpid(None, Some(WaitPidFlag::WNOHANG)) != Err(Errno::ECHILD),
        namespaces,
    }
}

fn launch(program: &str, argument: &str) -> Supervised {
    let launch = Launch::without_xen()
        // Debian has this user everywhere.
        .user("games")
        .helper(env!("CARGO_BIN_EXE_dm-restrict"))
        .without(Mechanism::Cgroup)
        .limit(NPROC.parse().unwrap())
        .bind_linked()
        .program(program, [argument]);
    launch.spawn().unwrap()
}

/// When its supervisor was killed, the kernel tells the program's init, which takes a moment.
fn ends(pid: i32) {
    let process = format!("/proc/{pid}/exe");
    let start = Instant::now();
    while Path::new(&process).exists() {
        assert!(start.elapsed() < Duration::from_secs(30), "{process}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nothing_is_left() {
    // The first one makes what stays: the directory, and a lock for reapers.
    assert_eq!(launch("sleep", "0").wait().unwrap(), Ended::Exited(0));
    let before = traces();
    for _ in 0..IN_A_ROW {
        assert_eq!(launch("sleep", "0").wait().unwrap(), Ended::Exited(0));
    }
    assert_eq!(traces(), before);

    let launched = || {
        let launches = (0..AT_ONCE / THREADS).map(|_| launch("sleep", "1000"));
        launches.collect::<Vec<_>>()
    };
    let mut running: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(launched)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(running.len(), AT_ONCE);
    let listed = xen_restrict::launch::running().unwrap();
    for supervised in &running {
        assert!(listed.iter().any(|record| record.pid == supervised.pid()));
    }
    for (at, supervised) in running.iter().enumerate() {
        // Some in good order, some not.
        let signal = [Signal::SIGTERM, Signal::SIGKILL][at % 2];
        let supervisor = Pid::from_raw(supervised.supervisor_pid().cast_signed());
        kill(supervisor, signal).unwrap();
    }
    for supervised in &mut running {
        supervised.wait().unwrap();
        ends(supervised.pid());
    }
    drop(running);
    // The next one removes what killed supervisors could not.
    assert_eq!(launch("sleep", "0").wait().unwrap(), Ended::Exited(0));
    assert_eq!(traces(), before);
}
