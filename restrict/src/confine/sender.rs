// SPDX-License-Identifier: MIT OR Apache-2.0
//! The child that kills: takes its credentials, checks them, and only then sends.
//!
//! `kill(-1)` with one capability too many ends the machine, so the order is:
//! take, ask the kernel in two ways what was taken, compare, send.

use std::{
    mem::offset_of,
    ptr,
    sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use nix::{
    errno::Errno,
    sys::{
        mman::{MapFlags, ProtFlags, mmap_anonymous, munmap},
        signal::SigSet,
    },
};

/// What is sent to every process that the child may signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Kill = libc::SIGKILL as isize,
    /// Nothing: the kernel only checks permissions.
    #[cfg(test)]
    DryRun = 0,
}

/// How far the child came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It ended before it said anything: something killed it.
    Started,
    /// Nothing was sent: this failed.
    Failed(&'static str),
    /// Nothing was sent: the credentials are not as they should be.
    WrongCredentials,
    Sent,
}

/// What the child found and did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) step: Step,
    pub(super) errno: Errno,
    /// Real, effective and saved.
    pub(super) uids: [u32; 3],
    pub(super) capabilities: u64,
}

/// A page that the child writes and the parent reads. Zeroes are the start.
#[repr(C)]
struct Shared {
    step: AtomicU32,
    errno: AtomicI32,
    uids: [AtomicU32; 3],
    capabilities: AtomicU64,
}
const _: () = assert!(size_of::<Shared>() <= 4096 && offset_of!(Shared, step) == 0);

const STEPS: [Step; 8] = [
    Step::Started,
    Step::Failed("setresuid"),
    Step::Failed("getresuid"),
    Step::Failed("capget"),
    Step::Failed("reading /proc/thread-self/status"),
    Step::WrongCredentials,
    Step::Failed("kill"),
    Step::Sent,
];
const SETRESUID: u32 = 1;
const GETRESUID: u32 = 2;
const CAPGET: u32 = 3;
const STATUS: u32 = 4;
const CREDENTIALS: u32 = 5;
const KILL: u32 = 6;
const SENT: u32 = 7;

/// Has a child send `signal` as (`reaper`, `target`, 0), and waits for it.
pub(super) fn send(reaper: u32, target: u32, signal: Signal) -> nix::Result<Report> {
    for uid in [reaper, target] {
        assert!(!matches!(uid, 0 | u32::MAX), "uid {uid} was checked before");
    }
    let page = Page::new()?;
    // No handler of this process runs in the child.
    let mask = SigSet::all().thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)?;
    // SAFETY: with no flags it is a fork: the child gets a copy of this memory
    // and returns here on a copy of this stack. It takes no lock and allocates
    // nothing, because `child` makes system calls only, and does not return.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, 0_usize, 0_usize, 0_usize, 0_usize, 0_usize) };
    if pid == 0 {
        child(page.shared(), reaper, target, signal);
    }
    let forked = Errno::result(pid);
    let waited = forked.map(wait);
    mask.thread_set_mask()?;
    waited?;
    Ok(page.report())
}

/// Until the child has ended. It has no exit signal, so no other code's
/// `waitpid(-1)` takes it, and no SIGCHLD handler hears of it.
fn wait(pid: i64) {
    let mut status = 0;
    loop {
        // SAFETY: wait4 writes one int, `status`, and no rusage where it is null.
        let done =
            unsafe { libc::syscall(libc::SYS_wait4, pid, &raw mut status, libc::__WALL, 0_usize) };
        if Errno::result(done) != Err(Errno::EINTR) {
            return;
        }
    }
}

struct Page(ptr::NonNull<Shared>);

impl Page {
    fn new() -> nix::Result<Self> {
        let length = const { std::num::NonZeroUsize::new(4096).unwrap() };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe {
            mmap_anonymous(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
            )
        }?;
        Ok(Self(page.cast()))
    }

    fn shared(&self) -> &Shared {
        // SAFETY: the page is mapped as long as `self` lives, aligned, large enough
        // by the assertion above, zeroed, and written through atomics only.
        unsafe { self.0.as_ref() }
    }

