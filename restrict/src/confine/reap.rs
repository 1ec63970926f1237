// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ends every process of a uid that is one domain's alone, also one that forks
//! faster than it could be killed one by one.
//!
//! A child takes the credentials (real: the reaper's uid, effective: the target's,
//! saved: 0) and sends SIGKILL to every process it may signal. It may signal
//! those of the two uids and no other; they may not signal it, as its real and
//! saved uids are not theirs. What it sends proves nothing, so /proc is read.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{
    hidepid,
    identity::{ADD_REAPER, Identity, IdentityError, REAPER, Rule, allowed, not_subordinate},
    proc_file::{beginning, whole},
    scheduling::Ahead,
    sender::{self, Signal, Step},
    userdb::{UserDb, UserDbError},
};

/// Uids below are the system's own: Debian gives them out by a fixed list.
const FLOOR: u32 = 100;
/// `PROC_PID_INIT_INO` and `PROC_USER_INIT_INO` of Linux's `linux/proc_ns.h`.
const INITIAL: [(&str, u32); 2] = [("pid", 0xEFFF_FFFC), ("user", 0xEFFF_FFFD)];
/// `CAP_SETUID` and `CAP_SYS_PTRACE` of `linux/capability.h`.
const CAP_SETUID: u32 = 7;
const CAP_SYS_PTRACE: u32 = 19;
const LOCK: &str = "reap.lock";
/// How often the threads of a process are listed while some end: one that executes a program
/// gets the number of the first.
const LISTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(5);

/// Reaps one domain's processes. Everything that can be checked without a look
/// at processes was checked when it was made.
///
/// ```no_run
/// use xen_restrict::{GuestId, confine::{Identity, Reaper, UserDb}};
/// let db = UserDb::from_system()?;
/// let identity = Identity::choose(GuestId::new(7)?, None, &db)?;
/// let reaped = Reaper::new(&identity, &db, "/run/dm-restrict")?.reap()?;
/// println!("{reaped}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reaper {
    target: u32,
    reaper: u32,
    lock_dir: PathBuf,
    timeout: Duration,
}

/// That no process of the uid was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reaped {
    /// The uid.
    pub uid: u32,
    /// How many processes it had when reaping began; without CAP_SYS_NICE, after the first
    /// kill.
    pub found: usize,
    /// How often everything was killed and looked for; at least 1.
    pub rounds: u32,
}

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

impl Reaper {
    /// Prepares to reap the processes of `identity`. `lock_dir` is a directory that
    /// only root can write to: reapers of one machine take turns by a lock there,
    /// as each would kill the other. Waits 10 s at most.
    ///
    /// The real uid of the one that kills is that of user `xen-qemuuser-reaper`,
    /// else that of the range base. Whatever runs under it is killed too.
    ///
    /// # Errors
    /// The uid is not one domain's alone, or there is no user to reap under.
    pub fn new(
        identity: &Identity,
        db: &UserDb,
        lock_dir: impl Into<PathBuf>,
    ) -> Result<Self, ReapError> {
        let target = identity.uid();
        if !identity.is_exclusive() || target < FLOOR {
            return Err(ReapError::NotExclusive {
                identity: identity.to_string(),
            });
        }
        let (reaper, gid) = match (db.by_name(REAPER)?, identity.rule()) {
            (Some(account), _) => (account.uid, account.gid),
            (None, Rule::RangeBase { base }) => (*base, identity.gid()),
            (None, _) => return Err(ReapError::NoReaper),
        };
        let name = match identity.rule() {
            Rule::RangeBase { base } if *base == reaper => super::RANGE_BASE,
            _ => REAPER,
        };
        allowed(reaper, gid, name, name, db)?;
        not_subordinate(reaper, reaper, name, db)?;
        if reaper < FLOOR || reaper == target {
            return Err(ReapError::NoReaper);
        }
        Ok(Self {
            target,
            reaper,
            lock_dir: lock_dir.into(),
            timeout: Duration::from_secs(10),
        })
    }

