// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict doctor`, on this machine: as it is, with users that the test makes up, as
//! somebody who is not root, and where things are taken away.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;
use support::{Run, dm_restrict, with_users, with_users_under};
use xen_restrict::confine::Mechanism;

const BASE: &str = "xen-qemuuser-range-base:x:1200000000:65534::/nonexistent:/bin/false\n";
const SHARED: &str = "xen-qemuuser-shared:x:1200000000:65534::/nonexistent:/bin/false\n";
const JSON: [&str; 2] = ["doctor", "--json"];

/// A report in JSON; its exit code is its verdict.
fn report(run: &Run) -> Value {
    assert_eq!(run.stderr, "", "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let verdict = match run.code {
        0 => "ready",
        1 => "not-ready",
        2 => "unknown",
        other => panic!("exit code {other}"),
    };
    assert_eq!(report["verdict"], verdict);
    report
}

fn item<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut items = report["items"].as_array().unwrap().iter();
    items.find(|item| item["name"] == name).unwrap()
}

fn state(report: &Value, name: &str) -> String {
    item(report, name)["state"].as_str().unwrap().to_owned()
}

fn remedy(report: &Value, name: &str) -> String {
    item(report, name)["remedy"].as_str().unwrap().to_owned()
}

fn on_xen() -> bool {
    fs::read_to_string("/sys/hypervisor/type").is_ok_and(|kind| kind.trim() == "xen")
}

/// docs/doctor.md, as far as a program can check it.
#[test]
fn the_json_has_the_documented_form() {
    let report = report(&dm_restrict(&JSON));
    assert_eq!(report["schema"], 1);
    assert_eq!(report.as_object().unwrap().len(), 3);
    let documented = include_str!("../../docs/doctor.md");
    let items = report["items"].as_array().unwrap();
    for item in items {
        assert_eq!(item.as_object().unwrap().len(), 6, "{item}");
        let text = |key: &str| item[key].as_str().unwrap();
        assert!(["mechanisms", "kernel", "xen", "users", "machine"].contains(&text("topic")));
        assert!(["offered", "partly", "missing", "unknown"].contains(&text("state")));
        let need = &item["needed_by"];
        assert!(need.is_null() || ["run", "xen", "audit"].contains(&need.as_str().unwrap()));
        assert!(!text("seen").is_empty());
        assert_eq!(
            item["remedy"].is_null(),
            text("state") == "offered",
            "{item}"
        );
        let name = text("name");
        assert!(
            documented.contains(&format!("`{name}`")),
            "docs/doctor.md lacks {name}"
        );
    }
    for mechanism in Mechanism::ALL {
        let of_it = items.iter().filter(|item| item["name"] == mechanism.name());
        let of_it: Vec<_> = of_it.collect();
        assert_eq!(of_it.len(), 1, "{mechanism}");
        assert_eq!(of_it[0]["topic"], "mechanisms");
        assert_eq!(of_it[0]["needed_by"].is_null(), mechanism.depends_on_host());
    }
}

#[test]
fn the_table_has_a_line_for_each_item_and_says_what_is_lacking() {
    let (json, text) = (dm_restrict(&JSON), dm_restrict(&["doctor"]));
    assert_eq!((text.code, text.stderr.as_str()), (json.code, ""));
    let report = report(&json);
    for item in report["items"].as_array().unwrap() {
        let start = format!("  {} ", item["name"].as_str().unwrap());
        let lines = text.stdout.lines().filter(|line| line.starts_with(&start));
        assert_eq!(lines.count(), 1, "{start:?}");
        if let Some(remedy) = item["remedy"].as_str() {
            assert!(text.stdout.contains(&format!("-> {remedy}\n")), "{remedy}");
        }
    }
    if !on_xen() {
        assert_eq!(text.code, 1);
        assert!(
            text.stdout
                .contains("\n`run` without --no-xen lacks xen, dom0"),
            "{}",
            text.stdout
        );
    }
}

#[test]
fn as_root_the_kernels_mechanisms_are_tried() {
    let report = report(&with_users(BASE, "", &JSON));
    for name in [
        "identity",
        "capabilities",
        "no-new-privs",
        "xen-requests",
        "seccomp",
        "mount-ns",
        "ipc-ns",
        "net-ns",
        "pid-ns",
        "uts-ns",
        "cgroup-ns",
        "root",
        "rlimits",
        "fds",
        "env",
        "parent-death",
        "keyring",
        "umask",
        "session",
        "linux",
        "user-notification",
        "privileges",
        "all-processes",
        "run-directory",
    ] {
        assert_eq!(state(&report, name), "offered", "{}", item(&report, name));
    }
    // All that a run with --no-xen needs is there.
    let lacks = |item: &&Value| item["needed_by"] == "run" && item["state"] != "offered";
    assert_eq!(report["items"].as_array().unwrap().iter().find(lacks), None);
}

