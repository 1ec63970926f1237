// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who else decides what a path leads to: whoever can change a directory on its way.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use nix::unistd::geteuid;

/// As many as the kernel follows.
const LINKS: usize = 40;

/// The first directory on the way, by links too, that somebody else than root and this
/// process's user can change. What comes after it can be anything.
pub(crate) fn first_of_others(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut at = PathBuf::from("/");
    let mut ahead = names(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let entry = fs::symlink_metadata(&next)?;
        if is_of_others(&fs::symlink_metadata(&at)?, &entry) {
            return Ok(Some(at));
        }
        if !entry.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        let mut all = names(&target);
        all.append(&mut ahead);
        ahead = all;
    }
    Ok(None)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

/// Whether somebody else can put another thing where `entry` is.
fn is_of_others(directory: &Metadata, entry: &Metadata) -> bool {
    let ours = |metadata: &Metadata| [0, geteuid().as_raw()].contains(&metadata.uid());
    let by_group = directory.mode() & 0o020 != 0 && directory.gid() != 0;
    let by_all = directory.mode() & 0o002 != 0;
    let sticky = directory.mode() & 0o1000 != 0;
    !ours(directory) || ((by_group || by_all) && !(sticky && ours(entry)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn the_way_is_looked_at_link_by_link() {
        let dir = tempfile::tempdir().unwrap();
        let dir = fs::canonicalize(dir.path()).unwrap();
        let path = |name: &str| dir.join(name);
        for name in ["ours/deep", "theirs/deep", "group/deep", "sticky/deep"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        chown(path("theirs"), Some(12345), None).unwrap();
        chown(path("group"), None, Some(12345)).unwrap();
        let mode = |name: &str, bits| {
            fs::set_permissions(path(name), fs::Permissions::from_mode(bits)).unwrap();
        };
        mode("group", 0o775);
        mode("sticky", 0o1777);
        fs::create_dir(path("sticky/theirs")).unwrap();
        chown(path("sticky/theirs"), Some(12345), None).unwrap();
        symlink("../theirs/deep", path("ours/link")).unwrap();
        symlink(path("theirs/deep/../../ours"), path("round")).unwrap();
        let first = |name: &str| first_of_others(&path(name)).unwrap();
        for fine in ["ours/deep", "theirs", "sticky/deep", "group"] {
            assert_eq!(first(fine), None, "{fine}");
        }
        for (name, whose) in [
            ("theirs/deep", "theirs"),
            ("group/deep", "group"),
            ("sticky/theirs", "sticky"),
            ("ours/link", "theirs"),
            ("round/deep", "theirs"),
        ] {
            assert_eq!(first(name), Some(path(whose)), "{name}");
        }
        symlink("loop", path("loop")).unwrap();
        assert!(first_of_others(&path("loop")).is_err());
        assert!(first_of_others(&path("missing")).is_err());
    }
}
