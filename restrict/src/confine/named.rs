// SPDX-License-Identifier: MIT OR Apache-2.0
//! The paths that were named for a root directory. Each is looked up once: what is looked
//! at is what is mounted, whatever its name leads to by then.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::{
    mechanism::MechanismError,
    mounts::{Attributes, Tree},
    root::{self, Contents, DEVICES},
};

/// What is at a path, whoever renames it.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) path: PathBuf,
    pub(crate) at: OwnedFd,
    attributes: Attributes,
}

impl Named {
    fn new(path: &Path, attributes: Attributes) -> Result<Self, MechanismError> {
        let opened = root::open_path(None, path);
        Ok(Self {
            path: path.to_owned(),
            at: opened.map_err(|error| root::of_path(path, "open it", &error))?,
            attributes,
        })
    }
}

/// Opens what is readable and what is writable, as O_PATH.
pub(crate) fn open(contents: &Contents) -> Result<Vec<Named>, MechanismError> {
    let writable = Attributes::NO_SUID.and(Attributes::NO_DEV);
    let readable = writable.and(Attributes::READ_ONLY);
    let read_only = contents.read_only.iter().map(|path| (path, readable));
    let read_write = contents.read_write.iter().map(|path| (path, writable));
    read_only
        .chain(read_write)
        .map(|(path, attributes)| Named::new(path, attributes))
        .collect()
}

/// A copy of what was named, to be mounted in the new root.
pub(crate) struct Copied {
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
    pub(crate) tree: Tree,
}

/// Copies of all, of the devices too, a directory before what is in it. In the mount
/// namespace in which they were opened: the kernel copies no other's mounts.
pub(crate) fn copied(
    mut named: Vec<Named>,
    contents: &Contents,
) -> Result<Vec<Copied>, MechanismError> {
    if contents.devices {
        let attributes = Attributes::NO_SUID.and(Attributes::NO_EXEC);
        for path in DEVICES {
            named.push(Named::new(Path::new(path), attributes)?);
        }
    }
    named.sort_by(|one, other| one.path.cmp(&other.path));
    named.dedup_by(|one, other| one.path == other.path && one.attributes == other.attributes);
    named.into_iter().map(copy).collect()
}

fn copy(named: Named) -> Result<Copied, MechanismError> {
    let copied: io::Result<_> = (|| {
        let directory = root::is_directory(named.at.as_fd())?;
        Ok((directory, Tree::copy(named.at.as_fd(), named.attributes)?))
    })();
    let (directory, tree) =
        copied.map_err(|error| root::of_path(&named.path, "mount it", &error))?;
    Ok(Copied {
        path: named.path,
        directory,
        tree,
    })
}