    /// How long to wait for the lock, and until all are gone.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Kills every process of the uid, and returns when none is left.
    ///
    /// A process counts while one of its threads lives and has the uid as its real,
    /// effective or saved one; what has ended and was not waited for (a zombie) does
    /// not. A look at /proc must find none after a kill: what the kill reached forks no more,
    /// as the kernel sends it to all of them at once, and lets no fork end in between.
    ///
    /// With CAP_SYS_NICE the calling thread is scheduled in real time meanwhile (`SCHED_RR`),
    /// before all that could be reaped.
    ///
    /// The calling process may have other threads. It forks without the C library's
    /// handlers, and the child makes system calls only.
    ///
    /// # Errors
    /// Not root, not in the initial pid and user namespaces, /proc does not show
    /// all processes, the child did not get exactly its credentials (nothing is
    /// sent then), or processes were left when time was up.
    pub fn reap(&self) -> Result<Reaped, ReapError> {
        let looked = |reaper: &Self| processes_of(reaper.target).map(|found| found.len());
        self.reap_after(looked)
    }

    /// The same, where none is expected: nobody asks how many there were.
    pub(crate) fn leave_none(&self) -> Result<(), ReapError> {
        self.reap_after(|_| Ok(0)).map(drop)
    }

    fn reap_after(
        &self,
        look: impl Fn(&Self) -> Result<usize, ReapError>,
    ) -> Result<Reaped, ReapError> {
        let deadline = Instant::now() + self.timeout;
        sees_all()?;
        let _lock = self.lock(deadline)?;
        // Any number of them that keep the processor busy would let one look take minutes.
        let ahead = Ahead::of_others();
        if ahead.is_none() {
            self.send(Signal::Kill)?;
        }
        let found = look(self)?;
        for rounds in 1.. {
            let sent = self.send(Signal::Kill)?;
            let left = processes_of(self.target)?;
            if left.is_empty() && sent {
                return Ok(Reaped {
                    uid: self.target,
                    found,
                    rounds,
                });
            }
            if Instant::now() >= deadline {
                return Err(ReapError::Left {
                    uid: self.target,
                    seconds: self.timeout.as_secs(),
                    left,
                });
            }
            thread::sleep(PAUSE);
        }
        unreachable!("the loop has no end")
    }

    /// Waits for the lock.
    fn lock(&self, deadline: Instant) -> Result<Lock, ReapError> {
        let failed = |source| ReapError::Lock {
            directory: self.lock_dir.clone(),
            source,
        };
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(&self.lock_dir)
            .map_err(failed)?;
        let metadata = directory.metadata().map_err(failed)?;
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            return Err(ReapError::LockNotRoots {
                directory: self.lock_dir.clone(),
            });
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(self.lock_dir.join(LOCK))
            .map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    return Err(ReapError::Busy {
                        directory: self.lock_dir.clone(),
                    });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }

    /// One kill by a child. False when it is to be tried again: there was no
    /// room for another process, or another reaper killed the child.
    fn send(&self, signal: Signal) -> Result<bool, ReapError> {
        let report = match sender::send(self.reaper, self.target, signal) {
            Err(Errno::EAGAIN | Errno::ENOMEM) => return Ok(false),
            other => other.map_err(|errno| ReapError::Child {
                what: "fork",
                source: errno.into(),
            })?,
        };
        match report.step {
            Step::Sent => Ok(true),
            Step::Started => Ok(false),
            Step::WrongCredentials => Err(ReapError::NotAsAsked {
                uids: report.uids,
                wanted: [self.reaper, self.target, 0],
                capabilities: report.capabilities,
            }),
            Step::Failed(what) => Err(ReapError::Child {
                what,
                source: report.errno.into(),
            }),
        }
    }
}

/// The turn of this reaper.
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: what another thread forked meanwhile has the file
        // too, maybe a process that is to be reaped next.
        let _ = self.0.unlock();
    }
}

