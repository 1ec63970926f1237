// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices that a QEMU which is root can open. Those of no other name can it open nowhere: all
//! that is mounted is mounted without devices, but a /dev of its own.

use std::{
    io,
    os::{fd::AsFd as _, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
};

use nix::sys::stat::{Mode, SFlag, makedev, mknodat};

use crate::confine::{
    mechanism::MechanismError,
    mounts::{Attributes, Tree, attach, new_filesystem, seal_mount},
    root::{of_path, open_path, place},
};

/// Xen's handles are given by [`super::handles`]. Buffers of hypercalls are locked memory: the
/// supervisor could not read what is of /dev/xen/hypercall ([`super::memory`]).
pub(super) const DEVICES: [&str; 6] = [
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

/// Makes a pseudo terminal, if [`TERMINALS`] are beside it. Its other end the kernel opens by it.
pub(super) const PTMX: &str = "/dev/ptmx";
/// Those of others are among them: mounted without devices.
pub(super) const TERMINALS: &str = "/dev/pts";
const DEV: &str = "/dev";

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
        let all = all.chain(disks.map(PathBuf::as_path));
        let all = all.map(|path| (path, attributes));
        let terminals = (Path::new(TERMINALS), attributes.and(Attributes::NO_DEV));
        let mut copies = Vec::new();
        for (path, attributes) in all.chain([terminals]) {
            match open_path(None, path).and_then(|at| Tree::copy(at.as_fd(), attributes)) {
                Ok(tree) => copies.push((path.to_owned(), tree)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(of_path(path, "copy its mount", &error)),
            }
        }
        Ok(Self(copies))
    }

    /// In a new /dev; where they were, if that was elsewhere.
    pub(super) fn mount(&self) -> Result<(), MechanismError> {
        let kept = Attributes::NO_SUID.and(Attributes::NO_EXEC);
        let options = [(c"size", c"64k"), (c"mode", c"0755")];
        let on = Path::new(DEV);
        let dev = new_filesystem(c"tmpfs", &options, kept).and_then(|dev| {
            attach(dev.as_fd(), open_path(None, on)?.as_fd())?;
            let name = PTMX.trim_start_matches("/dev/");
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            mknodat(&dev, name, SFlag::S_IFCHR, mode, makedev(5, 2))?;
            Ok(dev)
        });
        let dev = dev.map_err(|error| of_path(on, "mount another one on it", &error))?;
        for (path, tree) in &self.0 {
            let place = match path.strip_prefix(DEV) {
                Ok(rest) => place(dev.as_fd(), rest, path == Path::new(TERMINALS)),
                Err(_) => open_path(None, path),
            };
            place
                .and_then(|at| tree.mount(at.as_fd()))
                .map_err(|error| of_path(path, "mount it", &error))?;
        }
        seal_mount(dev.as_fd(), kept.and(Attributes::READ_ONLY))
            .map_err(|error| of_path(on, "make it read-only", &error))
    }
}

fn is_block_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}
