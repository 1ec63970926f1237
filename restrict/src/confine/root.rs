// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `root`: a fresh, small tmpfs that holds only what was named, each at
//! the path it has outside, and then is read-only.

use std::{
    ffi::{CStr, CString, OsStr},
    fmt, fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    mount::{MntFlags, umount2},
    sys::stat::{Mode, SFlag, mkdirat, mknodat, umask},
    unistd::{chdir, chroot, fchdir, pivot_root},
};

use super::{
    mechanism::{Mechanism, MechanismError},
    mounts::{Attributes, attach, new_filesystem, seal_mount},
    named::Copied,
};

/// What is bound from the machine's /dev by `--dev`.
pub(crate) const DEVICES: [&str; 5] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// Where the program can say that it is ready (`sd_notify(3)`).
pub(crate) const NOTIFY: &str = "/notify";
/// Room for the directories and empty files that things are mounted on.
const SIZE: &CStr = c"1m";
const INODES: &CStr = c"4096";

/// What a program finds in its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Readable and executable, by absolute path.
    pub(crate) read_only: Vec<PathBuf>,
    /// Writable too.
    pub(crate) read_write: Vec<PathBuf>,
    /// [`DEVICES`].
    pub(crate) devices: bool,
    /// An empty directory for a proc(5) of the program's own.
    pub(crate) proc: bool,
    /// A writable /tmp of so many bytes.
    pub(crate) tmp: Option<u64>,
}

/// How the program gets into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing of the old root stays in the namespace.
    Pivot,
    /// As libxl does.
    Chroot,
}

/// Builds it and enters it. The caller is in a mount namespace of its own, and has copies
/// of the [`Contents`] that are files. Returns the socket that is bound to [`NOTIFY`].
pub(crate) fn enter(
    contents: &Contents,
    copied: &[Copied],
    change: Change,
) -> Result<UnixDatagram, MechanismError> {
    // The launcher's own could lock the program out.
    let outside = umask(Mode::from_bits_truncate(0o022));
    let entered = build_and_enter(contents, copied, change);
    umask(outside);
    entered
}

fn build_and_enter(
    contents: &Contents,
    copied: &[Copied],
    change: Change,
) -> Result<UnixDatagram, MechanismError> {
    let base = Attributes::NO_SUID.and(Attributes::NO_DEV);
    let root = new_filesystem(
        c"tmpfs",
        &[(c"size", SIZE), (c"nr_inodes", INODES), (c"mode", c"0755")],
        base.and(Attributes::NO_EXEC),
    )
    .map_err(|error| failed("make a tmpfs", &error))?;
    let top = open_path(None, Path::new("/")).map_err(|error| failed("open /", &error))?;

    attach(root.as_fd(), top.as_fd()).map_err(|error| failed("mount the tmpfs", &error))?;
    let mount = root;
    let root = match change {
        Change::Pivot => mount.try_clone(),
        // Below its top: the kernel lets a process whose root is the top of a mount make
        // user namespaces.
        Change::Chroot => place(mount.as_fd(), Path::new("/root"), true),
    };
    let root = root.map_err(|error| failed("make the new root", &error))?;
    fchdir(&root).map_err(|errno| failed("enter the tmpfs", &errno.into()))?;
    // First: what is named may be in it.
    if let Some(size) = contents.tmp {
        let size = CString::new(size.to_string()).unwrap_or_default();
        let tmp = new_filesystem(
            c"tmpfs",
            &[(c"size", &size), (c"mode", c"1777")],
            base.and(Attributes::NO_EXEC),
        );
        let at = place(root.as_fd(), Path::new("/tmp"), true);
        tmp.and_then(|tmp| attach(tmp.as_fd(), at?.as_fd()))
            .map_err(|error| of_path(Path::new("/tmp"), "mount a tmpfs", &error))?;
    }
    for Copied {
        path,
        directory,
        tree,
    } in copied
    {
        let at = place(root.as_fd(), path, *directory)
            .map_err(|error| of_path(path, "make a place for it", &error))?;
        tree.mount(at.as_fd())
            .map_err(|error| of_path(path, "mount it", &error))?;
    }
    if contents.proc {
        place(root.as_fd(), Path::new("/proc"), true)
            .map_err(|error| of_path(Path::new("/proc"), "make a place for it", &error))?;
    }
    let socket =
        notify_socket().map_err(|error| of_path(Path::new(NOTIFY), "bind a socket", &error))?;
    let attributes = base.and(Attributes::NO_EXEC).and(Attributes::READ_ONLY);
    seal_root(mount.as_fd(), attributes)?;

    match change {
        Change::Pivot => {
            // The old root comes to lie over the new one, and goes.
            pivot_root(".", ".").map_err(pivot_failed)?;
            umount2(".", MntFlags::MNT_DETACH)
                .map_err(|errno| failed("detach the old root", &errno.into()))?;
        }
        Change::Chroot => chroot(".").map_err(|errno| failed("chroot", &errno.into()))?,
    }
    chdir("/").map_err(|errno| failed("enter the new root", &errno.into()))?;
    Ok(socket)
}

