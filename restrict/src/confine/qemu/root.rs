// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a QEMU sees of dom0's files: until its own chroot all of them, read-only but for its
//! disks, without other processes and most devices, with a /run that has xenstored's sockets
//! only; from then on none.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, openat},
    mount::{MntFlags, umount2},
    sys::stat::{Mode, fstat},
    unistd::{chdir, pivot_root},
};

use super::{
    devices::{Devices, Itself},
    given_up::Inode,
    procs,
};
use crate::confine::{
    mechanism::MechanismError,
    mounts::{Attributes, Tree, attach, new_filesystem, seal_mount, set_all},
    named::Copied,
    namespaces::enter_mounts_of,
    proc_file::rest,
    root::{failed, of_path, open_path, pivot_failed, place},
};

/// Where dom0's daemons have their sockets, at which a root who is confined is root.
const RUN: &str = "/run";
/// What is left of it.
const XENSTORED: &str = "/run/xenstored";

/// Makes all that is mounted read-only, but for `disks`, with no devices but those that QEMU
/// needs or opens `itself` and those of `files`, hides dom0's processes, and puts an empty
/// directory to where QEMU will go. Gives that directory. The caller is in a mount namespace of
/// its own, and `chroot` has no symbolic link in it.
pub(crate) fn read_only(
    chroot: Option<&Path>,
    disks: &[Copied],
    files: &[PathBuf],
    itself: Itself,
) -> Result<Option<Inode>, MechanismError> {
    let base = Attributes::NO_SUID
        .and(Attributes::READ_ONLY)
        .and(Attributes::NO_DEV);
    let nothing = base.and(Attributes::NO_EXEC);
    let (run, xenstored) = (Path::new(RUN), Path::new(XENSTORED));
    let at = |path: &Path| open_path(None, path).map_err(|error| of_path(path, "open it", &error));
    // Before it is hidden.
    let sockets = match open_path(None, xenstored) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(
            found
                .and_then(|found| Tree::copy(found.as_fd(), nothing))
                .map_err(|error| of_path(xenstored, "copy its mount", &error))?,
        ),
    };
    let devices = Devices::copy(files, itself)?;
    let proc = open_path(None, Path::new("/proc")).and_then(|proc| mounts(&proc));
    let mounts = proc.map_err(|error| failed("read what is mounted", &error))?;
    set_all(at(Path::new("/"))?.as_fd(), base)
        .map_err(|error| failed("make all mounts read-only (Linux 5.12)", &error))?;
    for Copied { path, tree, .. } in disks {
        tree.mount(at(path)?.as_fd())
            .map_err(|error| of_path(path, "mount it", &error))?;
    }

    devices.mount()?;
    for path in procs::of(&mounts) {
        hide(&path, nothing)?;
    }
    let hidden = tmpfs(run, run)?;
    if let Some(sockets) = &sockets {
        below(&hidden, xenstored)
            .and_then(|place| sockets.mount(place.as_fd()))
            .map_err(|error| of_path(xenstored, "mount it", &error))?;
    }
    let mut goal = None;
    if let Some(path) = chroot {
        if path.starts_with(run) {
            below(&hidden, path).map_err(|error| of_path(path, "make a place for it", &error))?;
        }
        let empty = tmpfs(path, path)?;
        seal_mount(empty.as_fd(), nothing)
            .map_err(|error| of_path(path, "make it read-only", &error))?;
        let stat = fstat(&empty).map_err(|errno| of_path(path, "look at it", &errno.into()))?;
        goal = Some((stat.st_dev, stat.st_ino));
    }
    seal_mount(hidden.as_fd(), nothing)
        .map_err(|error| of_path(run, "make it read-only", &error))?;
    chdir("/").map_err(|errno| failed("enter /", &errno.into()))?;
    Ok(goal)
}

/// Puts an empty directory in its place; what is hidden already may be not there.
fn hide(path: &Path, nothing: Attributes) -> Result<(), MechanismError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // One file of it.
        Ok(found) if !found.is_dir() => {
            return open_path(None, Path::new("/dev/null"))
                .and_then(|null| {
                    Tree::copy(null.as_fd(), nothing)?.mount(open_path(None, path)?.as_fd())
                })
                .map_err(|error| of_path(path, "mount /dev/null on it", &error));
        }
        found => found.map_err(|error| of_path(path, "look at it", &error))?,
    };
    let empty = tmpfs(path, path)?;
    seal_mount(empty.as_fd(), nothing).map_err(|error| of_path(path, "make it read-only", &error))
}

/// Makes an empty file system and mounts it.
fn tmpfs(on: &Path, named: &Path) -> Result<OwnedFd, MechanismError> {
    let options = [(c"size", c"64k"), (c"mode", c"0755")];
    let attributes = Attributes::NO_SUID
        .and(Attributes::NO_DEV)
        .and(Attributes::NO_EXEC);
    let made = new_filesystem(c"tmpfs", &options, attributes).and_then(|made| {
        attach(made.as_fd(), open_path(None, on)?.as_fd())?;
        Ok(made)
    });
    made.map_err(|error| of_path(named, "mount an empty directory on it", &error))
}

/// A directory of [`RUN`], in what is mounted there.
fn below(run: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let rest = path.strip_prefix(RUN).map_err(io::Error::other)?;
    place(run.as_fd(), rest, true)
}

/// Takes all of dom0's files out of the mount namespace of a process whose root directory is
/// `chroot`, and leaves that. Looks what came of it.
pub(crate) fn close(pid: i32, chroot: &Path, goal: Inode) -> Result<(), MechanismError> {
    let proc = nix::fcntl::open("/proc", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open /proc", &errno.into()))?;
    let entered = enter_mounts_of(pid)?;
    let closed = take_away(chroot, goal, &proc);
    entered.leave()?;
    closed
}

fn take_away(chroot: &Path, goal: Inode, proc: &OwnedFd) -> Result<(), MechanismError> {
    chdir(chroot).map_err(|errno| of_path(chroot, "enter it", &errno.into()))?;
    let here = std::fs::metadata(".").map_err(|error| of_path(chroot, "look at it", &error))?;
    if (here.dev(), here.ino()) != goal {
        let error = io::Error::other("it is another directory");
        return Err(of_path(chroot, "find it again", &error));
    }
    pivot_root(".", ".").map_err(pivot_failed)?;
    umount2(".", MntFlags::MNT_DETACH)
        .map_err(|errno| failed("detach dom0's files", &errno.into()))?;
    let mounts = mounts(proc).map_err(|error| failed("read what is mounted", &error))?;
    match mounts.lines().count() {
        1 => Ok(()),
        count => {
            let error = io::Error::other(format!("{count} mounts"));
            Err(failed("leave one mount", &error))
        }
    }
}

/// What is mounted in the namespace that this process is in.
fn mounts(proc: &OwnedFd) -> io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(proc, "thread-self/mountinfo", flags, Mode::empty())?;
    let text = rest(std::fs::File::from(file))?;
    String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into())
}
