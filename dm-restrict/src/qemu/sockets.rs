// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets that are bound for QEMU in dom0's files, and removed when it has ended.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

/// One that is there; dropped, it is removed. By then another one may be at its path, of the
/// QEMU that comes after: where a guest is migrated within the machine, for example.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bound {
    path: PathBuf,
    file: (u64, u64),
}

impl Bound {
    /// As QEMU does it: what was left there is removed, if it is a socket.
    pub(super) fn new(path: PathBuf) -> io::Result<(Self, UnixListener)> {
        let listener = listen(&path).map_err(|error| {
            let text = format!("listen at {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
        let file = file(&path)?;
        Ok((Self { path, file }, listener))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // libxl may have done it.
        if file(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    let is_socket = |found: fs::Metadata| found.file_type().is_socket();
    if fs::symlink_metadata(path).is_ok_and(is_socket) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn one_that_is_in_its_place_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (first, _listener) = Bound::new(path.clone()).unwrap();
        let (second, listener) = Bound::new(path.clone()).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop((second, listener));
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        let error = Bound::new(path.clone()).unwrap_err();
        assert!(error.to_string().contains("listen at"), "{error}");
        assert!(path.is_file());
    }
}
