// SPDX-License-Identifier: MIT OR Apache-2.0
//! A directory of /proc, held open: what is read there is one process's or thread's,
//! also when its number is given to another meanwhile.

use std::{
    ffi::{CString, OsString},
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat, readlinkat},
    sys::stat::{Mode, fstatat},
};

use super::sys::{self, Stat};
use crate::confine::proc_file::rest;

/// Why something of a process cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The process, the thread, or what was to be read of it, is no more.
    Gone,
    /// The kernel refuses this process.
    Denied(String),
    /// It makes no sense, or the kernel failed.
    Failed(String, io::Error),
}

impl Unread {
    fn of(path: &str, errno: Errno) -> Self {
        match errno {
            Errno::ENOENT | Errno::ESRCH => Self::Gone,
            Errno::EACCES | Errno::EPERM => Self::Denied(path.to_owned()),
            other => Self::Failed(path.to_owned(), other.into()),
        }
    }

    /// The kernel wrote what this version does not understand.
    pub(super) fn nonsense(path: &str) -> Self {
        Self::Failed(path.to_owned(), io::ErrorKind::InvalidData.into())
    }
}

/// `/proc/PID`, or `/proc/PID/task/TID`.
#[derive(Debug)]
pub(super) struct ProcDir(OwnedFd);

const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_RDONLY)
    .union(OFlag::O_CLOEXEC);

impl ProcDir {
    /// Of a process.
    pub(super) fn of(pid: i32) -> Result<Self, Unread> {
        Self::at(&format!("/proc/{pid}"))
    }

    pub(super) fn at(path: &str) -> Result<Self, Unread> {
        let fd = open(path, DIRECTORY, Mode::empty());
        Ok(Self(fd.map_err(|errno| Unread::of(path, errno))?))
    }

    /// All of /proc, by a mount of it.
    pub(super) fn of_namespace(mount: &OwnedFd) -> Result<Self, Unread> {
        let fd = openat(mount, ".", DIRECTORY, Mode::empty());
        Ok(Self(fd.map_err(|errno| Unread::of("/proc", errno))?))
    }

    /// Of one of its threads.
    pub(super) fn thread(&self, tid: i32) -> Result<Self, Unread> {
        let path = format!("task/{tid}");
        let fd = openat(&self.0, path.as_str(), DIRECTORY, Mode::empty());
        Ok(Self(fd.map_err(|errno| Unread::of(&path, errno))?))
    }

    /// A file's whole text.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, Unread> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.0, path, flags, Mode::empty());
        let file = file.map_err(|errno| Unread::of(path, errno))?;
        rest(File::from(file)).map_err(|error| Unread::of(path, errno(&error)))
    }

    /// Where a link says that it leads.
    pub(super) fn link(&self, path: &str) -> Result<Vec<u8>, Unread> {
        let target = readlinkat(&self.0, path).map(OsString::into_vec);
        target.map_err(|errno| Unread::of(path, errno))
    }

    /// What is where a link leads; the file system's server is not asked.
    pub(super) fn stat(&self, path: &str) -> Result<Stat, Unread> {
        let terminated = CString::new(path).map_err(|_| Unread::nonsense(path))?;
        sys::stat(self.0.as_fd(), &terminated).map_err(|errno| Unread::of(path, errno))
    }

    /// Whether a link is to what was opened for writing too: `fd/N`, `map_files/RANGE`.
    pub(super) fn writes(&self, path: &str) -> Result<bool, Unread> {
        let link = fstatat(&self.0, path, AtFlags::AT_SYMLINK_NOFOLLOW);
        let link = link.map_err(|errno| Unread::of(path, errno))?;
        Ok(link.st_mode & libc::S_IWUSR != 0)
    }

    /// The names in a directory.
    pub(super) fn names(&self, path: &str) -> Result<Vec<OsString>, Unread> {
        let failed = |error: io::Error| Unread::of(path, errno(&error));
        let whole = format!("/proc/self/fd/{}/{path}", self.0.as_raw_fd());
        let entries = fs::read_dir(whole).map_err(failed)?;
        entries
            .map(|entry| entry.map(|e| e.file_name()).map_err(failed))
            .collect()
    }

    /// The names in a directory that are numbers, in their order.
    pub(super) fn numbers(&self, path: &str) -> Result<Vec<i32>, Unread> {
        let names = self.names(path)?;
        let mut numbers: Vec<i32> = names
            .iter()
            .filter_map(|name| str::from_utf8(name.as_bytes()).ok()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number in a link to a namespace: `net:[4026531833]`.
    pub(super) fn namespace(&self, kind: &str) -> Result<u64, Unread> {
        let path = format!("ns/{kind}");
        let link = self.link(&path)?;
        number_in(&link, kind).ok_or_else(|| Unread::nonsense(&path))
    }

    /// Opens what a link leads to, for a namespace.
    pub(super) fn open(&self, path: &str) -> Result<OwnedFd, Unread> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(&self.0, path, flags, Mode::empty()).map_err(|errno| Unread::of(path, errno))
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// `kind:[NUMBER]`.
pub(super) fn number_in(link: &[u8], kind: &str) -> Option<u64> {
    let text = str::from_utf8(link).ok()?;
    let rest = text.strip_prefix(kind)?.strip_prefix(":[")?;
    rest.strip_suffix(']')?.parse().ok()
}

impl AsFd for ProcDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Every process that /proc shows.
pub(super) fn processes() -> io::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok()),
        );
    }
    pids.sort_unstable();
    Ok(pids)
}
