// SPDX-License-Identifier: MIT OR Apache-2.0
//! Control groups beneath the root: the limits are in force, and nothing stays behind.

use std::{
    fs,
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{ForkResult, fork, write},
};
use xen_restrict::confine::{
    MechanismError,
    cgroup::{Leaf, Limits, Parent, probe, remove_stale},
};

use crate::alone::alone;

const ROOT: &str = "/sys/fs/cgroup";

pub(crate) fn parent() -> Parent {
    let parent = probe().unwrap();
    assert_eq!(parent.path(), Path::new(ROOT));
    parent
}

fn leaf(name: &str, limits: Limits) -> Leaf {
    Leaf::create(&parent(), name, limits).unwrap()
}

pub(crate) fn value(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file))
        .unwrap()
        .trim()
        .to_owned()
}

fn pids(folder: &Path) -> Vec<u32> {
    value(folder, "cgroup.procs")
        .lines()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// A shell in the group, of a user that has nothing.
pub(crate) fn shell(leaf: &Leaf, script: &str) -> Child {
    let procs = leaf.procs().try_clone_to_owned().unwrap();
    let join = move || write(&procs, b"0").map(drop).map_err(Into::into);
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .uid(65533)
        .gid(65533);
    // SAFETY: one system call. By now the child is of the other user.
    unsafe { command.pre_exec(join) };
    command.spawn().unwrap()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Ends all in the group, on a kernel without such a request too.
pub(crate) fn end(leaf: Leaf, children: &mut [Child]) {
    if !leaf.kill().unwrap() {
        assert!(kernel() < (5, 14));
        fs::write(leaf.path().join("pids.max"), "0").unwrap();
        wait_for("an end of all", || {
            for pid in pids(leaf.path()) {
                let _ = Command::new("kill")
                    .args(["-KILL", &pid.to_string()])
                    .status();
            }
            pids(leaf.path()).is_empty()
        });
    }
    for child in children {
        child.wait().unwrap();
    }
    assert!(leaf.is_empty().unwrap());
    let path = leaf.path().to_owned();
    leaf.remove().unwrap();
    assert!(!path.exists());
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(['.', '-']).map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

#[test]
fn a_leaf_has_its_limits_before_anybody_is_in_it() {
    let limits = Limits {
        pids: Some(20),
        memory: Some(64 << 20),
        swap: Some(0),
        ..Limits::default()
    };
    let leaf = leaf("7-limits", limits);
    let path = leaf.path().to_owned();
    assert_eq!(path, Path::new(ROOT).join("dm-restrict/7-limits"));
    for (file, expected) in [
        ("pids.max", "20"),
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("memory.oom.group", "1"),
        ("cgroup.procs", ""),
    ] {
        assert_eq!(value(&path, file), expected, "{file}");
    }
    // The supervisor is outside.
    assert!(
        fs::read_to_string("/proc/self/cgroup")
            .unwrap()
            .contains("0::/\n")
    );
    drop(leaf);
    assert!(!path.exists());
}

/// The controller `cpu` is on where there is one, whether anything is asked of it or not.
#[test]
fn each_leaf_is_one_of_those_that_share_the_processors() {
    let folder = Path::new(ROOT).join("dm-restrict");
    let first = leaf("7-plain", Limits::default());
    assert!(first.shares_cpu());
    assert_eq!(value(first.path(), "cpu.weight"), "100");
    assert_eq!(value(first.path(), "cpu.max"), "max 100000");
    assert_eq!(value(&folder, "cpu.weight"), "100");
    let limits = Limits {
        cpu_weight: Some(50),
        cpu_max: Some(20_000),
        ..Limits::default()
    };
    let second = leaf("8-less", limits);
    assert_eq!(value(second.path(), "cpu.weight"), "50");
    assert_eq!(value(second.path(), "cpu.max"), "20000 100000");
    // Two of them count for two.
    assert_eq!(value(&folder, "cpu.weight"), "200");
    first.remove().unwrap();
    assert_eq!(value(&folder, "cpu.weight"), "100");
    drop(second);
}

#[test]
fn what_is_not_limited_is_not() {
    let leaf = leaf("7-unlimited", Limits::default());
    for file in ["pids.max", "memory.max", "memory.swap.max"] {
        assert_eq!(value(leaf.path(), file), "max");
    }
}

#[test]
fn a_fork_bomb_stays_within_its_group_and_is_ended_at_once() {
    let leaf = leaf(
        "7-bomb",
        Limits {
            pids: Some(20),
            ..Limits::default()
        },
    );
    let bomb = shell(&leaf, "f() { f | f & }; while :; do f; done");
    let refused = || value(leaf.path(), "pids.events") != "max 0";
    wait_for("the limit to be met", refused);
    for _ in 0..50 {
        let now: u32 = value(leaf.path(), "pids.current").parse().unwrap();
        assert!(now <= 20, "{now}");
    }
    // Everybody else may still fork.
    assert!(Command::new("true").status().unwrap().success());
    end(leaf, &mut [bomb]);
}

#[test]
fn one_that_takes_all_memory_ends_with_all_of_its_group_and_nobody_else() {
    let limits = Limits {
        memory: Some(16 << 20),
        swap: Some(0),
        ..Limits::default()
    };
    let leaf = leaf("7-hog", limits);
    let mut bystander = shell(&leaf, "sleep 100; :");
    assert_eq!(leaf.oom_kills().unwrap(), 0);
    let hog = shell(&leaf, "x=0123456789abcdef; while :; do x=$x$x; done")
        .wait()
        .unwrap();
    assert_eq!(signal(hog), Some(libc::SIGKILL));
    assert_eq!(signal(bystander.wait().unwrap()), Some(libc::SIGKILL));
    assert!(leaf.oom_kills().unwrap() >= 1);
    leaf.remove().unwrap();
}

#[test]
fn files_in_memory_count() {
    let limits = Limits {
        memory: Some(16 << 20),
        swap: Some(0),
        ..Limits::default()
    };
    let leaf = leaf("7-shm", limits);
    let file = format!("/dev/shm/xen-restrict-{}", std::process::id());
    fs::write(&file, "").unwrap();
    std::os::unix::fs::chown(&file, Some(65533), None).unwrap();
    let hog = shell(
        &leaf,
        &format!("exec dd if=/dev/zero of={file} bs=1M count=64"),
    )
    .wait()
    .unwrap();
    assert_eq!(signal(hog), Some(libc::SIGKILL));
    assert!(fs::metadata(&file).unwrap().len() < 64 << 20);
    fs::remove_file(file).unwrap();
    leaf.remove().unwrap();
}

#[test]
fn a_killed_launchers_leaf_is_removed_and_never_a_process() {
    assert!(!remove_stale(&parent(), "7-stale").unwrap());
    // A launcher that is killed drops nothing.
    let left = leaf("7-stale", Limits::default());
    let (path, child) = (left.path().to_owned(), shell(&left, "sleep 100; :"));
    std::mem::forget(left);

    let error = remove_stale(&parent(), "7-stale").unwrap_err();
    assert!(
        error.reason.contains("busy") && error.remedy.contains("cgroup.procs"),
        "{error}"
    );
    assert_eq!(pids(&path).first(), Some(&child.id()));
    let taken = Leaf::create(&parent(), "7-stale", Limits::default()).unwrap_err();
    assert!(taken.remedy.contains("dm-restrict reap"), "{taken}");
    assert_eq!(pids(&path).first(), Some(&child.id()));

    kill_all(&path, child);
    assert!(remove_stale(&parent(), "7-stale").unwrap());
    assert!(!remove_stale(&parent(), "7-stale").unwrap());
    drop(leaf("7-stale", Limits::default()));
}

fn kill_all(path: &Path, mut first: Child) {
    // One may be forked between the look and the kill.
    wait_for("an empty group", || {
        for pid in pids(path) {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status();
        }
        pids(path).is_empty()
    });
    first.wait().unwrap();
}

#[test]
fn removal_waits_for_the_dying_and_not_for_the_living() {
    let leaf = leaf("7-living", Limits::default());
    let child = shell(&leaf, "sleep 100; :");
    let path = leaf.path().to_owned();
    let error = leaf.remove().unwrap_err();
    assert!(error.reason.contains("busy"), "{error}");
    kill_all(&path, child);
    assert!(remove_stale(&parent(), "7-living").unwrap());
}

#[test]
fn a_copy_in_a_child_removes_nothing() {
    let leaf = leaf("7-copy", Limits::default());
    let path = leaf.path().to_owned();
    // SAFETY: tests run in one thread here; the child drops, and ends.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            drop(leaf);
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) };
        }
        ForkResult::Parent { child } => {
            let mut status = 0;
            // SAFETY: writes one int.
            let ended = unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) };
            assert_eq!((ended, status), (child.as_raw(), 0));
        }
    }
    assert!(path.exists());
    leaf.remove().unwrap();
}

