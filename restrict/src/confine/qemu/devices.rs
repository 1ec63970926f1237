// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that a QEMU which is root can open. Those of no other name can it open nowhere: all
//! that is mounted is mounted without devices.

use std::{
    io,
    os::{fd::AsFd as _, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
};

use crate::confine::{
    mechanism::MechanismError,
    mounts::{Attributes, Tree},
    root::{of_path, open_path},
};

/// Xen's handles are given by [`super::handles`]. Buffers of hypercalls are locked memory: the
/// supervisor could not read what is of /dev/xen/hypercall ([`super::memory`]).
pub(super) const DEVICES: [&str; 7] = [
    // A pseudo terminal of its own: the other end the kernel opens by this one. What is in
    // /dev/pts is others', and mounted without devices.
    "/dev/ptmx",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    // Opened to ask whether grants can be copied; they cannot.
    "/dev/xen/gntdev",
];

pub(super) const PRIVCMD: &str = "/dev/xen/privcmd";
pub(super) const BUFFERS: &str = "/dev/xen/hypercall";

/// Which of Xen's devices it opens itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Itself {
    Nothing,
    PrivCmd,
    /// It is only asked what it can do.
    Probe,
}

/// Copies of them and of those of `files` that are devices, by their paths.
pub(super) struct Devices(Vec<(PathBuf, Tree)>);

impl Devices {
    pub(super) fn copy(files: &[PathBuf], itself: Itself) -> Result<Self, MechanismError> {
        let attributes = Attributes::NO_SUID
            .and(Attributes::READ_ONLY)
            .and(Attributes::NO_EXEC);
        let disks = files.iter().filter(|path| is_block_device(path));
        let xens: &[&str] = match itself {
            Itself::Nothing => &[],
            Itself::PrivCmd => &[PRIVCMD],
            Itself::Probe => &[PRIVCMD, BUFFERS],
        };
        let all = DEVICES.iter().chain(xens).map(Path::new);
        let mut copies = Vec::new();
        for path in all.chain(disks.map(PathBuf::as_path)) {
            match open_path(None, path).and_then(|at| Tree::copy(at.as_fd(), attributes)) {
                Ok(tree) => copies.push((path.to_owned(), tree)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(of_path(path, "copy its mount", &error)),
            }
        }
        Ok(Self(copies))
    }

    /// Where they were.
    pub(super) fn mount(&self) -> Result<(), MechanismError> {
        for (path, tree) in &self.0 {
            open_path(None, path)
                .and_then(|at| tree.mount(at.as_fd()))
                .map_err(|error| of_path(path, "mount it", &error))?;
        }
        Ok(())
    }
}

fn is_block_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}
