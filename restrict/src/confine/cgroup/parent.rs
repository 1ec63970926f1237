// SPDX-License-Identifier: MIT OR Apache-2.0
//! The control group that is ours to use: one that systemd delegated, or, where no
//! systemd manages them, one beneath the root.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{absent, dir::Dir, failed, own::Own};
use crate::confine::mechanism::MechanismError;

/// Where the supervisors of a delegated group are: a group with groups in it may have no
/// process of its own.
const SUPERVISOR: &str = "supervisor";
/// Where the leaves are, beneath the root.
const FOLDER: &str = "dm-restrict";
const CONTROLLERS: [&str; 2] = ["pids", "memory"];
/// How long another launcher may take to leave the group.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
const DELEGATE: &str = "start it in a unit of its own with `Delegate=yes`, as `systemd-run -p Delegate=yes dm-restrict ...` does";

const OTHER_KERNEL: &str = "use a kernel that has them, and boot without cgroup_disable=";

/// A control group in which leaves can be made. Nothing was changed to find it.
#[derive(Debug)]
pub struct Parent {
    dir: Dir,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Marked as delegated: all in it is ours.
    Delegated,
    /// The root of all, which may have processes.
    Root,
}

/// Finds the control group that is this process's to use.
///
/// It is the process's own one if systemd delegated it (attribute `trusted.delegate` or
/// `user.delegate`, which other managers may set too), or the one above if it is in the
/// group `supervisor` of that one; or, on a machine without systemd, the root.
///
/// # Errors
/// There is none, it is not writable, or has not the controllers pids and memory: why,
/// and what to do.
pub fn probe() -> Result<Parent, MechanismError> {
    let own = Own::find()?;
    checked(parent_of(folder(&own)?, &own)?, &own)
}

/// The group of a program that waits in it, which systemd delegated. The calling process is
/// moved into it, out of the program's way.
pub(super) fn joined(own: &Own) -> Result<Parent, MechanismError> {
    let dir = folder(own)?;
    if !is_delegated(&dir) {
        return Err(absent(
            format!("systemd has not delegated {dir}"),
            "see `journalctl -b _PID=1`",
        ));
    }
    let kind = Kind::Delegated;
    let parent = checked(Parent { dir, kind }, own)?;
    parent.join()?;
    Ok(parent)
}

/// Whether that group, which is systemd's, has them to give.
pub(super) fn has_controllers_in(path: &Path) -> Result<(), MechanismError> {
    let read = Dir::open(path).and_then(|dir| dir.read("cgroup.controllers"));
    let offered = read.map_err(|e| failed(format!("read {path:?}/cgroup.controllers"), &e))?;
    match missing(&offered)[..] {
        [] => Ok(()),
        ref names => Err(absent(
            format!("version 2 lacks {} in {path:?}", names.join(" and ")),
            OTHER_KERNEL,
        )),
    }
}

fn folder(own: &Own) -> Result<Dir, MechanismError> {
    let folders = own.folders()?;
    let dir = folders.iter().find_map(|path| Dir::open(path).ok());
    dir.ok_or_else(|| {
        absent(
            format!("the control group {:?} is mounted nowhere", own.group),
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    })
}

fn checked(parent: Parent, own: &Own) -> Result<Parent, MechanismError> {
    parent.has_controllers(own)?;
    parent.is_writable()?;
    Ok(parent)
}

fn parent_of(dir: Dir, own: &Own) -> Result<Parent, MechanismError> {
    if is_delegated(&dir) {
        return Ok(Parent {
            dir,
            kind: Kind::Delegated,
        });
    }
    if is_root(&dir, own) {
        return match systemd_runs() {
            true => Err(absent(
                "the control groups are systemd's, and this is its root",
                DELEGATE,
            )),
            false => Ok(Parent {
                dir,
                kind: Kind::Root,
            }),
        };
    }
    let above = dir
        .path()
        .parent()
        .filter(|_| own.group.ends_with(SUPERVISOR));
    let above = above.and_then(|path| Dir::open(path).ok());
    if let Some(dir) = above.filter(is_delegated) {
        return Ok(Parent {
            dir,
            kind: Kind::Delegated,
        });
    }
    Err(absent(
        format!("the control group {dir} is not delegated"),
        format!(
            "{DELEGATE}; where another program manages it, have that set the attribute user.delegate to 1"
        ),
    ))
}

/// As `sd_booted` asks it.
pub(super) fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn is_delegated(dir: &Dir) -> bool {
    // The second can be set by the folder's owner, who can move processes about in it, too.
    dir.is_marked(c"trusted.delegate") || (dir.is_marked(c"user.delegate") && dir.is_own())
}

/// The root of a namespace looks like it, but has the files of any other group.
fn is_root(dir: &Dir, own: &Own) -> bool {
    own.group == Path::new("/") && !dir.has("cgroup.events")
}

impl Parent {
    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn has_controllers(&self, own: &Own) -> Result<(), MechanismError> {
        let dir = &self.dir;
        let offered = dir.read("cgroup.controllers");
        let offered = offered.map_err(|e| failed(format!("read {dir}/cgroup.controllers"), &e))?;
        let missing = missing(&offered);
        if missing.is_empty() {
            return Ok(());
        }
        not_in_version_1(own)?;
        let names = missing.join(" and ");
        let remedy = match self.kind {
            Kind::Delegated => "use `Delegate=yes` instead of a list of controllers",
            Kind::Root => OTHER_KERNEL,
        };
        Err(absent(format!("version 2 lacks {names} in {dir}"), remedy))
    }

    fn is_writable(&self) -> Result<(), MechanismError> {
        for name in [".", "cgroup.procs", "cgroup.subtree_control"] {
            let may = self.dir.writable(name);
            may.map_err(|error| failed(format!("write {}/{name}", self.dir), &error))?;
        }
        Ok(())
    }

    /// The folder of the leaves, made ready: this process out of the way, the
    /// controllers on.
    pub(super) fn ready(&self) -> Result<Dir, MechanismError> {
        match self.kind {
            Kind::Delegated => {
                self.join()?;
                enable(&self.dir)?;
                self.dir
                    .again()
                    .map_err(|error| failed("duplicate a descriptor", &error))
            }
            Kind::Root => {
                enable(&self.dir)?;
                let folder = made(&self.dir, FOLDER)?;
                enable(&folder)?;
                Ok(folder)
            }
        }
    }

    /// Moves this process into the group of supervisors.
    fn join(&self) -> Result<(), MechanismError> {
        let supervisor = made(&self.dir, SUPERVISOR)?;
        let moved = supervisor.write("cgroup.procs", "0");
        moved.map_err(|e| failed(format!("move the supervisor into {supervisor}"), &e))
    }

    /// Whether the folder of the leaves is a group of ours, with the leaves and nothing else.
    pub(super) fn has_folder(&self) -> bool {
        self.kind == Kind::Root
    }

    /// The folder of the leaves, if there is one.
    pub(super) fn leaves(&self) -> io::Result<Option<Dir>> {
        match self.kind {
            Kind::Delegated => self.dir.again().map(Some),
            Kind::Root => match self.dir.child(FOLDER) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                other => other.map(Some),
            },
        }
    }
}