#[test]
fn joining_works_from_a_namespace_of_ones_own() {
    alone(|| {
        let leaf = leaf("7-namespace", Limits::default());
        let path = leaf.path().to_owned();
        let mut child = shell(&leaf, "cat /proc/self/cgroup; sleep 1");
        child.wait().unwrap();
        unshare(CloneFlags::CLONE_NEWCGROUP).unwrap();
        let mut child = shell(&leaf, "sleep 100; :");
        assert_eq!(pids(&path).first(), Some(&child.id()));
        leaf.kill().unwrap();
        child.kill().unwrap();
        kill_all(&path, child);
        leaf.remove().unwrap();
    });
}

#[test]
fn a_limit_that_the_kernel_refuses_leaves_no_leaf() {
    let limits = Limits {
        cpu_weight: Some(10_001),
        ..Limits::default()
    };
    let error = Leaf::create(&parent(), "7-refused", limits).unwrap_err();
    assert!(error.reason.contains("cpu.weight"), "{error}");
    let limits = Limits {
        pids: Some(1 << 40),
        ..Limits::default()
    };
    let error = Leaf::create(&parent(), "7-refused", limits).unwrap_err();
    assert!(
        error.reason.contains("/dm-restrict/7-refused\"/pids.max"),
        "{error}"
    );
    assert!(error.remedy.contains("4194304"), "{error}");
    assert!(!Path::new(ROOT).join("dm-restrict/7-refused").exists());
}