    fn report(&self) -> Report {
        let shared = self.shared();
        let step = usize::try_from(shared.step.load(Relaxed)).ok();
        Report {
            step: step
                .and_then(|n| STEPS.get(n))
                .copied()
                .unwrap_or(Step::Started),
            errno: Errno::from_raw(shared.errno.load(Relaxed)),
            uids: shared.uids.each_ref().map(|uid| uid.load(Relaxed)),
            capabilities: shared.capabilities.load(Relaxed),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's, and no reference into it outlives it.
        let _ = unsafe { munmap(self.0.cast(), 4096) };
    }
}

/// Runs in the child: no allocation, no lock, no panic, system calls only.
fn child(shared: &Shared, reaper: u32, target: u32, signal: Signal) -> ! {
    let (step, errno) = match act(shared, reaper, target, signal) {
        Ok(()) => (SENT, 0),
        Err(step) => (step, Errno::last_raw()),
    };
    shared.errno.store(errno, Relaxed);
    shared.step.store(step, Relaxed);
    loop {
        // SAFETY: ends this process.
        unsafe { libc::syscall(libc::SYS_exit_group, 0) };
    }
}

/// The step that failed is the error; errno is as the step left it.
fn act(shared: &Shared, reaper: u32, target: u32, signal: Signal) -> Result<(), u32> {
    // Later it could be one of those that can open no file, where the machine has too many open.
    let status = open_status().ok_or(STATUS)?;
    // The system call, not the C library's function, which is one for all threads.
    // SAFETY: three numbers, and it changes this process's only thread.
    let taken = unsafe { libc::syscall(libc::SYS_setresuid, reaper, target, 0_u32) };
    if taken != 0 {
        return Err(SETRESUID);
    }
    let [real, effective, saved] = &shared.uids;
    // SAFETY: writes three u32, to which the atomics' pointers point.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_getresuid,
            real.as_ptr(),
            effective.as_ptr(),
            saved.as_ptr(),
        )
    };
    if asked != 0 {
        return Err(GETRESUID);
    }
    let capabilities = capget().ok_or(CAPGET)? | status_capabilities(status).ok_or(STATUS)?;
    shared.capabilities.store(capabilities, Relaxed);
    let as_asked = real.load(Relaxed) == reaper
        && effective.load(Relaxed) == target
        && saved.load(Relaxed) == 0
        && capabilities == 0;
    let safe = reaper != 0 && target != 0 && reaper != u32::MAX && target != u32::MAX;
    if !(as_asked && safe) {
        return Err(CREDENTIALS);
    }
    // SAFETY: two numbers. By the check above this reaches processes of the two
    // uids and no other; the kernel leaves out the sender and process 1.
    let sent = unsafe { libc::syscall(libc::SYS_kill, -1, signal as i32) };
    if sent != 0 && Errno::last_raw() != libc::ESRCH {
        return Err(KILL);
    }
    Ok(())
}

/// The effective capabilities, by system call.
fn capget() -> Option<u64> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // `_LINUX_CAPABILITY_VERSION_3`: two elements, the low half first.
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut data = [const {
        Data {
            effective: 0,
            permitted: 0,
            inheritable: 0,
        }
    }; 2];
    // SAFETY: with this version it reads the header and writes two elements.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    let [low, high] = data;
    (done == 0).then_some(u64::from(high.effective) << 32 | u64::from(low.effective))
}

/// This thread's status file. What it says is of the time when it is read.
fn open_status() -> Option<libc::c_long> {
    // SAFETY: the path is a C string that lives as long as the program.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            c"/proc/thread-self/status".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    (fd >= 0).then_some(fd)
}

/// The effective capabilities, as the status file has them. Read from its start.
fn status_capabilities(fd: libc::c_long) -> Option<u64> {
    let mut search = Search::default();
    let mut chunk = [0_u8; 512];
    loop {
        // SAFETY: `chunk` has that many bytes.
        let n = unsafe { libc::syscall(libc::SYS_read, fd, chunk.as_mut_ptr(), chunk.len()) };
        let bytes = usize::try_from(n).ok().and_then(|n| chunk.get(..n))?;
        if bytes.is_empty() {
            return None;
        }
        for byte in bytes {
            if let Some(found) = search.feed(*byte) {
                return found;
            }
        }
    }
}

/// Finds the value of `CapEff` in a file of any length, byte by byte.
#[derive(Default)]
struct Search {
    /// How much of the pattern was seen.
    seen: usize,
    value: u64,
    digits: u32,
}

impl Search {
    const PATTERN: &'static [u8] = b"\nCapEff:\t";

