// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who else decides what a path leads to: whoever can change a directory on its way.

use std::{
    collections::{BTreeSet, VecDeque},
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use nix::unistd::geteuid;

use super::root::Shown;

/// As many as the kernel follows.
const LINKS: usize = 40;

/// What to tell before these paths are given to a program with these ids; of each directory
/// once.
///
/// What is there was looked at, and is what the program gets: what it is was others' choice.
pub(crate) fn warnings<'a>(
    paths: impl Iterator<Item = &'a Path>,
    program: (u32, u32),
) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut warnings = Vec::new();
    for path in paths {
        let shown = Shown(path);
        match others(path, program) {
            Ok(None) => {}
            Ok(Some(Others::Fill)) => warnings.push(format!(
                "{shown}: others than root and the program can put things there; a socket or a FIFO \
                 that they add after this look is not refused"
            )),
            Ok(Some(Others::Replace(directory))) => {
                if told.insert(directory.clone()) {
                    warnings.push(format!(
                        "{shown}: others than root can change {}, and so decide what it leads to; \
                         name what only root can replace",
                        Shown(&directory)
                    ));
                }
            }
            Err(error) => warnings.push(format!("{shown}: look who can replace it: {error}")),
        }
    }
    warnings
}

/// What somebody else than root and this process's user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Others {
    /// Change this directory on the way, by links too: what comes after it can be anything.
    Replace(PathBuf),
    /// Put things into the directory that it leads to.
    Fill,
}

/// Whoever else decides what `path` leads to; or what is in it, but for the program, with
/// these ids.
fn others(path: &Path, (uid, gid): (u32, u32)) -> io::Result<Option<Others>> {
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
        let directory = fs::symlink_metadata(&at)?;
        let sticky = directory.mode() & 0o1000 != 0;
        let kept = sticky && is_ours(&entry);
        if !is_ours(&directory) || (is_open(&directory, 0) && !kept) {
            return Ok(Some(Others::Replace(at)));
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
    let last = fs::symlink_metadata(&at)?;
    let whose = is_ours(&last) || last.uid() == uid;
    let filled = last.is_dir() && (!whose || is_open(&last, gid));
    Ok(filled.then_some(Others::Fill))
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

fn is_ours(metadata: &Metadata) -> bool {
    [0, geteuid().as_raw()].contains(&metadata.uid())
}

/// Whether others can change it, who are in no group but root's and this one.
fn is_open(directory: &Metadata, gid: u32) -> bool {
    let group = directory.mode() & 0o020 != 0 && ![0, gid].contains(&directory.gid());
    group || directory.mode() & 0o002 != 0
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
        let found = |name: &str| others(&path(name), (4711, 4712)).unwrap();
        for fine in ["ours/deep", "sticky/deep", "ours"] {
            assert_eq!(found(fine), None, "{fine}");
        }
        for filled in ["theirs", "group", "sticky"] {
            assert_eq!(found(filled), Some(Others::Fill), "{filled}");
            // By the program: it is for that.
            assert_eq!(
                others(&path(filled), (12345, 12345)).unwrap().is_some(),
                filled == "sticky"
            );
        }
        for (name, whose) in [
            ("theirs/deep", "theirs"),
            ("group/deep", "group"),
            ("sticky/theirs", "sticky"),
            ("ours/link", "theirs"),
            ("round/deep", "theirs"),
        ] {
            assert_eq!(found(name), Some(Others::Replace(path(whose))), "{name}");
        }
        symlink("loop", path("loop")).unwrap();
        assert!(others(&path("loop"), (1, 1)).is_err());
        assert!(others(&path("missing"), (1, 1)).is_err());
    }
}