fn absent() -> MechanismError {
    probe().unwrap_err()
}

#[test]
fn where_control_groups_are_mounted_read_only_it_is_absent() {
    alone(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, ROOT, none, read_only, none).unwrap();
        let error = absent();
        assert!(error.remedy.contains("read-only"), "{error}");
        // What covers it is no control group.
        mount(Some("tmpfs"), ROOT, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        assert!(absent().reason.contains("mounted nowhere"));
    });
}

#[test]
fn in_a_group_of_somebody_else_or_a_namespace_it_is_absent() {
    alone(|| {
        fs::create_dir_all(Path::new(ROOT).join("namespaced")).unwrap();
        fs::write(Path::new(ROOT).join("namespaced/cgroup.procs"), "0").unwrap();
        assert!(
            absent().reason.contains("namespaced\" is not delegated"),
            "{}",
            absent()
        );
        unshare(CloneFlags::CLONE_NEWCGROUP | CloneFlags::CLONE_NEWNS).unwrap();
        // Its group is now called the root, and is none; the mount shows more.
        let error = absent();
        assert!(error.reason.contains("nowhere"), "{error}");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let own = tempfile::tempdir().unwrap();
        mount(
            Some("cgroup2"),
            own.path(),
            Some("cgroup2"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        let error = absent();
        assert!(error.reason.contains("is not delegated"), "{error}");
    });
}

#[test]
fn to_a_user_it_is_absent() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "cgroup::as_a_user", "--ignored", "--nocapture"])
        .uid(65533)
        .gid(65533);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(
        child.wait().unwrap().success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
#[ignore = "the test above runs it as a user"]
fn as_a_user() {
    let error = absent();
    assert!(
        error.reason.contains("ermission denied") && error.remedy.contains("root"),
        "{error}"
    );
}