impl fmt::Display for Reaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, found, .. } = self;
        write!(f, "uid {uid}: {found} found, none left")
    }
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
fn processes_of(uid: u32) -> Result<Vec<Process>, ReapError> {
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

/// Why processes were not reaped. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReapError {
    /// The uid is not one domain's alone, or is the system's.
    #[error(
        "not reaped, because the uid may be somebody else's too ({identity}): set up a uid per \
         domain, `{}`",
        super::ADD_RANGE_BASE
    )]
    NotExclusive {
        /// Whose it is.
        identity: String,
    },
    /// There is no user of its own to reap under.
    #[error(
        "no user to reap under, with a uid of 100 or above that is nothing else's: `{ADD_REAPER}`"
    )]
    NoReaper,
    /// The reaper's user must not be used.
    #[error("the user to reap under")]
    ReaperUser(#[from] IdentityError),
    /// The user database gave no answer.
    #[error(transparent)]
    Users(#[from] UserDbError),
    /// This process cannot change its uids.
    #[error("reaping takes root (CAP_SETUID): run it as root")]
    NotRoot,
    /// A namespace is not the initial one.
    #[error(
        "this is not the machine's first {kind} namespace, so processes would be missed: reap \
         outside of containers"
    )]
    NotInitial {
        /// `pid` or `user`.
        kind: &'static str,
    },
    /// /proc is of another pid namespace.
    #[error("/proc is not of this pid namespace: `mount -t proc proc /proc`")]
    ForeignProc,
    /// /proc hides processes from this one.
    #[error(
        "/proc is mounted with hidepid, for a group that is not this process's or for all, and \
         CAP_SYS_PTRACE is missing, so processes would be missed: reap with all of root's \
         capabilities (`dm-restrict reap`), or `mount -o remount,hidepid=invisible,gid=0 /proc`"
    )]
    HidePid,
    /// /proc cannot be read.
    #[error("cannot look for processes in /proc, so nothing is proved: mount it, and try again")]
    Proc {
        /// Why.
        source: io::Error,
    },
    /// The lock cannot be made.
    #[error("cannot lock {}/{LOCK}: make the directory, root's, mode 755", directory.display())]
    Lock {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than root can write to the lock's directory.
    #[error(
        "others than root can write to {}, so they could hold its lock: `chown root`, `chmod 755`",
        directory.display()
    )]
    LockNotRoots {
        /// The directory.
        directory: PathBuf,
    },
    /// Another reaper held the lock all the time.
    #[error("another reaper holds {}/{LOCK}: wait until it ends; `lslocks` shows it", directory.display())]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// The child that kills failed before it sent anything.
    #[error("nothing was killed, {what} failed: see that no security module or filter forbids it")]
    Child {
        /// Which step.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The child's credentials were not exactly what was asked for; nothing was sent.
    #[error(
        "nothing was killed: the child that kills has uids {uids:?} (real, effective, saved) and \
         effective capabilities {capabilities:#x} instead of {wanted:?} and none; start this \
         program without SECBIT_NO_SETUID_FIXUP and SECBIT_KEEP_CAPS (systemd's SecureBits=)"
    )]
    NotAsAsked {
        /// What it has.
        uids: [u32; 3],
        /// What it should have.
        wanted: [u32; 3],
        /// Its effective capabilities.
        capabilities: u64,
    },
    /// Processes were left when time was up.
    #[error(
        "after {seconds} s, processes of uid {uid} are left: {}{}",
        list(left),
        hint(left)
    )]
    Left {
        /// The uid.
        uid: u32,
        /// How long was waited.
        seconds: u64,
        /// Which; empty if only the last proof was missing.
        left: Vec<Process>,
    },
}

fn list(left: &[Process]) -> String {
    const SHOWN: usize = 8;
    let mut texts: Vec<_> = left.iter().take(SHOWN).map(Process::to_string).collect();
    match left.len() {
        0 => texts.push("maybe, as no process could be made to kill them".into()),
        n if n > SHOWN => texts.push(format!("and {} more", n - SHOWN)),
        _ => {}
    }
    texts.join(", ")
}

