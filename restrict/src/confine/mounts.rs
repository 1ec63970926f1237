// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounts by descriptor: none is looked up by its path again.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use nix::{errno::Errno, mount::MsFlags};

/// Of `linux/mount.h` and `linux/fcntl.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const AT_EMPTY_PATH: libc::c_uint = 0x1000;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const EMPTY: &CStr = c"";

/// What may not be done through a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attributes(u64);

impl Attributes {
    pub(crate) const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    pub(crate) const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    pub(crate) const NO_DEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    pub(crate) const NO_EXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A new file system that is mounted nowhere yet.
pub(crate) fn new_filesystem(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: Attributes,
) -> io::Result<OwnedFd> {
    // SAFETY: a string that lives, and a flag.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    for (key, value) in options {
        fsconfig(
            context.as_fd(),
            FSCONFIG_SET_STRING,
            key.as_ptr(),
            value.as_ptr(),
        )?;
    }
    fsconfig(
        context.as_fd(),
        FSCONFIG_CMD_CREATE,
        ptr::null(),
        ptr::null(),
    )?;
    let fd = context.as_raw_fd();
    // SAFETY: a descriptor that is open, and numbers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes.0) })
}

fn fsconfig(
    context: BorrowedFd<'_>,
    command: libc::c_uint,
    key: *const libc::c_char,
    value: *const libc::c_char,
) -> io::Result<()> {
    let fd = context.as_raw_fd();
    // SAFETY: key and value are null or strings of the caller that live.
    let result = unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key, value, 0) };
    Errno::result(result).map(drop).map_err(Into::into)
}

/// A copy of a mount from some place down, mounted nowhere yet.
pub(crate) struct Tree {
    mount: OwnedFd,
    /// What it is to get when it is mounted, as the kernel cannot do it before.
    later: Option<Attributes>,
}

impl Tree {
    /// From the place that `at` is, with these attributes. What is mounted or unmounted
    /// outside later changes nothing in it.
    ///
    /// With all that is mounted below, where the kernel can give attributes to all at
    /// once (Linux 5.12); else without: what is below would not have them.
    pub(crate) fn copy(at: BorrowedFd<'_>, attributes: Attributes) -> io::Result<Self> {
        let mount = clone_tree(at, AT_RECURSIVE)?;
        match set_attributes(mount.as_fd(), attributes, libc::MS_PRIVATE, AT_RECURSIVE) {
            Ok(()) => Ok(Self { mount, later: None }),
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(Self {
                mount: clone_tree(at, 0)?,
                later: Some(attributes),
            }),
            Err(error) => Err(error),
        }
    }

    /// Mounts it on the place that `on` is.
    pub(crate) fn mount(&self, on: BorrowedFd<'_>) -> io::Result<()> {
        attach(self.mount.as_fd(), on)?;
        let Some(attributes) = self.later else {
            return Ok(());
        };
        change(self.mount.as_fd(), MsFlags::MS_PRIVATE)?;
        remount(self.mount.as_fd(), attributes)
    }
}

/// Gives a mount and all below it these attributes.
///
/// `ENOSYS` before Linux 5.12.
pub(crate) fn set_all(top: BorrowedFd<'_>, attributes: Attributes) -> io::Result<()> {
    set_attributes(top, attributes, 0, AT_RECURSIVE)
}

/// Gives an attached mount, which has none below, these attributes.
pub(crate) fn seal_mount(mount: BorrowedFd<'_>, attributes: Attributes) -> io::Result<()> {
    match set_attributes(mount, attributes, 0, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => remount(mount, attributes),
        other => other,
    }
}

fn remount(mount: BorrowedFd<'_>, attributes: Attributes) -> io::Result<()> {
    // The numbers of mount(2) are the same.
    let flags = MsFlags::from_bits_retain(attributes.0) | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    change(mount, flags)
}

fn change(mount: BorrowedFd<'_>, flags: MsFlags) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
    nix::mount::mount(
        None::<&str>,
        path.as_str(),
        None::<&str>,
        flags,
        None::<&str>,
    )?;
    Ok(())
}

fn clone_tree(at: BorrowedFd<'_>, recursive: libc::c_uint) -> io::Result<OwnedFd> {
    let flags = AT_EMPTY_PATH | recursive | libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    let fd = at.as_raw_fd();
    // SAFETY: a descriptor that is open, a string that lives, flags.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, fd, EMPTY.as_ptr(), flags) })
}

/// Mounts what is not mounted yet on the place that `on` is.
pub(crate) fn attach(mount: BorrowedFd<'_>, on: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    let (from, to): (RawFd, RawFd) = (mount.as_raw_fd(), on.as_raw_fd());
    // SAFETY: descriptors that are open, strings that live, flags.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from,
            EMPTY.as_ptr(),
            to,
            EMPTY.as_ptr(),
            flags,
        )
    };
    Errno::result(result).map(drop).map_err(Into::into)
}

/// `ENOSYS` before Linux 5.12. A propagation of 0 stays what it is.
fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    propagation: libc::c_ulong,
    recursive: libc::c_uint,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes.0,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let (fd, flags) = (mount.as_raw_fd(), AT_EMPTY_PATH | recursive);
    // SAFETY: the struct lives and its size is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            EMPTY.as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop).map_err(Into::into)
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel just made it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
