// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of dom0 that are a guest's disks.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::call::Disk;

/// Those that are files, and that it may write to. What is a device is no file of a file
/// system: it is written to where that is read-only, too.
pub(super) fn writable_files(disks: &[Disk]) -> Vec<PathBuf> {
    let mut files: Vec<_> = disks
        .iter()
        .filter(|disk| !disk.read_only && disk.path.is_file())
        .map(|disk| disk.path.clone())
        .collect();
    files.sort();
    files.dedup();
    files
}

/// Whether root needs a capability to open one of them.
pub(super) fn are_others(disks: &[Disk]) -> bool {
    disks.iter().any(|disk| !is_roots(disk))
}

fn is_roots(disk: &Disk) -> bool {
    let needs = if disk.read_only { 0o4 } else { 0o6 };
    let enters = |path: &Path| may(path, 0o1);
    may(&disk.path, needs) && disk.path.ancestors().skip(1).all(enters)
}

/// What is not there is told by QEMU.
fn may(path: &Path, bits: u32) -> bool {
    fs::metadata(path).is_ok_and(|found| {
        let shift = match (found.uid(), found.gid()) {
            (0, _) => 6,
            (_, 0) => 3,
            _ => 0,
        };
        found.mode() >> shift & bits == bits
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_disk_that_is_somebody_elses_takes_a_capability() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let disk = |read_only| Disk {
            path: path.clone(),
            read_only,
        };
        assert!(!are_others(&[disk(false)]));
        assert_eq!(
            writable_files(&[disk(false), disk(false), disk(true)]),
            std::slice::from_ref(&path)
        );
        assert!(writable_files(&[disk(true)]).is_empty());
        chown(&path, Some(1), Some(1)).unwrap();
        assert!(are_others(&[disk(false)]) && are_others(&[disk(true)]));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(are_others(&[disk(false)]) && !are_others(&[disk(true)]));
        // What is no file of a directory's is not to be mounted.
        let null = Disk {
            path: "/dev/null".into(),
            read_only: false,
        };
        assert!(writable_files(&[null]).is_empty());
    }
}
