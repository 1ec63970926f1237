// SPDX-License-Identifier: MIT OR Apache-2.0
//! One program's control group.

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;

use super::{absent, dir::Dir, failed, parent::Parent};
use crate::confine::mechanism::MechanismError;

/// How long it may take until a group is empty: that is ending, and that was killed.
const PATIENCE: Duration = Duration::from_secs(2);
const LONG_PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_NAME: usize = 200;
const CPU_WEIGHT: &str = "cpu.weight";
/// Of a group of which nothing else was said, and the most there can be.
const WEIGHT: usize = 100;
const MOST_WEIGHT: usize = 10_000;

/// What all processes of a leaf may use together; `None` is unlimited, or as the kernel
/// sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// pids.max: processes and threads.
    pub pids: Option<u64>,
    /// memory.max, in bytes: above it they are all killed.
    pub memory: Option<u64>,
    /// memory.swap.max, in bytes. Without effect where the kernel does not count swap
    /// (`swapaccount=0`).
    pub swap: Option<u64>,
    /// cpu.weight, 1 to 10000: its part of processors that others want, too, next to the
    /// 100 of other groups, and however many threads it has.
    pub cpu_weight: Option<u64>,
    /// cpu.max: microseconds of processors in each 100 ms, 1000 or more.
    pub cpu_max: Option<u64>,
}

/// A control group for one program, empty at first; removed when dropped, if it is
/// empty then.
///
/// It belongs to the process that made it: a copy in a forked child removes nothing.
#[derive(Debug)]
pub struct Leaf {
    files: Files,
    group: Group,
    shares_cpu: bool,
}

/// Opened once: they go on working when the process has given up the rest.
#[derive(Debug)]
struct Files {
    procs: File,
    /// Since Linux 5.14.
    kill: Option<File>,
    /// cgroup.events
    state: File,
    /// memory.events
    memory: File,
}

/// Removes what it made.
#[derive(Debug)]
struct Group {
    leaves: Dir,
    name: String,
    path: PathBuf,
    /// The process that made it, until it was removed.
    owner: Option<u32>,
    in_folder: bool,
}

impl Leaf {
    /// Makes the group `name` (`<domid>-<instance>`) beneath `parent`, and sets its
    /// limits. Where `parent` was delegated, the calling process is moved into the group
    /// `supervisor` beside it.
    ///
    /// One launcher at a time may use a name: that is the caller's to see to.
    ///
    /// # Errors
    /// The name is malformed or taken, `parent` has processes besides this one, or the
    /// kernel refuses. Then no group is left.
    pub fn create(parent: &Parent, name: &str, limits: Limits) -> Result<Self, MechanismError> {
        check(name)?;
        let group = Group::make(parent.ready()?, name, parent.has_folder())?;
        let dir = group.leaves.child(name);
        let dir = dir.map_err(|error| failed(format!("open {:?}", group.path), &error))?;
        limits.set(&dir)?;
        let files = Files::open(&dir);
        let files = files.map_err(|error| failed(format!("open the files of {dir}"), &error))?;
        let shares_cpu = dir.has(CPU_WEIGHT);
        Ok(Self {
            files,
            group,
            shares_cpu,
        })
    }

    /// Whether it has its part of the processors as one, by the controller `cpu`. Without,
    /// each of its threads or sessions counts like any other of the machine.
    #[must_use]
    pub fn shares_cpu(&self) -> bool {
        self.shares_cpu
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.group.path
    }

