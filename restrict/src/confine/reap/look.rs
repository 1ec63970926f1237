// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who there is of a uid, by /proc.

use std::{fmt, fs, io, path::Path};

use super::ReapError;
use crate::confine::{
    hidepid,
    proc_file::{beginning, whole},
};

/// `PROC_PID_INIT_INO` and `PROC_USER_INIT_INO` of Linux's `linux/proc_ns.h`.
const INITIAL: [(&str, u32); 2] = [("pid", 0xEFFF_FFFC), ("user", 0xEFFF_FFFD)];
/// `CAP_SETUID` and `CAP_SYS_PTRACE` of `linux/capability.h`.
const CAP_SETUID: u32 = 7;
const CAP_SYS_PTRACE: u32 = 19;
/// How often the threads of a process are listed while some end: one that executes a program
/// gets the number of the first.
const LISTS: usize = 3;

/// A process that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its process id.
    pub pid: i32,
    /// Its name, which it chose itself: shown escaped.
    pub name: String,
    /// The kernel's letter for its state, `D` for uninterruptible sleep.
    pub state: char,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?}, state {})", self.pid, self.name, self.state)
    }
}

/// Whether this process can reap only as long as it has CAP_SYS_PTRACE.
pub(crate) fn takes_ptrace() -> bool {
    hidepid::takes_ptrace().unwrap_or(true)
}

/// That this process can change its uids, and that /proc shows every process
/// of the machine with its real uids.
pub(crate) fn sees_all() -> Result<(), ReapError> {
    let proc = |source| ReapError::Proc { source };
    let this = fs::read_link("/proc/self").map_err(proc)?;
    if this != Path::new(&std::process::id().to_string()) {
        return Err(ReapError::ForeignProc);
    }
    let status = whole("/proc/thread-self/status").map_err(proc)?;
    let capabilities = field(&status, "CapEff:")
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .ok_or_else(|| proc(io::ErrorKind::InvalidData.into()))?;
    if capabilities & (1 << CAP_SETUID) == 0 {
        return Err(ReapError::NotRoot);
    }
    for (kind, inode) in INITIAL {
        let found = fs::read_link(format!("/proc/self/ns/{kind}")).map_err(proc)?;
        if found != Path::new(&format!("{kind}:[{inode}]")) {
            return Err(ReapError::NotInitial { kind });
        }
    }
    let traces = capabilities & (1 << CAP_SYS_PTRACE) != 0;
    if !traces && hidepid::takes_ptrace().map_err(proc)? {
        return Err(ReapError::HidePid);
    }
    Ok(())
}

/// The processes with a live thread that has `uid`.
pub(super) fn processes_of(uid: u32) -> Result<Vec<Process>, ReapError> {
    let mut found = Vec::new();
    for pid in numbers("/proc")? {
        found.extend(process_of(uid, pid)?);
    }
    Ok(found)
}

/// The process, if it is one of them. Of most, the kernel's too, one file tells all.
fn process_of(uid: u32, pid: i32) -> Result<Option<Process>, ReapError> {
    let Some(first) = thread(pid, &format!("/proc/{pid}/status"))? else {
        return Ok(None);
    };
    if first.is_alone {
        return Ok(first.has(uid).then_some(first.process));
    }
    for _ in 0..LISTS {
        let mut missed = false;
        for tid in numbers(&format!("/proc/{pid}/task"))? {
            match thread(pid, &format!("/proc/{pid}/task/{tid}/status"))? {
                Some(thread) if thread.has(uid) => return Ok(Some(thread.process)),
                Some(_) => {}
                None => missed = true,
            }
        }
        if !missed {
            break;
        }
    }
    Ok(None)
}

/// A thread, and the process as it calls it.
struct Thread {
    process: Process,
    uids: [u32; 3],
    /// Certainly the only one of its process.
    is_alone: bool,
}

impl Thread {
    fn of(pid: i32, status: &[u8]) -> Option<Self> {
        let (state, uids) = state_and_uids(status)?;
        let name = field(status, "Name:").unwrap_or_default().into();
        Some(Self {
            process: Process { pid, name, state },
            uids,
            is_alone: field(status, "Threads:") == Some("1"),
        })
    }

    fn has(&self, uid: u32) -> bool {
        self.uids.contains(&uid) && !matches!(self.process.state, 'Z' | 'X')
    }
}

/// None if it is gone.
fn thread(pid: i32, path: &str) -> Result<Option<Thread>, ReapError> {
    let proc = |source| ReapError::Proc { source };
    let mut room = [0; 4096];
    match beginning(path, &mut room) {
        Err(error) if is_gone(&error) => Ok(None),
        status => {
            let thread = Thread::of(pid, status.map_err(proc)?);
            let nonsense = || proc(io::ErrorKind::InvalidData.into());
            thread.ok_or_else(nonsense).map(Some)
        }
    }
}

/// The entries of a directory that are numbers; none if it is gone.
fn numbers(directory: &str) -> Result<Vec<i32>, ReapError> {
    let mut numbers = Vec::new();
    match fs::read_dir(directory) {
        Err(error) if is_gone(&error) && directory != "/proc" => {}
        entries => {
            for entry in entries.map_err(|source| ReapError::Proc { source })? {
                match entry {
                    Err(error) if is_gone(&error) => {}
                    entry => {
                        let entry = entry.map_err(|source| ReapError::Proc { source })?;
                        numbers.extend(
                            entry
                                .file_name()
                                .to_str()
                                .and_then(|n| n.parse::<i32>().ok()),
                        );
                    }
                }
            }
        }
    }
    Ok(numbers)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The value of a line of a status file. The kernel escapes a newline in `Name`.
fn field<'a>(status: &'a [u8], name: &str) -> Option<&'a str> {
    status
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes()))
        .and_then(|value| str::from_utf8(value).ok())
        .map(str::trim)
}

/// The state, and the real, effective and saved uid.
fn state_and_uids(status: &[u8]) -> Option<(char, [u32; 3])> {
    let state = field(status, "State:")?.chars().next()?;
    let mut uids = field(status, "Uid:")?
        .split_ascii_whitespace()
        .map(str::parse);
    let mut next = || uids.next()?.ok();
    Some((state, [next()?, next()?, next()?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_a_state_and_three_uids_or_is_no_status() {
        let status = b"Name:\ta b\nUmask:\t0022\nState:\tD (disk sleep)\nUid:\t1\t2\t3\t4\n";
        assert_eq!(state_and_uids(status), Some(('D', [1, 2, 3])));
        for text in [
            "",
            "State:\tR\n",
            "Uid:\t1\t2\t3\t4\n",
            "State:\tR\nUid:\t1\t2\n",
            "State:\nUid:\t1\t1\t1\n",
        ] {
            assert_eq!(state_and_uids(text.as_bytes()), None, "{text:?}");
        }
    }
}
