// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file that is to be read only, also by who opens it again by `/proc/self/fd`: what it is
//! opened through then is a mount of its own, and that is read-only.

use std::{
    ffi::CStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::Path,
};

use nix::errno::Errno;

const HERE: &CStr = c"";

/// A device's node is no file of a file system's: of that a mount keeps nobody.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let place = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    let mount = copy_of_mount(&place)?;
    make_read_only(&mount)?;
    File::open(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

/// Mounted nowhere, with nothing in it but this file. It lasts as long as the file is open.
fn copy_of_mount(place: &File) -> io::Result<OwnedFd> {
    let empty_path = libc::c_uint::try_from(libc::AT_EMPTY_PATH).map_err(io::Error::other)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | empty_path;
    let (number, here) = (place.as_raw_fd(), HERE.as_ptr());
    // SAFETY: a descriptor, a string that lives, flags.
    let made = unsafe { libc::syscall(libc::SYS_open_tree, number, here, flags) };
    let made = i32::try_from(Errno::result(made)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has made it for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Linux 5.12.
fn make_read_only(mount: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let (number, here, to) = (mount.as_raw_fd(), HERE.as_ptr(), &raw const attributes);
    let (flags, size) = (libc::AT_EMPTY_PATH, size_of::<libc::mount_attr>());
    // SAFETY: a descriptor, a string and a struct that live, and the struct's size.
    let set = unsafe { libc::syscall(libc::SYS_mount_setattr, number, here, flags, to, size) };
    Errno::result(set).map(drop).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_only_is_not_opened_again_to_be_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        fs::write(&path, "text").unwrap();
        let file = open(&path).unwrap();
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(fs::read(&again).unwrap(), b"text");
        let error = fs::OpenOptions::new().write(true).open(&again).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        // Others' business it is not.
        fs::write(&path, "more").unwrap();
        assert_eq!(fs::read(&again).unwrap(), b"more");
        let missing = open(&directory.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
