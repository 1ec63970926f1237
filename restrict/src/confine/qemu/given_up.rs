// SPDX-License-Identifier: MIT OR Apache-2.0
//! That a QEMU has given root up: not what it did, but what it is, in every thread.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use crate::audit::status::Status;
use crate::confine::proc_file::whole;

/// Of a file system's object.
pub(crate) type Inode = (u64, u64);

/// How often its threads may change meanwhile.
const LOOKS: usize = 100;
/// Of `status`: by the bounding set alone nothing is gained, with no-new-privs.
const HELD: [(usize, &str); 4] = [
    (0, "inheritable"),
    (1, "permitted"),
    (2, "effective"),
    (4, "ambient"),
];

fn has_ended(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH) || error.kind() == io::ErrorKind::NotFound
}

/// Every thread has this uid and gid, no capability in effect, and this root directory. The
/// error says which has not, and why.
///
/// A thread that is started meanwhile has what the one has that started it: so all is proved
/// when no thread came while all were looked at.
pub(crate) fn has_given_up(
    pid: i32,
    uid: u32,
    gid: u32,
    root: Option<Inode>,
) -> Result<(), String> {
    let mut before = threads(pid).map_err(|error| format!("its threads: {error}"))?;
    for _ in 0..LOOKS {
        for thread in &before {
            match deviation(pid, *thread, uid, gid, root) {
                Ok(None) => {}
                Ok(Some(what)) => return Err(format!("thread {thread} has {what}")),
                // It has ended: not in the next list, then.
                Err(error) if has_ended(&error) => {}
                Err(error) => return Err(format!("thread {thread}: {error}")),
            }
        }
        let after = threads(pid).map_err(|error| format!("its threads: {error}"))?;
        if after.is_empty() {
            return Err("it has ended".into());
        }
        if after.iter().all(|thread| before.contains(thread)) {
            return Ok(());
        }
        before = after;
    }
    Err("it starts threads all the time".into())
}

fn threads(pid: i32) -> io::Result<Vec<i32>> {
    let names = fs::read_dir(format!("/proc/{pid}/task"))?;
    let number = |entry: io::Result<fs::DirEntry>| {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        number.ok_or_else(|| io::ErrorKind::InvalidData.into())
    };
    names.map(number).collect()
}

fn deviation(
    pid: i32,
    thread: i32,
    uid: u32,
    gid: u32,
    root: Option<Inode>,
) -> io::Result<Option<String>> {
    let task = format!("/proc/{pid}/task/{thread}");
    let text = whole(format!("{task}/status"))?;
    let status = Status::parse(&text).ok_or(io::ErrorKind::InvalidData)?;
    if status.has_ended() {
        return Ok(None);
    }
    if let Some(what) = of_status(&status, uid, gid) {
        return Ok(Some(what));
    }
    let Some(expected) = root else {
        return Ok(None);
    };
    let now = fs::metadata(format!("{task}/root"))?;
    Ok(((now.dev(), now.ino()) != expected).then(|| "another root directory".into()))
}

fn of_status(status: &Status, uid: u32, gid: u32) -> Option<String> {
    if status.uids != [uid; 4] {
        return Some(format!("uids {:?}", status.uids));
    }
    if status.gids != [gid; 4] || status.groups.iter().any(|group| *group != gid) {
        return Some(format!(
            "gids {:?}, groups {:?}",
            status.gids, status.groups
        ));
    }
    let mut held = HELD.iter();
    held.find(|(at, _)| status.capabilities[*at] != 0)
        .map(|(at, name)| format!("{name} capabilities {:#x}", status.capabilities[*at]))
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command},
        time::{Duration, Instant},
    };

    use super::*;

    const GONE: [u64; 5] = [0, 0, 0, 0x4_00c2, 0];

    fn status(uids: [u32; 4], groups: Vec<u32>, capabilities: [u64; 5]) -> Status {
        let text = fs::read("/proc/self/status").unwrap();
        Status {
            uids,
            gids: [7; 4],
            groups,
            capabilities,
            ..Status::parse(&text).unwrap()
        }
    }

    #[test]
    fn one_number_that_is_another_is_enough() {
        let fine = |status| of_status(&status, 5, 7);
        assert_eq!(fine(status([5; 4], vec![7], GONE)), None);
        assert_eq!(fine(status([5; 4], vec![], GONE)), None);
        for at in 0..4 {
            let mut uids = [5; 4];
            uids[at] = 0;
            assert!(fine(status(uids, vec![7], GONE)).is_some(), "{at}");
        }
        assert!(fine(status([5; 4], vec![7, 0], GONE)).is_some());
        for at in [0, 1, 2, 4] {
            let mut capabilities = GONE;
            capabilities[at] = 1;
            assert!(
                fine(status([5; 4], vec![7], capabilities)).is_some(),
                "{at}"
            );
        }
    }

    struct Sleeper(Child);

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_is_looked_at_as_it_is() {
        use std::os::unix::process::CommandExt as _;
        let sleep = Command::new("sleep").arg("60").uid(4711).gid(4712).spawn();
        let sleeper = Sleeper(sleep.expect("run the tests as root"));
        let pid = i32::try_from(sleeper.0.id()).unwrap();
        let root = fs::metadata("/").unwrap();
        let root = (root.dev(), root.ino());
        let end = Instant::now() + Duration::from_secs(20);
        while has_given_up(pid, 4711, 4712, Some(root)).is_err() {
            assert!(Instant::now() < end);
        }
        for (uid, gid, root) in [
            (4711, 0, root),
            (0, 4712, root),
            (4711, 4712, (root.0, root.1 + 1)),
        ] {
            has_given_up(pid, uid, gid, Some(root)).unwrap_err();
        }
        has_given_up(i32::MAX, 4711, 4712, None).unwrap_err();
    }
}
