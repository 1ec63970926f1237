// SPDX-License-Identifier: MIT OR Apache-2.0
//! A control group: a folder that stays the same one whatever happens to its name.

use std::{
    ffi::CStr,
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat},
    sys::{
        stat::{Mode, fstat, mkdirat},
        statfs::{CGROUP2_SUPER_MAGIC, fstatfs},
    },
    unistd::{AccessFlags, UnlinkatFlags, faccessat, geteuid, unlinkat},
};

/// More than a group's list of processes takes: 7 bytes for each of 4194304.
const MAX_FILE: u64 = 32 << 20;

#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Dir {
    /// A group of version 2.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path, FOLDER, Mode::empty())?;
        // Something else may be mounted over it.
        if fstatfs(&fd)?.filesystem_type() != CGROUP2_SUPER_MAGIC {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn child(&self, name: &str) -> io::Result<Self> {
        let fd = openat(&self.fd, name, FOLDER, Mode::empty())?;
        Ok(Self {
            fd,
            path: self.path.join(name),
        })
    }

    /// The same, by another descriptor.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            fd: self.fd.try_clone()?,
            path: self.path.clone(),
        })
    }

    pub(super) fn make(&self, name: &str) -> io::Result<()> {
        Ok(mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755))?)
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir)?)
    }

    /// How many groups are in it.
    pub(super) fn children(&self) -> usize {
        // Each has a link to it, and it has two of its own.
        let links = fstat(&self.fd).map_or(2, |stat| stat.st_nlink);
        usize::try_from(links).unwrap_or(2).saturating_sub(2)
    }

    pub(super) fn file(&self, name: &str, access: OFlag) -> io::Result<File> {
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(openat(&self.fd, name, flags, Mode::empty())?.into())
    }

    pub(super) fn read(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        let file = self.file(name, OFlag::O_RDONLY)?;
        file.take(MAX_FILE).read_to_string(&mut text)?;
        Ok(text)
    }

    pub(super) fn write(&self, name: &str, value: &str) -> io::Result<()> {
        self.file(name, OFlag::O_WRONLY)?
            .write_all(value.as_bytes())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.access(name, AccessFlags::F_OK).is_ok()
    }

    /// Whether this process may write `name`.
    pub(super) fn writable(&self, name: &str) -> io::Result<()> {
        self.access(name, AccessFlags::W_OK)
    }

    fn access(&self, name: &str, mode: AccessFlags) -> io::Result<()> {
        Ok(faccessat(self.fd.as_fd(), name, mode, AtFlags::AT_EACCESS)?)
    }

    /// Whether it belongs to this process's user.
    pub(super) fn is_own(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_uid == geteuid().as_raw())
    }

    /// Whether the attribute says "1".
    pub(super) fn is_marked(&self, attribute: &CStr) -> bool {
        let mut value = [0_u8; 1];
        // SAFETY: the name is a C string, `value` has the one byte that is said, and a
        // longer attribute is an error.
        let length = unsafe {
            libc::fgetxattr(
                self.fd.as_raw_fd(),
                attribute.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        length == 1 && value == *b"1"
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)
    }
}
