// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanisms `mount-ns`, `ipc-ns`, `net-ns`, `pid-ns`, `uts-ns` and `cgroup-ns`.
//!
//! The supervisor enters the new namespaces, starts the program in them, and goes
//! back. So the program is its child, and it sees the machine as before.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::stat::{Mode, fstat, stat},
    unistd::{chroot, fchdir},
};

use super::mechanism::{Mechanism, MechanismError};

/// Mechanism, flag, and the file of /proc/self/ns that leads back.
const TABLE: [(Mechanism, CloneFlags, &str); 6] = [
    (Mechanism::MountNs, CloneFlags::CLONE_NEWNS, "mnt"),
    (Mechanism::IpcNs, CloneFlags::CLONE_NEWIPC, "ipc"),
    (Mechanism::NetNs, CloneFlags::CLONE_NEWNET, "net"),
    (Mechanism::PidNs, CloneFlags::CLONE_NEWPID, "pid"),
    (Mechanism::UtsNs, CloneFlags::CLONE_NEWUTS, "uts"),
    (Mechanism::CgroupNs, CloneFlags::CLONE_NEWCGROUP, "cgroup"),
];

/// The way back to the namespaces and the root directory of before.
pub(crate) struct Entered {
    namespaces: Vec<(CloneFlags, OwnedFd)>,
    root: OwnedFd,
    cwd: OwnedFd,
}

/// Enters a new namespace of each of `wanted`. All but the control group's: its root
/// is the group that one is in, so the program enters that itself, by [`own`].
///
/// A new pid namespace is one for the children to come: the first is its pid 1.
pub(crate) fn enter(wanted: impl Fn(Mechanism) -> bool) -> Result<Entered, MechanismError> {
    let mut entered = Entered::from_here()?;
    match entered.all(wanted) {
        Ok(()) => Ok(entered),
        Err(error) => {
            // The error that counts is the first.
            let _ = entered.leave();
            Err(error)
        }
    }
}

/// Enters the mount namespace of another process, and its root directory.
pub(crate) fn enter_mounts_of(pid: i32) -> Result<Entered, MechanismError> {
    let mechanism = Mechanism::MountNs;
    let open = |of: &str| {
        File::open(format!("/proc/{of}/ns/mnt"))
            .map_err(|error| failed(mechanism, "open /proc/PID/ns/mnt", &error))
    };
    let (theirs, back) = (open(&pid.to_string())?, open("self")?);
    let mut entered = Entered::from_here()?;
    entered
        .namespaces
        .push((CloneFlags::CLONE_NEWNS, back.into()));
    setns(&theirs, CloneFlags::CLONE_NEWNS)
        .map_err(|errno| failed(mechanism, "enter the program's", &errno.into()))?;
    Ok(entered)
}

impl Entered {
    fn from_here() -> Result<Self, MechanismError> {
        let dir = |path| {
            open(
                path,
                OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_DIRECTORY,
                Mode::empty(),
            )
        };
        let opened = |errno: Errno| {
            let reason = format!("cannot open the current root and directory: {errno}");
            MechanismError::new(
                Mechanism::MountNs,
                reason,
                "start it in a directory that exists",
            )
        };
        Ok(Self {
            namespaces: Vec::new(),
            root: dir("/").map_err(opened)?,
            cwd: dir(".").or_else(|_| dir("/")).map_err(opened)?,
        })
    }
}

/// Enters a new namespace.
pub(crate) fn own(mechanism: Mechanism) -> Result<(), MechanismError> {
    let row = TABLE.iter().find(|(m, ..)| *m == mechanism);
    let flag = row.map_or(CloneFlags::empty(), |(_, flag, _)| *flag);
    unshare(flag).map_err(|errno| failed(mechanism, "unshare", &errno.into()))?;
    if mechanism == Mechanism::MountNs {
        // Nothing that is mounted here is seen outside, nor the reverse.
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
            .map_err(|errno| failed(mechanism, "make mounts private", &errno.into()))?;
    }
    Ok(())
}

impl Entered {
    fn all(&mut self, wanted: impl Fn(Mechanism) -> bool) -> Result<(), MechanismError> {
        for (mechanism, flag, file) in TABLE {
            if mechanism == Mechanism::CgroupNs || !wanted(mechanism) {
                continue;
            }
            let back = File::open(format!("/proc/self/ns/{file}"))
                .map_err(|error| failed(mechanism, "open /proc/self/ns", &error))?;
            self.namespaces.push((flag, back.into()));
            own(mechanism)?;
        }
        Ok(())
    }

    /// Goes back. A mount namespace sets the root directory to its own, so that comes after.
    pub(crate) fn leave(self) -> Result<(), MechanismError> {
        let back = |errno: Errno| {
            failed(
                Mechanism::MountNs,
                "go back to the own namespaces",
                &errno.into(),
            )
        };
        for (flag, fd) in &self.namespaces {
            setns(fd.as_fd(), *flag).map_err(back)?;
        }
        // It takes a privilege, and is needed in a chroot only.
        if !is_root(&self.root).map_err(back)? {
            fchdir(&self.root).map_err(back)?;
            chroot(".").map_err(back)?;
        }
        fchdir(&self.cwd).map_err(back)
    }
}

fn is_root(directory: &OwnedFd) -> Result<bool, Errno> {
    let (there, root) = (fstat(directory)?, stat("/")?);
    Ok((there.st_dev, there.st_ino) == (root.st_dev, root.st_ino))
}

fn failed(mechanism: Mechanism, what: &str, error: &io::Error) -> MechanismError {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "start it as root with CAP_SYS_ADMIN; inside a container that has to be granted".into()
        }
        Some(libc::ENOSPC) => format!(
            "the limit of namespaces is reached: see /proc/sys/user/max_{}_namespaces",
            TABLE
                .iter()
                .find(|(m, ..)| *m == mechanism)
                .map_or("*", |(.., file)| file)
        ),
        Some(libc::EINVAL | libc::ENOSYS) => {
            format!("this kernel has no such namespace; leave it out by `--without {mechanism}`")
        }
        _ => format!("or leave it out by `--without {mechanism}`"),
    };
    MechanismError::new(mechanism, format!("{what}: {error}"), remedy)
}
