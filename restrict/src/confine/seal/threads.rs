// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the threads of this process are, by the kernel's own record of each.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

const TASKS: &str = "/proc/self/task";

/// The records of all threads, open: they stay readable when no path is.
pub(super) struct Threads(Vec<(u32, File)>);

impl Threads {
    /// # Errors
    /// There is no /proc, most likely.
    pub(super) fn of_this_process() -> io::Result<Self> {
        let mut threads = Vec::new();
        for entry in fs::read_dir(TASKS)? {
            let entry = entry?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            match (id, File::open(entry.path().join("status"))) {
                (Some(id), Ok(status)) => threads.push((id, status)),
                // It ended meanwhile.
                (_, Err(error)) if is_gone(&error) => {}
                (_, Err(error)) => return Err(error),
                (None, _) => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        match threads.is_empty() {
            // Somebody's empty directory.
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(Self(threads)),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that live, as they are now.
    pub(super) fn look(&self) -> io::Result<Vec<(u32, State)>> {
        let mut states = Vec::new();
        for (id, status) in &self.0 {
            let mut text = [0; 8192];
            match status.read_at(&mut text, 0) {
                Ok(length) => {
                    let state = State::parse(&String::from_utf8_lossy(&text[..length]));
                    states.push((*id, state.ok_or(io::ErrorKind::InvalidData)?));
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(states)
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// What matters of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// One of its uids, gids or groups is root's.
    pub(super) is_root: bool,
    /// Inheritable, permitted, effective or ambient.
    pub(super) capabilities: u64,
    pub(super) no_new_privs: bool,
    pub(super) filtered: bool,
}

impl State {
    /// `None`: not a record of a thread.
    fn parse(status: &str) -> Option<Self> {
        let line = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let has_root = |key| {
            let mut ids = line(key)?.split_ascii_whitespace();
            Some(ids.any(|id| id == "0"))
        };
        let mut capabilities = 0;
        for key in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            capabilities |= u64::from_str_radix(line(key)?.trim(), 16).ok()?;
        }
        Some(Self {
            is_root: has_root("Uid:")? | has_root("Gid:")? | has_root("Groups:")?,
            capabilities,
            no_new_privs: line("NoNewPrivs:")?.trim() == "1",
            filtered: line("Seccomp:")?.trim() == "2",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\nUid:\t7\t7\t7\t7\nGid:\t9\t9\t9\t9\nGroups:\t\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
        CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";

    #[test]
    fn a_record_is_read_or_is_none() {
        let sealed = State {
            is_root: false,
            capabilities: 0,
            no_new_privs: true,
            filtered: true,
        };
        assert_eq!(State::parse(STATUS), Some(sealed));
        for (from, to) in [
            ("Uid:\t7\t7", "Uid:\t7\t0"),
            ("Gid:\t9\t9\t9\t9", "Gid:\t9\t9\t9\t0"),
            ("Groups:\t", "Groups:\t5 0 "),
        ] {
            let state = State::parse(&STATUS.replace(from, to));
            assert_eq!(
                state,
                Some(State {
                    is_root: true,
                    ..sealed
                }),
                "{to}"
            );
        }
        let state = State::parse(&STATUS.replace("CapAmb:\t00", "CapAmb:\t01"));
        assert_eq!(
            state,
            Some(State {
                capabilities: 1 << 56,
                ..sealed
            })
        );
        let state = State::parse(&STATUS.replace("Privs:\t1", "Privs:\t0"));
        assert_eq!(
            state,
            Some(State {
                no_new_privs: false,
                ..sealed
            })
        );
        let state = State::parse(&STATUS.replace("Seccomp:\t2", "Seccomp:\t0"));
        assert_eq!(
            state,
            Some(State {
                filtered: false,
                ..sealed
            })
        );
        for line in STATUS
            .lines()
            .filter(|line| !line.starts_with("Name") && !line.starts_with("CapBnd"))
        {
            assert_eq!(State::parse(&STATUS.replace(line, "")), None, "{line}");
        }
    }

    #[test]
    fn this_process_has_threads() {
        let threads = Threads::of_this_process().unwrap();
        assert!(threads.count() > 0);
        assert!(!threads.look().unwrap().is_empty());
    }
}