fn hint(left: &[Process]) -> &'static str {
    if left.iter().any(|process| process.state == 'D') {
        "; state D ends when the device or file system that is waited for answers: see \
         /proc/PID/stack; do not start the domain's next device model before"
    } else {
        "; do not start the domain's next device model before they are gone"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "xen-qemuuser-range-base:x:2000000:65534::/:/bin/false\n";
    const REAPER_LINE: &str = "xen-qemuuser-reaper:x:109:65534::/:/bin/false\n";
    const DOMID7: &str = "xen-qemuuser-domid7:x:107:117::/:/bin/false\n";
    const SHARED: &str = "xen-qemuuser-shared:x:110:65534::/:/bin/false\n";

    fn reaper(passwd: &str, user: Option<&str>) -> Result<Reaper, ReapError> {
        let db = UserDb::from_text(passwd.as_bytes(), b"").unwrap();
        let guest = crate::GuestId::new(7).unwrap();
        let identity = Identity::choose(guest, user, &db).unwrap();
        Reaper::new(&identity, &db, "/nonexistent")
    }

    #[test]
    fn the_reaper_is_a_user_of_its_own_else_the_range_base() {
        let own = reaper(&[BASE, REAPER_LINE].concat(), None).unwrap();
        assert_eq!((own.reaper, own.target), (109, 2_000_007));
        let base = reaper(BASE, None).unwrap();
        assert_eq!((base.reaper, base.target), (2_000_000, 2_000_007));
        let older = reaper(&[DOMID7, REAPER_LINE].concat(), None).unwrap();
        assert_eq!((older.reaper, older.target), (109, 107));
        assert!(matches!(reaper(DOMID7, None), Err(ReapError::NoReaper)));
    }

    #[test]
    fn a_uid_that_may_be_somebodys_is_not_reaped() {
        let low = DOMID7.replace(":107:", ":99:");
        for (passwd, user) in [
            (SHARED, None),
            (SHARED, Some("xen-qemuuser-shared")),
            (DOMID7, Some("xen-qemuuser-domid7")),
            (&low, None),
        ] {
            let error = reaper(&[passwd, REAPER_LINE].concat(), user).unwrap_err();
            assert!(matches!(error, ReapError::NotExclusive { .. }), "{error}");
        }
    }

    #[test]
    fn the_reapers_uid_is_nobody_elses() {
        for (uid, refusal) in [
            ("0", "root's"),
            ("65534", "nobody's"),
            ("50", "of 100 or above"),
        ] {
            let line = REAPER_LINE.replace("109", uid);
            let error = reaper(&[BASE, &line].concat(), None).unwrap_err();
            let text = format!(
                "{error}: {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            );
            assert!(text.contains(refusal), "{text}");
        }
        for other in ["eve:x:109:1::/:\n", "eve:x:2000000:1::/:\n"] {
            let reaper_line = if other.contains("109") {
                REAPER_LINE
            } else {
                ""
            };
            let error = reaper(&[BASE, reaper_line, other].concat(), None).unwrap_err();
            assert!(
                matches!(error, ReapError::ReaperUser(IdentityError::Taken { .. })),
                "{error}"
            );
        }
    }

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

    #[test]
    fn what_is_left_is_named_and_a_hostile_name_is_harmless() {
        let process = |pid, state| Process {
            pid,
            name: "a\u{1b}[2J\n".into(),
            state,
        };
        let left = ReapError::Left {
            uid: 7,
            seconds: 10,
            left: (1..=10)
                .map(|pid| process(pid, if pid == 9 { 'D' } else { 'R' }))
                .collect(),
        };
        let text = left.to_string();
        assert!(
            text.contains(r#"1 ("a\u{1b}[2J\n", state R), 2 ("#)
                && text.contains("and 2 more; state D ends"),
            "{text}"
        );
    }
}