pub(super) fn not_in_version_1(own: &Own) -> Result<(), MechanismError> {
    let taken = CONTROLLERS
        .iter()
        .filter(|name| own.in_version_1.iter().any(|v1| v1 == *name));
    let taken: Vec<_> = taken.copied().collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(absent(
        format!("version 2 lacks {}", taken.join(" and ")),
        "boot with cgroup_no_v1=all, or with systemd, systemd.unified_cgroup_hierarchy=1: version \
         1 has them",
    ))
}

fn missing(list: &str) -> Vec<&'static str> {
    let has = |name: &&str| list.split_ascii_whitespace().any(|other| other == *name);
    CONTROLLERS.into_iter().filter(|name| !has(name)).collect()
}

/// It may be there already, or another launcher make it at the same time.
fn made(dir: &Dir, name: &str) -> Result<Dir, MechanismError> {
    match dir.make(name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed(format!("make {dir}/{name}"), &error))
        }
        _ => dir
            .child(name)
            .map_err(|error| failed(format!("open {dir}/{name}"), &error)),
    }
}

/// Has the groups in it have the controllers. Two launchers may do so at a time, and the
/// kernel refuses while one of them is still in the group itself.
fn enable(dir: &Dir) -> Result<(), MechanismError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let on = dir.read("cgroup.subtree_control");
        let on =
            on.map_err(|error| failed(format!("read {dir}/cgroup.subtree_control"), &error))?;
        if missing(&on).is_empty() {
            enable_cpu(dir, &on);
            return Ok(());
        }
        let request = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
        match dir.write("cgroup.subtree_control", &request) {
            Ok(()) => {
                enable_cpu(dir, &on);
                return Ok(());
            }
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                thread::sleep(PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(busy(dir)),
            Err(error) => {
                let what = format!("write {request:?} to {dir}/cgroup.subtree_control");
                return Err(failed(what, &error));
            }
        }
    }
}

/// Where there is the controller. A kernel with `CONFIG_RT_GROUP_SCHED` refuses it while a
/// process has real-time priority.
fn enable_cpu(dir: &Dir, on: &str) {
    if !on.split_ascii_whitespace().any(|name| name == "cpu") {
        let _ = dir.write("cgroup.subtree_control", "+cpu");
    }
}

fn busy(dir: &Dir) -> MechanismError {
    let pids = dir.read("cgroup.procs").unwrap_or_default();
    let name = |pid: &str| fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let shown = |pid: &str| format!("{pid} ({})", name(pid).trim_ascii_end().escape_ascii());
    let shown: Vec<_> = pids.lines().take(4).map(shown).collect();
    absent(
        format!(
            "the control group {dir} has processes besides this one: {}",
            shown.join(", ")
        ),
        format!("{DELEGATE}, or start those with `DelegateSubgroup={SUPERVISOR}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_whole_words() {
        assert!(missing("cpuset cpu io memory hugetlb pids rdma\n").is_empty());
        assert_eq!(missing("mypids pids2 memory"), ["pids"]);
        assert_eq!(missing(""), CONTROLLERS);
    }
}