    /// The value at its end, or `Some(None)` when it is no value.
    fn feed(&mut self, byte: u8) -> Option<Option<u64>> {
        let Some(expected) = Self::PATTERN.get(self.seen) else {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'\n' => return Some((self.digits == 16).then_some(self.value)),
                _ => return Some(None),
            };
            if self.digits == 16 {
                return Some(None);
            }
            self.value = self.value << 4 | u64::from(digit);
            self.digits += 1;
            return None;
        };
        self.seen = match byte {
            b if b == *expected => self.seen + 1,
            b'\n' => 1,
            _ => 0,
        };
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::Command,
    };

    use super::*;

    // Uids that are nobody's. What is sent for real is sent in a pid namespace.
    const REAPER: u32 = 2_100_000;
    const TARGET: u32 = 2_100_001;

    fn assert_root() {
        assert!(
            nix::unistd::geteuid().is_root(),
            "changing the real uid takes root: run the tests as root"
        );
    }

    fn search(text: &str) -> Option<u64> {
        let mut search = Search::default();
        text.bytes().find_map(|byte| search.feed(byte)).flatten()
    }

    #[test]
    fn the_value_is_found_or_nothing_is() {
        assert_eq!(
            search("Name:\tx\n\nCapEff:\t000001ffffffffff\nCap"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(search("a\nCapEff:\t0000000000000000\n"), Some(0));
        for text in [
            "CapEff:\t0000000000000000\n",
            "\nCapEff:\t\n",
            "\nCapEff:\t0\n",
            "\nCapEff:\t00000000000000000\n",
            "\nCapEff:\t000000000000000g\n",
            "\nCapEff:\t0000000000000000",
            "Name:\t\\nCapEff:\t0000000000000000\n",
        ] {
            assert_eq!(search(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_child_has_exactly_the_two_uids_and_no_capability() {
        assert_root();
        let report = send(REAPER, TARGET, Signal::DryRun).unwrap();
        assert_eq!(report.step, Step::Sent, "{report:?}");
        assert_eq!(report.uids, [REAPER, TARGET, 0]);
        assert_eq!(report.capabilities, 0);
        let status = open_status().and_then(status_capabilities);
        assert_eq!(capget(), status, "this thread's own");
        assert_ne!(capget(), Some(0));
    }

    /// Sends from a thread whose capabilities outlive the change of uid.
    /// Securebits are the thread's, and end with it.
    fn send_without_fixup(signal: Signal) -> Report {
        const SECBIT_NO_SETUID_FIXUP: usize = 4;
        let sender = std::thread::spawn(move || {
            // SAFETY: a number.
            let set = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) };
            assert_eq!(
                set, 0,
                "setting securebits takes CAP_SETPCAP: run the tests as root"
            );
            send(REAPER, TARGET, signal).unwrap()
        });
        sender.join().unwrap()
    }

    #[test]
    fn capabilities_that_outlive_the_change_of_uid_stop_it() {
        assert_root();
        let report = send_without_fixup(Signal::DryRun);
        assert_eq!(report.step, Step::WrongCredentials, "{report:?}");
        assert_ne!(report.capabilities, 0);
    }

    #[test]
    fn the_real_signal_reaches_the_target_and_never_root() {
        assert_root();
        let output = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "confine::sender::tests::in_a_pid_namespace",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{output:?}"
        );
    }

    #[test]
    #[ignore = "the test above runs it, where a mistake ends no other process"]
    fn in_a_pid_namespace() {
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
        assert_ne!(
            namespace,
            std::path::Path::new("pid:[4026531836]"),
            "not outside of one"
        );
        let sleep = |uid| Command::new("sleep").arg("60").uid(uid).spawn().unwrap();
        let (mut root, mut target) = (sleep(0), sleep(TARGET));

        let report = send_without_fixup(Signal::Kill);
        assert_eq!(report.step, Step::WrongCredentials, "{report:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(root.try_wait().unwrap(), None);
        assert_eq!(target.try_wait().unwrap(), None);

        let report = send(REAPER, TARGET, Signal::Kill).unwrap();
        assert_eq!(report.step, Step::Sent, "{report:?}");
        assert_eq!(target.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert_eq!(root.try_wait().unwrap(), None);
        root.kill().unwrap();
        root.wait().unwrap();
    }

    #[test]
    fn without_root_nothing_is_sent() {
        assert_root();
        let report = std::thread::spawn(|| {
            // SAFETY: numbers, and the system call is for this thread only.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, TARGET, TARGET, TARGET) };
            assert_eq!(done, 0);
            send(REAPER, TARGET, Signal::DryRun).unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(report.step, Step::Failed("setresuid"), "{report:?}");
        assert_eq!(report.errno, Errno::EPERM);
    }
}
