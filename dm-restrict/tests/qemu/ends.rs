// SPDX-License-Identifier: MIT OR Apache-2.0
//! However it ends, nothing is left of it.

use std::{fs, path::Path, process::Command};

use xen_restrict::{GuestId, PrivCmd, ShutdownReason};

use crate::{
    stock::eventually,
    support::{Guest, alone, is_there, record},
};

/// Mounts, control groups, directories and sockets of guests in dom0.
fn in_dom0() -> Vec<String> {
    let names = |path: &str| {
        let entries = fs::read_dir(path).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().path().display().to_string());
        // libxl's own: empty directories that it leaves, and what it keeps for all guests.
        let stays = ["qemu-root-", "domid-history", "-lock", ".lock"];
        names
            .filter(|name| !stays.iter().any(|stays| name.contains(stays)))
            .collect::<Vec<_>>()
    };
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let mut found: Vec<_> = mounts.lines().map(str::to_owned).collect();
    found.extend(names("/run/dm-restrict"));
    found.extend(names("/run/xen"));
    let groups = names("/sys/fs/cgroup/dm-restrict");
    found.extend(groups.into_iter().filter(|name| Path::new(name).is_dir()));
    found
}

fn all_gone(pids: &[i32]) {
    eventually("all its processes have ended", || {
        pids.iter().all(|pid| !is_there(*pid))
    });
}

#[test]
fn a_destroyed_guest_leaves_nothing() {
    let _alone = alone();
    let before = in_dom0();
    let guest = Guest::start();
    let pids = guest.pids();
    assert!(pids.iter().all(|pid| is_there(*pid)) && in_dom0() != before);
    drop(guest);
    all_gone(&pids);
    eventually("nothing of it is left", || in_dom0() == before);
}

#[test]
fn a_guest_that_powers_off_or_crashes_leaves_nothing() {
    let _alone = alone();
    let before = in_dom0();
    for reason in [ShutdownReason::Poweroff, ShutdownReason::Crash] {
        let guest = Guest::start();
        let pids = guest.pids();
        let domid = GuestId::new(guest.stock.domid).unwrap();
        let handle = PrivCmd::open().unwrap().restrict(domid).unwrap();
        // `xl` hears of it as if the guest had done it.
        handle.guest().remote_shutdown(reason).unwrap();
        drop(handle);
        all_gone(&pids);
        eventually("nothing of it is left", || in_dom0() == before);
        drop(guest);
    }
}

#[test]
fn a_killed_supervisor_takes_qemu_along_and_the_next_guest_starts() {
    let _alone = alone();
    let before = in_dom0();
    let guest = Guest::start();
    let [qemu, init, supervisor] = guest.pids();
    let kill = Command::new("kill")
        .args(["-9", &supervisor.to_string()])
        .status();
    assert!(kill.unwrap().success());
    all_gone(&[qemu, init]);
    drop(guest);
    let next = Guest::start();
    next.has_done_its_work();
    let pids = next.pids();
    drop(next);
    all_gone(&pids);
    // What the first one left, `reap` and the next program of the same domain remove; this one
    // had another.
    eventually("the second left nothing", || {
        in_dom0().len() <= before.len() + LEFT_BY_KILLED
    });
}

/// A directory of the domain and its control group.
const LEFT_BY_KILLED: usize = 2;

#[test]
fn a_qemu_that_dies_ends_its_supervisor() {
    let _alone = alone();
    let guest = Guest::start();
    let kill = Command::new("kill")
        .args(["-9", &guest.pid().to_string()])
        .status();
    assert!(kill.unwrap().success());
    all_gone(&guest.pids());
    assert!(record(guest.stock.domid).is_none());
}
