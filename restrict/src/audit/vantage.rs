// SPDX-License-Identifier: MIT OR Apache-2.0
//! From where an audit looks: what this process must be able to see, and what it takes
//! the machine's own things by.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    process,
    sync::OnceLock,
};

use nix::{
    errno::Errno,
    sys::{
        eventfd::{EfdFlags, EventFd},
        memfd::{MFdFlags, memfd_create},
    },
};

use super::{
    error::AuditError,
    procfs::{ProcDir, Unread},
    status::{self, Mount, Status},
    sys::{self, Whom},
};
use crate::{
    confine::{Mechanism, RANGE_BASE, UIDS_IN_RANGE, UserDb, proc_file::whole},
    device::null_argument,
};
use xen_sys::{evtchn, privcmd};

/// `PROC_*_INIT_INO` of Linux's `linux/proc_ns.h`: numbers of the machine's first
/// namespaces. Those of `mnt` and `net` are fixed from Linux 6.18 on; before, no
/// namespace has these numbers.
pub(super) const NAMESPACES: [(Mechanism, &str, u64); 6] = [
    (Mechanism::MountNs, "mnt", 0xEFFF_FFF8),
    (Mechanism::IpcNs, "ipc", 0xEFFF_FFFF),
    (Mechanism::NetNs, "net", 0xEFFF_FFF9),
    (Mechanism::PidNs, "pid", 0xEFFF_FFFC),
    (Mechanism::UtsNs, "uts", 0xEFFF_FFFE),
    (Mechanism::CgroupNs, "cgroup", 0xEFFF_FFFB),
];
/// The place of `pid` and `net` in it.
pub(super) const PID: usize = 3;
pub(super) const NET: usize = 2;
pub(super) const MOUNT: usize = 0;
/// `PROC_USER_INIT_INO`.
const USER: u64 = 0xEFFF_FFFD;

/// `CAP_NET_ADMIN`, `CAP_SYS_PTRACE`, `CAP_SYS_ADMIN` of Linux's `linux/capability.h`.
const NEEDED: [(u32, &str); 3] = [
    (12, "CAP_NET_ADMIN"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];

/// A file system's device number.
type FileSystem = (u32, u32);

/// What this process knows of the machine.
#[derive(Debug)]
pub(super) struct Vantage {
    /// The machine's own namespaces, in the order of [`NAMESPACES`].
    pub(super) namespaces: [Vec<u64>; 6],
    /// The machine's root directories: file system and inode.
    pub(super) roots: Vec<(FileSystem, u64)>,
    /// The mounts that this process sees.
    pub(super) mounts: Vec<Mount>,
    /// Xen's devices among the misc devices, by minor number.
    pub(super) xen: BTreeMap<u32, String>,
    pub(super) xenfs: Option<FileSystem>,
    pub(super) memory_files: FileSystem,
    pub(super) pipes: FileSystem,
    pub(super) anonymous: FileSystem,
    pub(super) namespace_files: FileSystem,
    pub(super) process_files: FileSystem,
    /// Once somebody asks.
    uids: OnceLock<Option<(u32, u32)>>,
}

impl Vantage {
    /// Looks around.
    pub(super) fn new() -> Result<Self, AuditError> {
        let this = fs::read_link("/proc/self");
        if this.ok().as_deref() != Some(Path::new(&process::id().to_string())) {
            return Err(AuditError::ForeignProc);
        }
        let me = ProcDir::at("/proc/thread-self").map_err(own)?;
        privileged(&me)?;
        for (kind, first) in [("pid", NAMESPACES[PID].2), ("user", USER)] {
            if me.namespace(kind).map_err(own)? != first {
                return Err(AuditError::NotInitial { kind });
            }
        }
        let pidfd = sys::pidfd_open(process::id().cast_signed(), Whom::Process);
        let pidfd = pidfd.map_err(|errno| too_old("pidfd_open", errno))?;
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).map_err(|e| kernel("eventfd", e))?;
        unfiltered(event.as_fd())?;
        let memory = memfd_create(c"audit", MFdFlags::MFD_CLOEXEC);
        let pipe = io::pipe().map_err(|source| AuditError::own("pipe", source))?;
        let network = me.open("ns/net").map_err(own)?;
        let mounts = status::mounts(&me.read("mountinfo").map_err(own)?);
        let mounts = mounts.ok_or_else(|| own(Unread::nonsense("mountinfo")))?;
        // A security module may hide process 1.
        let places: Vec<_> = [Some(me), ProcDir::of(1).ok()]
            .into_iter()
            .flatten()
            .collect();
        let namespaces = NAMESPACES.map(|(_, kind, first)| {
            let others = places.iter().filter_map(|place| place.namespace(kind).ok());
            [first].into_iter().chain(others).collect()
        });
        let roots = places.iter().filter_map(|place| place.stat("root").ok());
        Ok(Self {
            namespaces,
            roots: roots.map(|root| (root.device, root.inode)).collect(),
            xen: xen_devices()?,
            xenfs: xenfs(&mounts)?,
            mounts,
            memory_files: device(&memory.map_err(|errno| kernel("memfd_create", errno))?)?,
            pipes: device(&pipe.0)?,
            anonymous: device(&event)?,
            namespace_files: device(&network)?,
            process_files: device(&pidfd)?,
            uids: OnceLock::new(),
        })
    }

    /// Whether a uid is that of one domain's device models, and nobody else's.
    pub(super) fn is_one_domains(&self, uid: u32) -> bool {
        self.uids()
            .is_some_and(|(first, last)| (first..=last).contains(&uid))
    }

    /// First and last uid of device models that have one each.
    pub(super) fn uids(&self) -> Option<(u32, u32)> {
        *self.uids.get_or_init(uids)
    }

    /// Whether a number is one of the machine's own namespaces.
    pub(super) fn is_machines(&self, kind: usize, namespace: u64) -> bool {
        self.namespaces
            .get(kind)
            .is_some_and(|own| own.contains(&namespace))
    }
}

