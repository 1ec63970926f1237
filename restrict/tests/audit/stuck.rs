// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system whose server does not answer any more.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tempfile::TempDir;
use xen_restrict::{
    audit::{Verdict, audit},
    confine::Mechanism::Fds,
};

use crate::support::Subject;

/// What the server does: answers, answers nothing, ends.
const ANSWERS: u32 = 0;
const STUCK: u32 = 1;
const ENDS: u32 = 2;

/// A mount with one file, `file`.
struct Mounted {
    directory: TempDir,
    does: Arc<AtomicU32>,
    server: Option<JoinHandle<()>>,
}

impl Mounted {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.expect("it takes FUSE: `modprobe fuse`");
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(
            Some("stuck"),
            directory.path(),
            Some("fuse"),
            flags,
            Some(data.as_str()),
        )
        .unwrap();
        let does = Arc::new(AtomicU32::new(ANSWERS));
        let for_server = Arc::clone(&does);
        let server = Some(thread::spawn(move || serve(device, &for_server)));
        Self {
            directory,
            does,
            server,
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The kernel answers in its place when the server has ended.
        self.does.store(ENDS, SeqCst);
        self.server.take().unwrap().join().unwrap();
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

fn serve(mut device: File, does: &AtomicU32) {
    let mut request = vec![0; 1 << 17];
    while does.load(SeqCst) != ENDS {
        let waits = poll(
            &mut [PollFd::new(device.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(20_u8),
        );
        if waits != Ok(1) {
            continue;
        }
        let Ok(length) = device.read(&mut request) else {
            continue;
        };
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let (operation, unique) = (word(4), &request[8..16]);
        if does.load(SeqCst) == STUCK || length < 40 {
            continue;
        }
        let Some(body) = answer(operation) else {
            continue;
        };
        let length = u32::try_from(16 + body.len()).unwrap();
        let mut reply = length.to_ne_bytes().to_vec();
        reply.extend(0_u32.to_ne_bytes());
        reply.extend(unique);
        reply.extend(body);
        device.write_all(&reply).unwrap();
    }
}

/// As Linux's `linux/fuse.h` has them.
fn answer(operation: u32) -> Option<Vec<u8>> {
    let attributes = |inode: u64, mode: u32| {
        let mut attributes = vec![0; 88];
        attributes[..8].copy_from_slice(&inode.to_ne_bytes());
        attributes[60..64].copy_from_slice(&mode.to_ne_bytes());
        attributes[64..68].copy_from_slice(&1_u32.to_ne_bytes());
        attributes
    };
    match operation {
        // LOOKUP: what is found is not remembered.
        1 => {
            let mut entry = vec![0; 40];
            entry[..8].copy_from_slice(&2_u64.to_ne_bytes());
            entry.extend(attributes(2, libc::S_IFREG | 0o644));
            Some(entry)
        }
        // GETATTR, of the root.
        3 => Some([vec![0; 16], attributes(1, libc::S_IFDIR | 0o755)].concat()),
        // OPEN, OPENDIR.
        14 | 27 => Some(vec![0; 16]),
        // INIT: version 7.31.
        26 => {
            let mut init = vec![0; 64];
            init[..4].copy_from_slice(&7_u32.to_ne_bytes());
            init[4..8].copy_from_slice(&31_u32.to_ne_bytes());
            Some(init)
        }
        _ => None,
    }
}

#[test]
fn a_file_whose_server_is_stuck_holds_nothing_up() {
    let mounted = Mounted::new();
    let path = mounted.directory.path().join("file");
    let subject = Subject::with(&[&format!("file={}", path.display())]);
    mounted.does.store(STUCK, SeqCst);
    let (send, receive) = mpsc::channel();
    let (pid, expectation) = (subject.pid, subject.expectation());
    thread::spawn(move || {
        // Nobody waits any more if it took too long.
        let _ = send.send(audit(pid, &expectation));
    });
    let outcome = receive.recv_timeout(Duration::from_secs(20));
    let report = outcome.expect("it hangs").unwrap();
    let finding = report.finding(Fds).unwrap();
    assert_eq!(finding.verdict, Verdict::Fails);
    assert!(finding.seen.contains("a file from outside"), "{finding:?}");
    drop(mounted);
}