#[test]
fn users_are_told_apart() {
    let add = "adduser --no-create-home --uid 65536 --system xen-qemuuser-range-base";
    let none = report(&with_users("", "", &JSON));
    assert_eq!(state(&none, "identity"), "missing");
    assert!(remedy(&none, "identity").contains(add));
    assert_eq!(remedy(&none, "range-base"), add);
    assert!(remedy(&none, "reaper").contains("--system xen-qemuuser-reaper"));

    let base = report(&with_users(BASE, "", &JSON));
    assert_eq!(
        item(&base, "range-base")["seen"],
        "uids 1200000001 to 1200032751"
    );
    assert_eq!(
        item(&base, "reaper")["seen"],
        "uid 1200000000, that of the range base"
    );

    let shared = report(&with_users(SHARED, "", &JSON));
    assert_eq!(
        (state(&shared, "identity"), state(&shared, "shared")),
        ("partly".into(), "partly".into())
    );
    assert_eq!(remedy(&shared, "identity"), add);

    let move_it = "usermod --uid 65536 xen-qemuuser-range-base";
    for (uid, expected) in [("994", "missing"), ("20000", "partly")] {
        let low = BASE.replace("1200000000", uid);
        let low = report(&with_users(&low, "", &JSON));
        for name in ["identity", "range-base"] {
            assert_eq!(state(&low, name), expected, "{uid}");
            assert!(remedy(&low, name).contains(move_it), "{uid}");
        }
    }

    let overlap = report(&with_users(BASE, "ann:1200030000:9\n", &JSON));
    for name in ["identity", "range-base", "subuid"] {
        assert_eq!(state(&overlap, name), "missing");
    }
    assert!(
        item(&overlap, "subuid")["seen"]
            .as_str()
            .unwrap()
            .contains("line 1 of /etc/subuid")
    );

    // What would be the range is looked at before the user is made.
    let planned = report(&with_users("", "ann:98287:1\n", &JSON));
    assert_eq!(state(&planned, "subuid"), "missing");

    let broken = report(&with_users("broken\n", "", &JSON));
    assert_eq!(
        (state(&broken, "identity"), broken["verdict"].as_str()),
        (
            "unknown".into(),
            Some(if on_xen() { "unknown" } else { "not-ready" },)
        )
    );
    assert!(remedy(&broken, "identity").contains("pwck"));
}

#[test]
fn who_is_not_root_is_told_so_and_nothing_is_guessed() {
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let report = report(&with_users_under(&user, BASE, "", &JSON));
    assert_eq!(state(&report, "privileges"), "missing");
    assert_eq!(remedy(&report, "privileges"), "run it as root");
    for name in ["capabilities", "root", "all-processes"] {
        assert_eq!(state(&report, name), "unknown", "{name}");
    }
    for name in [
        "no-new-privs",
        "xen-requests",
        "seccomp",
        "net-ns",
        "keyring",
    ] {
        assert_eq!(state(&report, name), "offered", "{name}");
    }
    assert_eq!(report["verdict"], "not-ready");
}

#[test]
fn a_root_without_its_powers_is_told_which_it_lacks() {
    let bounded = ["setpriv", "--bounding-set=-setpcap,-sys_admin"];
    let report = report(&with_users_under(&bounded, BASE, "", &JSON));
    let privileges = item(&report, "privileges")["seen"].as_str().unwrap();
    assert_eq!(privileges, "root without CAP_SETPCAP, CAP_SYS_ADMIN");
    for name in ["capabilities", "mount-ns", "net-ns", "root"] {
        assert_eq!(state(&report, name), "missing", "{name}");
    }
}

#[test]
fn a_sandbox_around_it_is_found() {
    let inside = ["unshare", "--pid", "--fork", "--mount-proc"];
    let report = report(&with_users_under(&inside, BASE, "", &JSON));
    assert_eq!(state(&report, "all-processes"), "missing");
    assert!(
        item(&report, "all-processes")["seen"]
            .as_str()
            .unwrap()
            .contains("first pid namespace")
    );
}

#[test]
fn a_run_directory_that_others_can_write_to_is_refused() {
    let open = [
        "sh",
        "-c",
        "mkdir -m 777 /run/dm-restrict && chmod 777 /run/dm-restrict && exec \"$@\"",
        "sh",
    ];
    let report = report(&with_users_under(&open, BASE, "", &JSON));
    assert_eq!(state(&report, "run-directory"), "missing");
    assert!(remedy(&report, "run-directory").contains("chmod 755 /run/dm-restrict"));
}

#[test]
fn what_stands_in_sys_is_read() {
    let fake = tempfile::tempdir().unwrap();
    fs::set_permissions(fake.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(fake.path().join("hypervisor")).unwrap();
    fs::create_dir_all(fake.path().join("kernel/security")).unwrap();
    fs::write(fake.path().join("hypervisor/type"), "xen\n").unwrap();
    fs::write(
        fake.path().join("kernel/security/lsm"),
        "capability,landlock,yama,apparmor\n",
    )
    .unwrap();
    let cover = format!("mount --bind {:?} /sys && exec \"$@\"", fake.path());
    let report = report(&with_users_under(
        &["sh", "-c", &cover, "sh"],
        BASE,
        "",
        &JSON,
    ));
    assert_eq!(state(&report, "xen"), "offered");
    assert_eq!(state(&report, "lsm"), "partly");
    assert!(
        item(&report, "lsm")["seen"]
            .as_str()
            .unwrap()
            .starts_with("apparmor runs")
    );
    if !Path::new("/proc/xen/capabilities").exists() {
        assert_eq!(state(&report, "dom0"), "unknown");
        assert!(remedy(&report, "dom0").contains("mount -t xenfs xenfs /proc/xen"));
    }
}

#[test]
fn a_report_that_cannot_be_written_is_no_report() {
    let status = Command::new("sh")
        .args([
            "-c",
            "exec \"$0\" doctor >/dev/full 2>/dev/null",
            env!("CARGO_BIN_EXE_dm-restrict"),
        ])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}
