// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict reap`, on processes of uids that are nobody's on this machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command},
};

use support::{with_users, with_users_under};

const REAP: [&str; 3] = ["reap", "--domid", "7"];
const SIGKILL: i32 = 9;

/// Users with uids far above people's, and this run's by its pid.
struct Users {
    passwd: String,
    uid: u32,
}

fn users(test: u32) -> Users {
    let base = 1_000_000_000 + (std::process::id() % 10_000) * 200_000 + test * 40_000;
    Users {
        passwd: format!("xen-qemuuser-range-base:x:{base}:65534::/:/bin/false\n"),
        uid: base + 7,
    }
}

fn sleep(uid: u32) -> Child {
    Command::new("sleep")
        .arg("60")
        .uid(uid)
        .gid(65534)
        .current_dir("/")
        .spawn()
        .expect("another user's process takes root: run the tests as root")
}

fn ended_by(mut child: Child) -> Option<i32> {
    child.wait().unwrap().signal()
}

#[test]
fn the_domains_processes_are_ended_and_its_neighbours_live() {
    let users = users(0);
    let (target, mut neighbour) = (sleep(users.uid), sleep(users.uid + 1));
    let run = with_users(&users.passwd, "", &REAP);
    assert_eq!(
        run.stdout,
        format!("uid {}: 1 found, none left\n", users.uid)
    );
    assert_eq!((run.stderr.as_str(), run.code), ("", 0));
    assert_eq!(ended_by(target), Some(SIGKILL));
    assert_eq!(neighbour.try_wait().unwrap(), None);
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}

#[test]
fn where_processes_would_be_missed_nothing_is_killed() {
    let users = users(1);
    let mut target = sleep(users.uid);
    for (wrapper, message) in [
        (
            &["unshare", "--pid", "--fork", "--mount-proc"][..],
            "first pid namespace",
        ),
        (
            &["unshare", "--user", "--map-root-user"],
            "first user namespace",
        ),
        (
            &[
                "sh",
                "-c",
                "mount -t proc -o hidepid=2,gid=4711 proc /proc && \
                 exec setpriv --bounding-set=-sys_ptrace \"$@\"",
                "sh",
            ],
            "mounted with hidepid",
        ),
        (&["setpriv", "--bounding-set=-setuid"], "run it as root"),
    ] {
        let run = with_users_under(wrapper, &users.passwd, "", &REAP);
        assert!(run.stderr.contains(message), "{run:?}");
        assert_eq!((run.stdout.as_str(), run.code), ("", 1), "{run:?}");
        assert_eq!(target.try_wait().unwrap(), None, "{run:?}");
    }
    target.kill().unwrap();
    target.wait().unwrap();
}

#[test]
fn a_uid_that_is_not_one_domains_alone_is_not_reaped() {
    let users = users(2);
    let mut shared = sleep(users.uid);
    let passwd = format!("xen-qemuuser-shared:x:{}:65534::/:/bin/false\n", users.uid);
    let run = with_users(&passwd, "", &REAP);
    assert!(run.stderr.contains("may be somebody else's"), "{run:?}");
    assert_eq!((run.stdout.as_str(), run.code), ("", 1));
    assert_eq!(shared.try_wait().unwrap(), None);
    shared.kill().unwrap();
    shared.wait().unwrap();

    let older = format!("xen-qemuuser-domid7:x:{}:65534::/:/bin/false\n", users.uid);
    let run = with_users(&older, "", &REAP);
    assert!(
        run.stderr.contains("--system xen-qemuuser-reaper"),
        "{run:?}"
    );
    assert_eq!(run.code, 1);
}
