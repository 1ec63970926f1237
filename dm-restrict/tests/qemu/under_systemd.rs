// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where systemd is the machine's first process, as in most dom0s: control groups are its, and
//! `xl` is in one that is not delegated.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    refused::Settings,
    stock::eventually,
    support::{Guest, Wanted, alone, dm_restrict, every_check_holds, is_there, monitoring},
};

const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
const AWAY: &str = "/usr/bin/systemd-run.away";

#[test]
#[ignore = "systemd has to be the first process: in a boot of its own"]
fn a_qemu_has_a_control_group_of_its_own() {
    let _alone = alone();
    assert_eq!(fs::read_to_string("/proc/1/comm").unwrap(), "systemd\n");
    for step in STEPS {
        step();
        // Each takes a guest or two; the lab ends a machine that is silent.
        eprint!(".");
    }
}

const STEPS: [fn(); 7] = [
    it_is_in_a_scope_with_its_limits,
    that_its_memory_was_used_up_is_told,
    it_is_ended_by_systemctl_stop,
    a_killed_supervisor_leaves_no_scope,
    without_systemd_run_there_is_none,
    where_systemd_refuses_it_does_not_start,
    a_machine_that_shuts_down_stops_it_after_xendomains,
];

fn group_of(pid: i32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.trim().strip_prefix("0::").unwrap().to_owned()
}

/// Of all guests' QEMUs.
fn scopes() -> Vec<PathBuf> {
    let slice = fs::read_dir("/sys/fs/cgroup/system.slice").unwrap();
    let paths = slice.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "scope"))
        .collect()
}

fn the_scope() -> PathBuf {
    let [scope] = scopes().try_into().unwrap();
    scope
}

fn none_is_left(pids: &[i32]) {
    eventually("its processes have ended", || {
        pids.iter().all(|pid| !is_there(*pid))
    });
    eventually("its scope is gone", || scopes().is_empty());
}

fn it_is_in_a_scope_with_its_limits() {
    let _settings =
        Settings::new("require = cgroup\ncgroup = memory.max=300M\ncgroup = cpu.weight=50\n");
    let guest = Guest::start();
    let domid = guest.stock.domid;
    let scope = the_scope();
    let name = scope.file_name().unwrap().to_str().unwrap();
    assert!(
        name.starts_with(&format!("dm-restrict-{domid}-dm-")),
        "{name}"
    );
    let [qemu, init, supervisor] = guest.pids();
    let leaf = format!("/system.slice/{name}/{domid}-dm");
    let beside = format!("/system.slice/{name}/supervisor");
    let expected = [&leaf, &beside, &beside];
    assert_eq!([qemu, init, supervisor].map(group_of).each_ref(), expected);
    let of_leaf = |file: &str| {
        let path = Path::new("/sys/fs/cgroup").join(&leaf[1..]).join(file);
        fs::read_to_string(path).unwrap().trim().to_owned()
    };
    assert_eq!(of_leaf("memory.max"), (300 << 20).to_string());
    let weight = fs::read_to_string(scope.join("cpu.weight")).unwrap();
    assert_eq!(weight, "50\n");
    guest.has_done_its_work();
    let audit = every_check_holds(domid);
    let line = audit.lines().find(|line| line.starts_with("cgroup "));
    assert!(line.is_some_and(|line| line.ends_with("holds")), "{audit}");
    assert_eq!(monitoring(), "OK: all are confined\n");
    let doctor = String::from_utf8(dm_restrict(&["doctor", "--json"]).stdout).unwrap();
    assert!(doctor.contains("systemd makes its control"), "{doctor}");
    let pids = guest.pids();
    drop(guest);
    none_is_left(&pids);
}

fn that_its_memory_was_used_up_is_told() {
    let _settings = Settings::new("cgroup = memory.max=4M\n");
    let no = Guest::try_start(&Wanted::default()).err().unwrap();
    assert!(no.qemu.contains("memory.max"), "{no:?}");
    none_is_left(&[]);
}

fn it_is_ended_by_systemctl_stop() {
    let guest = Guest::start();
    let scope = the_scope();
    let name = scope.file_name().unwrap();
    let stopped = Command::new("systemctl").arg("stop").arg(name).status();
    assert!(stopped.unwrap().success());
    none_is_left(&guest.pids());
}

fn a_killed_supervisor_leaves_no_scope() {
    let guest = Guest::start();
    let [.., supervisor] = guest.pids();
    let kill = Command::new("kill")
        .args(["-9", &supervisor.to_string()])
        .status();
    assert!(kill.unwrap().success());
    none_is_left(&guest.pids());
}

/// `systemd-run`, until this is dropped.
struct Replaced;

impl Replaced {
    fn by(script: Option<&str>) -> Self {
        fs::rename(SYSTEMD_RUN, AWAY).unwrap();
        if let Some(script) = script {
            fs::write(SYSTEMD_RUN, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(SYSTEMD_RUN, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        fs::rename(AWAY, SYSTEMD_RUN).unwrap();
    }
}

fn without_systemd_run_there_is_none() {
    let _none = Replaced::by(None);
    let says = "not applied: cgroup: the control groups are systemd's, and there is no";
    let guest = Guest::start();
    let log = format!("/var/log/xen/qemu-dm-{}.log", guest.stock.name());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains(says), "{log}");
    assert!(guest.record["cgroup"].is_null(), "{:?}", guest.record);
    drop(guest);

    let _settings = Settings::new("require = cgroup\n");
    let no = Guest::try_start(&Wanted::default()).err().unwrap();
    assert!(
        no.qemu.contains("there is no /usr/bin/systemd-run"),
        "{no:?}"
    );
}

fn where_systemd_refuses_it_does_not_start() {
    let before = scopes();
    for (script, says) in [
        ("echo 'Failed: no' >&2; exit 1", "Failed: no"),
        // It is where it was: in the group of whoever has started xl.
        ("exec /bin/cat", "systemd has made no dm-restrict-"),
    ] {
        let _other = Replaced::by(Some(script));
        let no = Guest::try_start(&Wanted::default()).err().unwrap();
        assert!(no.qemu.contains(says), "{no:?}");
    }
    assert_eq!(scopes(), before);
}

/// With a service that takes a moment to stop, and no machine that does.
fn a_machine_that_shuts_down_stops_it_after_xendomains() {
    const UNITS: &str = "/run/systemd/system";
    const SAW: &str = "/tmp/xendomains-saw";
    let guest = Guest::start();
    let [qemu, ..] = guest.pids();
    let unit = |name: &str, text: &str| {
        let text = format!("[Unit]\nDefaultDependencies=no\n{text}");
        fs::write(Path::new(UNITS).join(name), text).unwrap();
    };
    unit("shutdown.target", "");
    unit(
        "xendomains.service",
        &format!(
            "Conflicts=shutdown.target\nBefore=shutdown.target\n[Service]\nType=oneshot\n\
             RemainAfterExit=yes\nExecStart=/bin/true\n\
             ExecStop=/bin/sh -c 'sleep 2; cp /proc/{qemu}/comm {SAW}'\n"
        ),
    );
    for command in [
        &["daemon-reload"][..],
        &["start", "xendomains.service"],
        &["start", "shutdown.target"],
    ] {
        let done = Command::new("systemctl").args(command).status();
        assert!(done.unwrap().success(), "{command:?}");
    }
    assert!(fs::read_to_string(SAW).unwrap().contains("qemu"));
    none_is_left(&guest.pids());
}
