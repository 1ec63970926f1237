// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several programs of one guest, and what becomes of what a killed supervisor leaves.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use crate::support::{
    Idle, a, alone, dm_restrict, eventually, nothing_is_left, outcome, processes_of, records, run,
    signal, uid_of,
};

#[test]
fn the_uid_is_reaped_before_the_first_and_after_the_last() {
    let _alone = alone();
    let uid = uid_of(&a());
    let mut stray = Command::new("/bin/busybox")
        .args(["sleep", "1000"])
        .uid(uid)
        .spawn()
        .unwrap();

    let first = Idle::start(&mut run(&a()));
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&stray.wait().unwrap()),
        Some(9)
    );
    let second = Idle::start(run(&a()).args(["--instance", "tpm", "--no-xen"]));
    assert_eq!(records().len(), 2);

    let again = outcome(run(&a()).args(["--instance", "tpm", "--", "/bin/busybox", "true"]));
    assert_eq!(again.code, 125);
    assert!(again.stderr.contains("runs already"), "{}", again.stderr);

    // The first one's end does not touch the second.
    assert_eq!(first.end().code, 128 + 15);
    assert!(!processes_of(uid).is_empty());
    assert_eq!(second.end().code, 128 + 15);
    nothing_is_left(&a());
}

#[test]
fn what_a_killed_supervisor_leaves_the_next_run_removes() {
    let _alone = alone();
    let mut idle = Idle::start(&mut run(&a()));
    let (pid, init) = (
        idle.record()["pid"].clone(),
        idle.record()["init_pid"].clone(),
    );
    signal(idle.0.id(), libc::SIGKILL);
    idle.0.wait().unwrap();
    eventually("the program is gone with its supervisor", || {
        [&pid, &init]
            .iter()
            .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
    assert!(Path::new(&format!("/run/dm-restrict/{}/dm", a())).exists());
    assert!(records().is_empty(), "a dead instance is not listed");

    let again = outcome(run(&a()).args(["--", "/bin/busybox", "true"]));
    assert_eq!(again.code, 0, "{}", again.stderr);
    nothing_is_left(&a());
}

#[test]
fn its_control_group_has_limits_and_is_its_own() {
    let _alone = alone();
    let idle = Idle::start(run(&a()).args(["--require", "cgroup", "--cgroup", "pids.max=32"]));
    let path = idle.record()["cgroup"].as_str().unwrap().to_owned();
    assert_eq!(
        fs::read_to_string(format!("{path}/pids.max")).unwrap(),
        "32\n"
    );
    assert_eq!(
        fs::read_to_string(format!("{path}/memory.swap.max")).unwrap(),
        "0\n"
    );
    let members = fs::read_to_string(format!("{path}/cgroup.procs")).unwrap();
    assert_eq!(
        members.trim(),
        idle.record()["pid"].to_string(),
        "the program, and nobody else"
    );
    assert_eq!(idle.end().code, 128 + 15);
    assert!(!Path::new(&path).exists());
    nothing_is_left(&a());
}

#[test]
fn many_processes_end_with_their_supervisor() {
    let _alone = alone();
    let script = "i=0; while [ $i -lt 100 ]; do /bin/busybox sleep 1000 & i=$((i+1)); done; wait";
    let mut child = shell(&[], script).spawn().unwrap();
    let uid = uid_of(&a());
    eventually("it forks", || processes_of(uid).len() > 100);
    signal(child.id(), libc::SIGKILL);
    child.wait().unwrap();
    eventually("its pid namespace is gone", || processes_of(uid).is_empty());
    let reaped = outcome(dm_restrict().args(["reap", "--domid", &a()]));
    assert_eq!(reaped.code, 0, "{}", reaped.stderr);
    assert_eq!(
        outcome(run(&a()).args(["--", "/bin/busybox", "true"])).code,
        0
    );
    nothing_is_left(&a());
}

#[test]
fn who_forks_without_pause_meets_a_limit() {
    let _alone = alone();
    let script = "while :; do /bin/busybox sleep 1000 & done";
    for limit in [["--cgroup", "pids.max=40"], ["--rlimit", "nproc=40"]] {
        let ended = outcome(&mut shell(&limit, script));
        assert_eq!(ended.code, 2, "the shell gives up: {ended:?}");
        assert!(ended.stderr.contains("fork"), "{ended:?}");
        nothing_is_left(&a());
    }
}

#[test]
fn who_takes_more_memory_than_its_group_has_is_killed_and_that_is_told() {
    let _alone = alone();
    let mut command = run(&a());
    command
        .args(["--dev", "--require", "cgroup", "--cgroup", "memory.max=16M"])
        .args(["--", "/bin/busybox", "dd", "if=/dev/zero", "of=/dev/null"])
        .args(["bs=64M", "count=1"]);
    // The supervisor is not in the group, and stays to tell.
    let ended = outcome(&mut command);
    assert_eq!(ended.code, 128 + 9, "{ended:?}");
    assert!(
        ended.stderr.contains("raise --cgroup memory.max"),
        "{ended:?}"
    );
    nothing_is_left(&a());
}

fn shell(options: &[&str], script: &str) -> Command {
    let mut command = run(&a());
    command
        .args(["--dev"])
        .args(options)
        .args(["--", "/bin/busybox", "sh", "-c", script]);
    command
}