/// Refuses to look with less than all rights: what cannot be seen could be anything.
fn privileged(me: &ProcDir) -> Result<(), AuditError> {
    let text = me.read("status").map_err(own)?;
    let status = Status::parse(&text).ok_or_else(|| own(Unread::nonsense("status")))?;
    let [_, _, effective, ..] = status.capabilities;
    match NEEDED
        .into_iter()
        .find(|(bit, _)| effective & (1 << bit) == 0)
    {
        Some((_, missing)) => Err(AuditError::NotRoot { missing }),
        None => Ok(()),
    }
}

/// Refuses to look through a filter like those that are looked for: what it refuses would pass
/// for what the kernel does not have. No driver of this file has these requests.
fn unfiltered(file: BorrowedFd<'_>) -> Result<(), AuditError> {
    let asked = [
        privcmd::MMAP_RESOURCE.number(),
        privcmd::MMAP.number(),
        evtchn::BIND_STATIC.number(),
    ];
    match asked
        .into_iter()
        .all(|request| null_argument(file, request) == Errno::ENOTTY)
    {
        true => Ok(()),
        false => Err(AuditError::Filtered),
    }
}

/// The misc devices whose names the drivers gave under `xen/`.
fn xen_devices() -> Result<BTreeMap<u32, String>, AuditError> {
    let text = whole("/proc/misc").map_err(|e| AuditError::own("/proc/misc", e))?;
    let text = String::from_utf8_lossy(&text);
    let row = |line: &str| {
        let (minor, name) = line.trim().split_once(' ')?;
        Some((minor.parse().ok()?, name.strip_prefix("xen/")?.to_owned()))
    };
    Ok(text.lines().filter_map(row).collect())
}

/// There is one at most.
fn xenfs(mounts: &[Mount]) -> Result<Option<FileSystem>, AuditError> {
    if let Some(mounted) = mounts.iter().find(|mount| mount.kind == "xenfs") {
        return Ok(Some(mounted.device));
    }
    // Asked first, as to mount it would load its module.
    let known = whole("/proc/filesystems")
        .map_err(|source| AuditError::own("/proc/filesystems", source))?;
    let known = String::from_utf8_lossy(&known);
    if !known
        .lines()
        .any(|line| line.split_whitespace().last() == Some("xenfs"))
    {
        return Ok(None);
    }
    sys::xenfs_device()
        .map(Some)
        .map_err(|errno| kernel("xenfs", errno))
}

/// The uids that are one domain's each. Without such users nothing is told by a uid.
fn uids() -> Option<(u32, u32)> {
    let base = UserDb::from_system().ok()?.by_name(RANGE_BASE).ok()??;
    Some((
        base.uid.checked_add(1)?,
        base.uid.checked_add(UIDS_IN_RANGE - 1)?,
    ))
}

fn device(file: &impl AsFd) -> Result<FileSystem, AuditError> {
    let stat = sys::stat(file.as_fd(), c"").map_err(|errno| too_old("statx", errno))?;
    Ok(stat.device)
}

fn own(unread: Unread) -> AuditError {
    AuditError::of(0, unread)
}

fn kernel(what: &str, errno: Errno) -> AuditError {
    AuditError::own(what, errno.into())
}

pub(super) fn too_old(call: &'static str, errno: Errno) -> AuditError {
    match errno {
        Errno::ENOSYS => AuditError::KernelTooOld { call },
        other => kernel(call, other),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::confine::xen_requests::{self, Mapping};

    #[test]
    fn nobody_looks_through_a_filter_of_his_own() {
        let event = EventFd::new().unwrap();
        unfiltered(event.as_fd()).unwrap();
        // Of this thread alone.
        let filtered = thread::spawn(move || {
            let filter = xen_requests::sealed(Mapping::Always).unwrap();
            seccompiler::apply_filter(&filter).unwrap();
            unfiltered(event.as_fd())
        });
        assert!(matches!(
            filtered.join().unwrap(),
            Err(AuditError::Filtered)
        ));
    }
}