    /// Its file `cgroup.procs`: a process that writes "0" to this descriptor joins,
    /// whatever its uid by then.
    #[must_use]
    pub fn procs(&self) -> BorrowedFd<'_> {
        self.files.procs.as_fd()
    }

    /// Moves the calling process into it, all its threads.
    ///
    /// # Errors
    /// The group was removed, or the kernel refuses.
    pub fn join(&self) -> Result<(), MechanismError> {
        let joined = (&self.files.procs).write_all(b"0");
        joined.map_err(|error| failed(format!("join {:?}", self.path()), &error))
    }

    /// Kills all processes in it, also those that fork without pause, and returns when
    /// none is left. `false`: the kernel is older than 5.14 and has no such request.
    ///
    /// # Errors
    /// The kernel refuses, or after ten seconds some are left.
    pub fn kill(&self) -> Result<bool, MechanismError> {
        let Some(mut kill) = self.files.kill.as_ref() else {
            return Ok(false);
        };
        let what = |error| failed(format!("kill all in {:?}", self.path()), &error);
        let deadline = Instant::now() + LONG_PATIENCE;
        loop {
            // More than once: a kernel may miss one that is being forked.
            kill.write_all(b"1").map_err(what)?;
            if self.is_empty().map_err(what)? {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Err(absent(
                    format!(
                        "processes in {:?} were killed, and live after 10 s",
                        self.path()
                    ),
                    "they wait for a device in state D (`ps`): end that wait",
                ));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Whether no live process is in it.
    ///
    /// # Errors
    /// cgroup.events cannot be read.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(field(&self.files.state, "populated")? == 0)
    }

    /// How many of its processes the kernel has killed because memory.max was reached.
    ///
    /// # Errors
    /// memory.events cannot be read.
    pub fn oom_kills(&self) -> io::Result<u64> {
        field(&self.files.memory, "oom_kill")
    }

    /// Removes it. Waits up to two seconds for processes that are ending.
    ///
    /// # Errors
    /// It is not empty.
    pub fn remove(mut self) -> Result<(), MechanismError> {
        self.group.remove()
    }
}

/// The number after `name`, in a file of such lines.
fn field(file: &File, name: &str) -> io::Result<u64> {
    let mut text = [0; 1024];
    let length = file.read_at(&mut text, 0)?;
    parse_field(&text[..length], name).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_field(text: &[u8], name: &str) -> Option<u64> {
    let lines = str::from_utf8(text).ok()?.lines();
    let mut fields = lines.filter_map(|line| line.split_once(' '));
    fields.find(|(other, _)| *other == name)?.1.parse().ok()
}

/// Removes the group that a launcher left behind when it was killed. `false`: there was
/// none. A group with processes stays as it is, and they do.
///
/// # Errors
/// The name is malformed, the group has processes, or the kernel refuses.
pub fn remove_stale(parent: &Parent, name: &str) -> Result<bool, MechanismError> {
    check(name)?;
    let removed = match parent.leaves() {
        Ok(None) => return Ok(false),
        Ok(Some(leaves)) => leaves.remove(name),
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => {
            let what = format!("remove the control group {name} in {:?}", parent.path());
            Err(failed(what, &error))
        }
    }
}

/// With a dash it is none of the kernel's files, and not `supervisor`.
fn check(name: &str) -> Result<(), MechanismError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts && name.contains('-') && name.len() <= LONGEST_NAME && name.bytes().all(plain) {
        return Ok(());
    }
    Err(absent(
        format!("{name:?} is no name for a control group"),
        "name the instance with at most 100 letters, digits, dots, dashes and underscores",
    ))
}

impl Limits {
    fn set(self, dir: &Dir) -> Result<(), MechanismError> {
        let set = |file: &str, value: &str| {
            let written = dir.write(file, value);
            written.map_err(|error| failed(format!("write {value} to {dir}/{file}"), &error))
        };
        if (self.cpu_weight.or(self.cpu_max)).is_some() && !dir.has(CPU_WEIGHT) {
            return Err(absent(
                format!("the control group {dir} has not the controller cpu"),
                "leave cpu.weight and cpu.max out; or use a kernel with CONFIG_CFS_BANDWIDTH, boot \
                 without cgroup_disable=cpu, and let version 1 not have it",
            ));
        }
        let limits = [
            ("pids.max", self.pids),
            ("memory.max", self.memory),
            ("memory.swap.max", self.swap),
            (CPU_WEIGHT, self.cpu_weight),
            ("cpu.max", self.cpu_max),
        ];
        for (file, limit) in limits {
            // Swap is not there where the kernel does not count it.
            if let Some(limit) = limit.filter(|_| file != "memory.swap.max" || dir.has(file)) {
                set(file, &limit.to_string())?;
            }
        }
        // A program that has lost one of its processes is not left running in part.
        set("memory.oom.group", "1")
    }
}

impl Files {
    fn open(dir: &Dir) -> io::Result<Self> {
        let kill = match dir.file("cgroup.kill", OFlag::O_WRONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        Ok(Self {
            procs: dir.file("cgroup.procs", OFlag::O_WRONLY)?,
            kill,
            state: dir.file("cgroup.events", OFlag::O_RDONLY)?,
            memory: dir.file("memory.events", OFlag::O_RDONLY)?,
        })
    }
}

impl Group {
    fn make(leaves: Dir, name: &str, in_folder: bool) -> Result<Self, MechanismError> {
        let made = leaves.make(name);
        made.map_err(|error| failed(format!("make the control group {name} in {leaves}"), &error))?;
        let path = leaves.path().join(name);
        let group = Self {
            leaves,
            name: name.into(),
            path,
            owner: Some(process::id()),
            in_folder,
        };
        group.weigh();
        Ok(group)
    }

    /// The folder of ours counts for all that are in it.
    fn weigh(&self) {
        if self.in_folder {
            let weight = (WEIGHT * self.leaves.children().max(1)).min(MOST_WEIGHT);
            // Without the controller there is none.
            let _ = self.leaves.write(CPU_WEIGHT, &weight.to_string());
        }
    }

    fn remove(&mut self) -> Result<(), MechanismError> {
        // Once, whatever comes of it.
        if self.owner.take() != Some(process::id()) {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .leaves
                .remove(&self.name)
                .map_err(|error| (error.kind(), error))
            {
                Ok(()) | Err((io::ErrorKind::NotFound, _)) => {
                    self.weigh();
                    return Ok(());
                }
                Err((io::ErrorKind::ResourceBusy, _)) if Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                }
                Err((_, error)) => return Err(failed(format!("remove {:?}", self.path), &error)),
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What cannot be removed is removed before the next start of that name.
        let _ = self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_folder_of_ours() {
        for name in ["7-dm", "32751-a.b_c-D", "x-0"] {
            check(name).unwrap();
        }
        let long = format!("7-{}", "x".repeat(LONGEST_NAME));
        for name in [
            "",
            "-",
            "7",
            "supervisor",
            "..",
            "../7-x",
            "7-/x",
            "/7-x",
            ".7-x",
            "7-\n",
            "7-\0",
            "7-é",
            "7-x y",
            "cgroup.procs",
            "memory.max",
            &long,
        ] {
            let error = check(name).unwrap_err().to_string();
            assert!(
                !error.contains('\n') && error.contains("is no name"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_count_of_killed_processes_is_one_line_of_several() {
        let text = b"low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(parse_field(text, "oom_kill"), Some(3));
        for text in [
            &b"oom_group_kill 1\n"[..],
            b"oom_kill x\n",
            b"oom_kill\n",
            b"\xff\noom_kill 1\n",
        ] {
            assert_eq!(parse_field(text, "oom_kill"), None);
        }
    }
}
