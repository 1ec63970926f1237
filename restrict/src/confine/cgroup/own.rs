// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which control group this process is in, and where the machine shows it: to this
//! thread, as namespaces are a thread's.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

use super::{absent, failed};
use crate::confine::mechanism::MechanismError;
use crate::confine::proc_file::whole;

const CGROUP: &str = "/proc/thread-self/cgroup";
const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// What /proc says of this process.
#[derive(Debug)]
pub(super) struct Own {
    /// Its group, seen from the root of its control group namespace.
    pub(super) group: PathBuf,
    /// The controllers that version 1 has taken.
    pub(super) in_version_1: Vec<String>,
}

impl Own {
    pub(super) fn find() -> Result<Self, MechanismError> {
        Self::read(CGROUP)
    }

    /// That of another process.
    pub(super) fn of(pid: u32) -> Result<Self, MechanismError> {
        Self::read(&format!("/proc/{pid}/cgroup"))
    }

    fn read(path: &str) -> Result<Self, MechanismError> {
        let text = whole(path).map_err(|error| failed(format!("read {path}"), &error))?;
        Self::parse(&text).ok_or_else(|| {
            absent(
                "the kernel has no control groups of version 2",
                "use Linux 4.15 or later, built with CONFIG_CGROUPS, CONFIG_MEMCG and CONFIG_CGROUP_PIDS",
            )
        })
    }

    /// Lines of a hierarchy's number, its controllers, and the group in it.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut group = None;
        let mut in_version_1 = Vec::new();
        for line in text.split(|b| *b == b'\n') {
            let mut fields = line.splitn(3, |b| *b == b':');
            let (Some(number), Some(names), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if number == b"0" && names.is_empty() {
                group = Some(PathBuf::from(OsString::from_vec(path.to_vec())));
            } else {
                let names = String::from_utf8_lossy(names);
                in_version_1.extend(names.split(',').map(str::to_owned));
            }
        }
        Some(Self {
            group: group?,
            in_version_1,
        })
    }

    /// The folders that may be its group: one for each place where the hierarchy is mounted.
    pub(super) fn folders(&self) -> Result<Vec<PathBuf>, MechanismError> {
        let text = whole(MOUNTS).map_err(|error| failed(format!("read {MOUNTS}"), &error))?;
        Ok(folders(&text, &self.group))
    }
}

/// The last one mounted first: it may cover another.
fn folders(mountinfo: &[u8], group: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = mountinfo
        .split(|b| *b == b'\n')
        .filter_map(mount)
        .filter_map(|(root, at)| Some(at.join(group.strip_prefix(root).ok()?)))
        .filter(|path| !path.components().any(|part| part == Component::ParentDir))
        .collect();
    found.reverse();
    found
}

/// Of a mount of version 2: the group that is its root, and the folder it is on.
fn mount(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let fields: Vec<_> = line.split(|b| *b == b' ').collect();
    // Any number of optional fields come before the dash.
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    if *fields.get(dash + 1)? != b"cgroup2" {
        return None;
    }
    Some((unescaped(fields[3]), unescaped(fields[4])))
}

/// Blanks and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let code = rest.get(1..4).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &rest[4..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_own_group_is_that_of_version_2() {
        let own = Own::parse(b"8:pids:/a\n4:cpu,memory:/b\n1:name=systemd:/\n0::/c:d/e\n").unwrap();
        assert_eq!(own.group, Path::new("/c:d/e"));
        assert_eq!(own.in_version_1, ["pids", "cpu", "memory", "name=systemd"]);
        assert!(Own::parse(b"8:pids:/a\n").is_none());
        assert!(Own::parse(b"").is_none());
    }

    const MOUNTINFO: &str = "\
        22 1 0:21 / /proc rw - proc proc rw\n\
        30 1 0:28 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n\
        31 1 0:28 /a /mnt/part\\040of\\134it rw - cgroup2 cgroup2 rw\n\
        32 1 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        33 1 0:28 /../.. /mnt/outside rw - cgroup2 cgroup2 rw\n\
        bad line - cgroup2\n";

    #[test]
    fn a_group_is_found_under_each_mount_that_shows_it() {
        let found = |group| folders(MOUNTINFO.as_bytes(), Path::new(group));
        assert_eq!(
            found("/a/b"),
            [
                Path::new("/mnt/part of\\it/b"),
                Path::new("/sys/fs/cgroup/a/b")
            ]
        );
        assert_eq!(found("/"), [Path::new("/sys/fs/cgroup")]);
        assert_eq!(found("/ab"), [Path::new("/sys/fs/cgroup/ab")]);
        // Outside of the namespace: there is no way to name it.
        assert!(found("/../x").is_empty());
        assert!(folders(b"", Path::new("/")).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_proc_says_no_path_leads_up(
            text in prop::collection::vec(prop::sample::select(&b"/.\\04 -:acgroup2\n"[..]), 0..80),
            group in "/[a./]{0,9}",
        ) {
            if let Some(own) = Own::parse(&text) {
                let _ = folders(&text, &own.group);
            }
            for path in folders(&text, Path::new(&group)) {
                prop_assert!(!path.components().any(|part| part == Component::ParentDir));
            }
        }
    }
}
