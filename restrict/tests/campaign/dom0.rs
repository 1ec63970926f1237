// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dom0 lives, and its memory is what it was: a part of it that this process holds, and
//! all of its files, which are memory.

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use xen_restrict::GuestId;

use crate::victim::{run, xl};

const CANARY: usize = 32 << 20;
const CANARY_BYTE: u8 = 0xa5;

/// What Xen says when something is wrong with it, and not with a guest.
const FAULTS: &[&str] = &[
    "Panic on CPU",
    "FATAL",
    "Xen BUG at",
    "Xen WARN at",
    "Assertion '",
    "Xen call trace",
];

pub(crate) struct Dom0 {
    canary: Vec<u8>,
    files: BTreeMap<PathBuf, u64>,
    other: GuestId,
}

impl Dom0 {
    pub(crate) fn look(other: GuestId) -> Self {
        let files = files();
        assert!(files.len() > 20, "{files:?}");
        Self {
            canary: vec![CANARY_BYTE; CANARY],
            files,
            other,
        }
    }

    pub(crate) fn check(&self) {
        let name = run(
            "xenstore-read",
            &[&format!("/local/domain/{}/name", self.other.get())],
        );
        assert_eq!(name.trim(), "B");
        let list = xl(&["list"]);
        for name in ["Domain-0", "A ", "B "] {
            assert!(
                list.lines().any(|line| line.starts_with(name)),
                "no {name}in\n{list}"
            );
        }
        let pattern = [CANARY_BYTE; 4096];
        let strange = self.canary.chunks(4096).position(|page| page != pattern);
        assert_eq!(strange, None, "a page of dom0's changed");
        let log = xl(&["dmesg"]);
        let fault = log
            .lines()
            .find(|line| FAULTS.iter().any(|fault| line.contains(fault)));
        assert_eq!(fault, None, "{log}");
    }

    pub(crate) fn check_files(&self) {
        for (path, hash) in &files() {
            assert_eq!(self.files.get(path), Some(hash), "{}", path.display());
        }
    }

    pub(crate) fn extent(&self) -> String {
        format!(
            "{} files of dom0 and {} MiB of its memory",
            self.files.len(),
            CANARY >> 20
        )
    }
}

/// Programs and libraries: nobody changes those.
fn files() -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for folder in ["/usr", "/lib", "/lab", "/guest"] {
        collect(Path::new(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, u64>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), found);
        } else if kind.is_file() {
            let mut hasher = DefaultHasher::new();
            fs::read(entry.path()).unwrap().hash(&mut hasher);
            found.insert(entry.path(), hasher.finish());
        }
    }
}
