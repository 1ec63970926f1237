// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel shows of a process, as far as confinement goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process,
};

/// Compared with this process, which is dom0's root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) status: Status,
    /// Namespaces that are not dom0's.
    pub(crate) own_namespaces: BTreeSet<String>,
    pub(crate) root: PathBuf,
    /// Soft and hard limits that are not this process's, as /proc spells them.
    pub(crate) limits: BTreeMap<String, (String, String)>,
    /// How often each device and each memory file is open.
    pub(crate) devices: BTreeMap<String, usize>,
}

/// The same in each thread.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Status {
    /// Real, effective, saved, and of file systems.
    pub(crate) uids: [u64; 4],
    pub(crate) gids: [u64; 4],
    pub(crate) groups: Vec<u64>,
    /// Inheritable, permitted, effective, ambient.
    pub(crate) capabilities: [u64; 4],
    pub(crate) bounding: u64,
    pub(crate) no_new_privs: u64,
    pub(crate) seccomp: u64,
}

impl Facts {
    pub(crate) fn of(pid: i32) -> Self {
        Self {
            status: status_of_all_threads(pid),
            own_namespaces: own_namespaces(pid),
            root: fs::read_link(format!("/proc/{pid}/root")).unwrap(),
            limits: other_limits(pid),
            devices: devices(pid),
        }
    }
}

impl Status {
    /// Of this process.
    pub(crate) fn own() -> Self {
        Self::read(&format!("/proc/{}/status", process::id()))
    }

    fn read(path: &str) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().trim_start_matches(':').split_whitespace()
        };
        let numbers = |name| {
            field(name)
                .map(|n| n.parse().unwrap())
                .collect::<Vec<u64>>()
        };
        let mask = |name| u64::from_str_radix(field(name).next().unwrap(), 16).unwrap();
        Self {
            uids: numbers("Uid").try_into().unwrap(),
            gids: numbers("Gid").try_into().unwrap(),
            groups: numbers("Groups"),
            capabilities: ["CapInh", "CapPrm", "CapEff", "CapAmb"].map(mask),
            bounding: mask("CapBnd"),
            no_new_privs: numbers("NoNewPrivs")[0],
            seccomp: numbers("Seccomp")[0],
        }
    }
}

fn status_of_all_threads(pid: i32) -> Status {
    let statuses: Vec<Status> = fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| Status::read(task.unwrap().path().join("status").to_str().unwrap()))
        .collect();
    assert!(
        statuses.iter().all(|status| *status == statuses[0]),
        "threads differ: {statuses:#?}"
    );
    statuses[0].clone()
}

fn own_namespaces(pid: i32) -> BTreeSet<String> {
    let namespace = |pid: i32, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"]
        .into_iter()
        .filter(|name| namespace(pid, name) != namespace(1, name))
        .map(str::to_owned)
        .collect()
}

fn other_limits(pid: i32) -> BTreeMap<String, (String, String)> {
    let ours = limits(process::id().try_into().unwrap());
    let mut theirs = limits(pid);
    theirs.retain(|name, limit| ours[name] != *limit);
    theirs
}

fn limits(pid: i32) -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            // The name has spaces, and its column has 26 characters.
            let (name, values) = line.split_at(26);
            let mut values = values.split_whitespace().map(str::to_owned);
            let limit = (values.next().unwrap(), values.next().unwrap());
            (name.trim().trim_start_matches("Max ").to_owned(), limit)
        })
        .collect()
}

fn devices(pid: i32) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        // It may have been closed since.
        let Ok(target) = fs::read_link(entry.unwrap().path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        if target.starts_with("/dev/") || target.starts_with("/memfd:") {
            *count.entry(target).or_default() += 1;
        }
    }
    count
}
