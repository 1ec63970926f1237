// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ends every process of a uid that is one domain's alone, also one that forks
//! faster than it could be killed one by one.
//!
//! A child takes the credentials (real: the reaper's uid, effective: the target's,
//! saved: 0) and sends SIGKILL to every process it may signal. It may signal
//! those of the two uids and no other; they may not signal it, as its real and
//! saved uids are not theirs. What it sends proves nothing, so /proc is read.

mod error;
mod look;

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use self::look::processes_of;
pub(crate) use self::look::{sees_all, takes_ptrace};
pub use self::{error::ReapError, look::Process};
use super::{
    identity::{Identity, REAPER, Rule, allowed, not_subordinate},
    scheduling::Ahead,
    sender::{self, Signal, Step},
    userdb::UserDb,
};

/// Uids below are the system's own: Debian gives them out by a fixed list.
const FLOOR: u32 = 100;
const LOCK: &str = "reap.lock";
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

impl Reaper {
    /// Prepares to reap the processes of `identity`. `lock_dir` is a directory that
    /// only root can write to: reapers of one machine take turns by a lock there,
    /// as each would kill the other. Waits until all are gone, 10 s at most, and twice that for
    /// its turn.
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

    /// How long to wait until all are gone, once it is this one's turn; twice that for its turn.
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
    /// before all that could be reaped; after a look it leaves them as much time as that took.
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
        sees_all()?;
        // Who has it may take as long, and a look more.
        let _lock = self.lock(Instant::now() + 2 * self.timeout)?;
        let deadline = Instant::now() + self.timeout;
        // Any number of them that keep the processor busy would let one look take minutes.
        let ahead = Ahead::of_others();
        if ahead.is_none() {
            self.send(Signal::Kill)?;
        }
        let found = look(self)?;
        for rounds in 1.. {
            let began = Instant::now();
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
            // To end takes the processor, too: this, which goes before it, takes half of it.
            let left = deadline.saturating_duration_since(Instant::now());
            thread::sleep(began.elapsed().max(PAUSE).min(left));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::IdentityError;

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
}
