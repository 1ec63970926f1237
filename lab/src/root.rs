// SPDX-License-Identifier: MIT OR Apache-2.0
//! A folder with unpacked packages, looked at as the root it is going to be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

pub(crate) struct Root {
    folder: PathBuf,
}

/// As many as the kernel follows.
const SYMLINKS: usize = 40;

impl Root {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where the file is on this machine. Some suites have the files of /bin and /lib under
    /// /usr only, with a symlink that no package of ours brings.
    pub(crate) fn find(&self, path: &str) -> Option<PathBuf> {
        let path = path.trim_start_matches('/');
        let other = match path.strip_prefix("usr/") {
            Some(rest) => rest.to_owned(),
            None => format!("usr/{path}"),
        };
        self.follow(path).or_else(|| self.follow(&other))
    }

    /// # Errors
    /// No package has it.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let file = self
            .find(path)
            .with_context(|| format!("no package of the suite has {path}"))?;
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    }

    /// Of a file that anybody may read: can it be executed?
    ///
    /// # Errors
    /// No package has it.
    pub(crate) fn mode(&self, path: &str) -> Result<u32> {
        let file = self.find(path).and_then(|file| file.metadata().ok());
        let file = file.with_context(|| format!("no package of the suite has {path}"))?;
        Ok(match file.permissions().mode() & 0o100 {
            0 => 0o644,
            _ => 0o755,
        })
    }

    /// The names in a folder; none if it is not there.
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        let Some(folder) = self.find(path) else {
            return Vec::new();
        };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The one file below a folder that has this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn search(&self, path: &str, name: &str) -> Result<PathBuf> {
        let mut todo: Vec<PathBuf> = self.find(path).into_iter().collect();
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(&folder)
                .with_context(|| format!("cannot list {}", folder.display()))?
            {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    todo.push(entry.path());
                } else if entry.file_name() == name {
                    return Ok(entry.path());
                }
            }
        }
        bail!("no package of the suite has {name} below {path}")
    }

    /// Follows symlinks without leaving the folder.
    fn follow(&self, path: &str) -> Option<PathBuf> {
        let mut file = self.folder.join(path);
        for _ in 0..SYMLINKS {
            let Ok(target) = fs::read_link(&file) else {
                return file.exists().then_some(file);
            };
            let base = if target.is_absolute() {
                self.folder.clone()
            } else {
                file.parent()?.to_path_buf()
            };
            file = base;
            for component in target.components() {
                match component {
                    Component::Normal(name) => file.push(name),
                    Component::ParentDir if file != self.folder => {
                        file.pop();
                    }
                    _ => {}
                }
            }
        }
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sample() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let usr = dir.path().join("usr/lib");
        fs::create_dir_all(&usr).unwrap();
        fs::write(usr.join("ld.so"), "loader").unwrap();
        fs::create_dir(dir.path().join("lib64")).unwrap();
        symlink("/usr/lib/ld.so", dir.path().join("lib64/ld.so.2")).unwrap();
        symlink("../../../../usr/lib/ld.so", usr.join("up")).unwrap();
        symlink("/etc/passwd", usr.join("outside")).unwrap();
        symlink("loop", usr.join("loop")).unwrap();
        let root = Root::new(dir.path().to_path_buf());
        (dir, root)
    }

    #[test]
    fn links_are_followed_inside() {
        let (_dir, root) = sample();
        assert_eq!(root.read("/lib64/ld.so.2").unwrap(), b"loader");
        assert_eq!(root.read("usr/lib/up").unwrap(), b"loader");
        assert!(root.find("usr/lib/outside").is_none());
        assert!(root.find("usr/lib/loop").is_none());
    }

    #[test]
    fn usr_may_be_merged_or_not() {
        let (_dir, root) = sample();
        assert!(root.find("lib/ld.so").is_some());
        assert!(root.find("usr/lib64/ld.so.2").is_some());
        assert_eq!(root.list("lib64"), ["ld.so.2"]);
        assert!(root.search("lib", "ld.so").is_ok());
        assert!(root.search("lib", "other").is_err());
    }
}
