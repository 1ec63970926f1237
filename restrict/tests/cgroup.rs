// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said where control groups are not ours to use. What they do where they are,
//! `cargo lab test` shows: tests/kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kernel/alone.rs"]
mod alone;

use std::fs;

use alone::alone;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use xen_restrict::confine::{Mechanism, cgroup::probe};

#[test]
fn looking_for_one_changes_nothing_and_a_refusal_has_a_remedy() {
    let group = || fs::read_to_string("/proc/self/cgroup").unwrap();
    let before = group();
    match probe() {
        Ok(parent) => assert!(parent.path().join("cgroup.procs").exists()),
        Err(error) => {
            assert_eq!(error.mechanism, Mechanism::Cgroup);
            assert!(
                !error.reason.is_empty() && !error.remedy.is_empty(),
                "{error}"
            );
            // Version 1's are no use, and it says so.
            let in_version_1 = before.lines().any(|line| line.ends_with(":pids:/"));
            assert!(
                !in_version_1 || error.remedy.contains("cgroup_no_v1=all"),
                "{error}"
            );
        }
    }
    assert_eq!(group(), before);
}

#[test]
fn where_they_are_mounted_nowhere_it_says_how_to_mount_them() {
    alone(|| {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace takes root");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            if let (Some(at), Some("cgroup2")) = (fields.next(), fields.next()) {
                mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), none).unwrap();
            }
        }
        let error = probe().unwrap_err();
        assert!(error.reason.contains("mounted nowhere"), "{error}");
        assert_eq!(error.remedy, "mount -t cgroup2 cgroup2 /sys/fs/cgroup");
    });
}