/// A proc(5).
#[derive(Clone, Copy)]
pub(crate) enum Proc {
    /// As far as its files allow it.
    Writable,
    ReadOnly,
}

/// Mounts one of the caller's pid namespace, with nothing but its processes. The caller is in
/// the new root.
pub(crate) fn mount_proc(proc: Proc) -> Result<(), MechanismError> {
    let attributes = Attributes::NO_SUID
        .and(Attributes::NO_DEV)
        .and(Attributes::NO_EXEC);
    let attributes = match proc {
        Proc::Writable => attributes,
        Proc::ReadOnly => attributes.and(Attributes::READ_ONLY),
    };
    // Linux 5.8; without it there would be all of /proc/sys.
    let options: &[(&CStr, &CStr)] = &[(c"subset", c"pid"), (c"hidepid", c"invisible")];
    let proc = new_filesystem(c"proc", options, attributes);
    let at = open_path(None, Path::new("/proc"));
    proc.and_then(|proc| attach(proc.as_fd(), at?.as_fd()))
        .map_err(|error| of_path(Path::new("/proc"), "mount it (Linux 5.8)", &error))
}

/// A path for a message.
pub(crate) struct Shown<'a>(pub(crate) &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.to_string_lossy().escape_debug())
    }
}

/// Makes what is to be mounted on: the directories of `path` below `root`, and a directory
/// or an empty file. What is there already, of a tree that was mounted before, is used.
pub(super) fn place(root: BorrowedFd<'_>, path: &Path, directory: bool) -> io::Result<OwnedFd> {
    let names: Vec<&OsStr> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let (last, parents) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = root.try_clone_to_owned()?;
    for name in parents {
        made(mkdirat(&at, *name, Mode::from_bits_truncate(0o755)))?;
        at = open_path(Some(at.as_fd()), Path::new(name))?;
    }
    if directory {
        made(mkdirat(&at, *last, Mode::from_bits_truncate(0o755)))?;
    } else {
        made(mknodat(
            &at,
            *last,
            SFlag::S_IFREG,
            Mode::from_bits_truncate(0o444),
            0,
        ))?;
    }
    open_path(Some(at.as_fd()), Path::new(last))
}

/// In a tree that is mounted read-only, and there already, the answer is `EEXIST` too.
fn made(result: nix::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Below `dir` no symbolic link is followed: it would lead out.
pub(crate) fn open_path(dir: Option<BorrowedFd<'_>>, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let fd = match dir {
        Some(dir) => openat(dir, path, flags | OFlag::O_NOFOLLOW, Mode::empty()),
        None => nix::fcntl::open(path, flags, Mode::empty()),
    };
    Ok(fd?)
}

pub(crate) fn is_directory(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = nix::sys::stat::fstat(fd)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR)
}

/// The current directory is the new root.
fn notify_socket() -> io::Result<UnixDatagram> {
    let name = NOTIFY.trim_start_matches('/');
    let socket = UnixDatagram::bind(name)?;
    fs::set_permissions(name, fs::Permissions::from_mode(0o666))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Only the tmpfs itself: what is mounted in it has its attributes.
fn seal_root(root: BorrowedFd<'_>, attributes: Attributes) -> Result<(), MechanismError> {
    seal_mount(root, attributes).map_err(|error| failed("make the root read-only", &error))
}

pub(super) fn pivot_failed(errno: Errno) -> MechanismError {
    if errno != Errno::EINVAL {
        return failed("pivot_root", &errno.into());
    }
    let reason = "pivot_root: the kernel refuses it while the root directory is not a mount, or is the initial ramfs";
    let remedy = "start it in a system whose / is a mount of its own (not in a plain chroot, nor in an initramfs before Linux 7)";
    MechanismError::new(Mechanism::Root, reason, remedy)
}

pub(crate) fn of_path(path: &Path, what: &str, error: &io::Error) -> MechanismError {
    failed(&format!("{}: {what}", Shown(path)), error)
}

pub(super) fn failed(what: &str, error: &io::Error) -> MechanismError {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => "start it as root with CAP_SYS_ADMIN",
        Some(libc::ENOENT) => "name what exists, by its path in this machine",
        Some(libc::ENOTDIR | libc::EROFS | libc::ELOOP) => {
            "a path in a directory that is named too must exist in it, as what it is"
        }
        Some(libc::ENOSPC) => "name fewer paths: the root has room for 4096 files and directories",
        Some(libc::ENOSYS) => "it needs Linux 5.2",
        _ => "or leave it out by `--without root`",
    };
    MechanismError::new(Mechanism::Root, format!("{what}: {error}"), remedy)
}

/// Absolute, with nothing in it that leads back up; not made, nor looked up.
pub(crate) fn absolute(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    if absolute
        .components()
        .any(|part| part == Component::ParentDir)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it has `..` in it",
        ));
    }
    Ok(absolute)
}
