// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stays outside while the program runs: it passes on signals and output, seals
//! the program, and sees to it that nothing is left of it.

use std::{
    fs, io,
    os::{fd::AsFd, unix::process::ExitStatusExt as _},
    path::Path,
    process::ExitStatus,
    time::Instant,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::geteuid,
};

use super::{
    control::Control,
    error::LaunchError,
    guest_life::GuestLife,
    instance::{Instance, RUN_DIR, Turn},
    notify::ToPassOn,
    options::SealAt,
    overseer::Overseer,
    plan::Plan,
    preload,
    qemu::Promise,
    sealing::Sealing,
    signals,
    start::Started,
    watch::{GUEST, Watch},
    wire, with_causes,
};
use crate::{
    GuestId, PrivCmd,
    confine::{
        Identity, Mechanism, MechanismError, Reaper, UserDb,
        capabilities::{self, bit},
        notify::Notifier,
        takes_ptrace,
    },
};

/// Of `linux/capability.h`.
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_KILL: u32 = 5;
const CAP_SETUID: u32 = 7;
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_CHROOT: u32 = 18;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
/// What the supervisor keeps: to signal the program, and to reap its uid.
const KEPT: u64 = bit(CAP_KILL) | bit(CAP_SETUID);
/// Until it is sealed: to see in /proc, in files that are the program's, whether a thread
/// is still in a request.
const UNTIL_SEALED: u64 = bit(CAP_DAC_READ_SEARCH) | bit(CAP_SYS_PTRACE);

/// Until QEMU has given root up: to take dom0's files out of its mount namespace, and to audit
/// it.
const UNTIL_REDEEMED: u64 = bit(CAP_SYS_CHROOT) | bit(CAP_SYS_ADMIN) | bit(CAP_NET_ADMIN);

/// Something that a launcher may want to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// All is applied; the program runs no instruction of its own before this returns.
    Prepared {
        /// Its process id.
        pid: i32,
    },
    /// It is the program now.
    Started {
        /// Its process id.
        pid: i32,
    },
    /// It was sealed, or has sealed itself.
    Sealed,
    /// It could not be sealed in time: what is still under way.
    NotSealed(String),
    /// A system call was refused; with [`Launch::log_denied`](super::Launch::log_denied).
    Denied(String),
    /// The domain is gone: the program is ended.
    GuestGone(GuestId),
    /// Something that has to be seen to, and stops nothing.
    Warning(String),
}

/// Said of a control group.
const NO_CPU: &str = "there is no controller cpu for its control group: each of its threads or sessions \
                      has as large a part of the processors as any other of the machine";

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(u8),
    /// By this signal.
    Killed(i32),
}

impl Ended {
    /// As a shell tells it: 128 and the signal.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => u8::try_from(128 + signal).unwrap_or(255),
        }
    }

    /// What a signal means here, where that is not obvious.
    #[must_use]
    pub fn explanation(self) -> Option<&'static str> {
        match self {
            Self::Killed(libc::SIGSYS) => {
                Some("killed by its system call filter: a call of another architecture, or x32")
            }
            Self::Killed(libc::SIGXFSZ) => Some(
                "killed by the limit of file sizes, which memory files count to: raise --rlimit fsize",
            ),
            Self::Killed(libc::SIGXCPU) => Some("killed by the limit of time: raise --rlimit cpu"),
            _ => None,
        }
    }

    pub(super) fn of(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Killed(signal),
            None => Self::Exited(
                status
                    .code()
                    .and_then(|code| u8::try_from(code).ok())
                    .unwrap_or(255),
            ),
        }
    }
}

impl Plan {
    /// Starts the program and stays until it has ended and nothing is left of it. This
    /// process gives up nearly all of its privileges: it is of no other use any more.
    ///
    /// # Errors
    /// [`LaunchError`]: the program was not started, and nothing is left of the attempt.
    /// Of what goes wrong later, [`Event::Warning`] tells.
    pub fn supervise(self, tell: &mut dyn FnMut(Event)) -> Result<Ended, LaunchError> {
        self.supervise_with(&mut (), tell)
    }

    /// The same, as long as `overseer` agrees.
    ///
    /// # Errors
    /// As [`supervise`](Self::supervise), and what the overseer says.
    pub fn supervise_with(
        mut self,
        overseer: &mut dyn Overseer,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Ended, LaunchError> {
        let threads = fs::read_dir("/proc/self/task")
            .map_err(LaunchError::system("count the supervisor's threads"))?
            .count();
        if threads != 1 {
            return Err(LaunchError::Threads(threads));
        }
        signals::children_leave_a_status()
            .map_err(LaunchError::system("have children leave a status"))?;
        let here = fs::read_link("/proc/self").map_err(LaunchError::system("read /proc/self"))?;
        if here != Path::new(&std::process::id().to_string()) {
            return Err(LaunchError::System {
                what: "/proc is of another pid namespace, and would tell of other processes: mount one of \
                       this namespace",
                source: io::ErrorKind::Unsupported.into(),
            });
        }
        for warning in self.warnings() {
            tell(Event::Warning(warning));
        }
        // Before there is something that would be left.
        let signals = blocked().map_err(LaunchError::system("block signals"))?;
        let instance = self.claim(tell)?;
        let outcome = self.run(&signals, instance.as_ref(), overseer, tell);
        if let Some(instance) = instance
            && let Err(error) = self.leave(instance)
        {
            tell(Event::Warning(with_causes(&error)));
        }
        outcome
    }

    /// A directory for it, when its uid is free.
    fn claim(&self, tell: &mut dyn FnMut(Event)) -> Result<Option<Instance>, LaunchError> {
        if !geteuid().is_root() {
            tell(Event::Warning(
                "not root: `list`, `seal` and `audit` do not know of it".into(),
            ));
            return Ok(None);
        }
        if self.reaped().is_some() && takes_ptrace() {
            tell(Event::Warning(
                "/proc is mounted with hidepid, for a group that is not root's or for all: the uid \
                 is not reaped at the end, but before its next program starts, or by `dm-restrict \
                 reap`; `mount -o remount,hidepid=invisible,gid=0 /proc`"
                    .into(),
            ));
        }
        let turn = Turn::wait(&self.key())?;
        if turn.live()?.is_empty() {
            self.reap()?;
        }
        turn.claim(&self.instance()).map(Some)
    }

    /// The opposite; the last one ends all that its uid has.
    fn leave(&self, instance: Instance) -> Result<(), LaunchError> {
        let turn = Turn::wait(instance.key())?;
        drop(instance);
        if turn.live()?.is_empty() {
            self.reap()?;
        }
        Ok(())
    }

    /// Whose uid is the guest's alone.
    fn reaped(&self) -> Option<&Identity> {
        let identity = self.identity.as_ref();
        identity.filter(|identity| identity.is_exclusive())
    }

    fn reap(&self) -> Result<(), LaunchError> {
        let Some(identity) = self.reaped() else {
            return Ok(());
        };
        Reaper::new(identity, &UserDb::from_system()?, RUN_DIR)?.leave_none()?;
        Ok(())
    }

    fn run(
        &mut self,
        signals: &SignalFd,
        instance: Option<&Instance>,
        overseer: &mut dyn Overseer,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Ended, LaunchError> {
        if geteuid().is_root() {
            // Before there is something that it could not end.
            let more = match self.launch.qemu {
                Some(_) => UNTIL_REDEEMED,
                None => 0,
            };
            capabilities::have(KEPT | UNTIL_SEALED | more, "the supervisor")?;
        }
        let listeners = self.listeners()?;
        let mut started = self.start()?;
        if started.leaf.as_ref().is_some_and(|leaf| !leaf.shares_cpu()) {
            tell(Event::Warning(NO_CPU.into()));
        }
        let mut record = self.record(&started)?;
        let control = match instance {
            Some(instance) => {
                instance.write(&record)?;
                Some(Control::new(instance.listen()?))
            }
            None => None,
        };
        let listener = started.listener.take();
        let notifier = listener.map(|fd| match &self.launch.qemu {
            Some(_) => {
                let given = preload::given(&self.launch);
                Notifier::of_qemu(fd, self.launch.guest, given, listeners)
            }
            None => Notifier::new(fd, self.launch.mapping),
        });
        let notifier = notifier.transpose();
        let notifier = notifier.map_err(LaunchError::system("listen to the filter"))?;
        let guest = self.guest_life(&started)?;
        let promise = Promise::of(self, &record, &mut started);

        // From here on the program is prepared, and this process needs little.
        tell(Event::Prepared { pid: record.pid });
        overseer.prepared(record.pid)?;
        let looks = notifier.is_some() && !record.sealed;
        let until_sealed = match (looks, promise.is_some()) {
            (true, true) => UNTIL_SEALED | UNTIL_REDEEMED,
            (true, false) => UNTIL_SEALED,
            (false, _) => 0,
        };
        match shrink(KEPT | until_sealed) {
            Err(error) if self.launch.without.contains(&Mechanism::Capabilities) => {
                tell(Event::Warning(format!(
                    "the supervisor keeps its own: {error}"
                )));
            }
            other => other?,
        }
        let after = match self.launch.seal {
            SealAt::After(time) => Some(time),
            SealAt::Start => None,
        };
        let mut sealing = Sealing::new(notifier, after, record.sealed);
        wire::go(started.status.as_fd()).map_err(|errno| system("let the program go", errno))?;
        sealing.serve_until(started.status.as_fd());
        match wire::listen(started.status.as_fd()) {
            Ok(None) => {}
            Ok(Some((message, _))) => return Err(self.failed(message)),
            Err(errno) => return Err(system("hear from the child", errno)),
        }
        tell(Event::Started { pid: record.pid });
        overseer.started();

        let watch = Watch {
            started: &mut started,
            instance,
            record: &mut record,
            control,
            sealing,
            promise,
            broken: false,
            heard: ToPassOn::default(),
            log_denied: self.launch.log_denied,
            guest,
            look_at_guest: Instant::now() + GUEST,
            overseer,
            tell,
        };
        Ok(watch.until_ended(signals))
    }

    /// By a handle restricted like the program's: that one, or the supervisor's own.
    fn guest_life(&self, started: &Started) -> Result<Option<GuestLife>, LaunchError> {
        let Some(guest) = self.launch.guest else {
            return Ok(None);
        };
        let privcmd = match &started.privcmd {
            Some(fd) => {
                let fd = fd
                    .try_clone()
                    .map_err(LaunchError::system("duplicate a handle"))?;
                Some(PrivCmd::from_fd(fd, guest)?)
            }
            // With nothing of Xen's, nothing of a domain's outlives it.
            None if self.launch.devices.is_empty() && self.launch.qemu.is_none() => None,
            None => Some(PrivCmd::open()?.restrict(guest)?),
        };
        Ok(Some(GuestLife::new(guest, privcmd)))
    }
}

/// Blocks the signals that are passed on, and SIGCHLD; they are read here.
fn blocked() -> io::Result<SignalFd> {
    let mut signals = signals::passed_on();
    signals.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    // With a limit of file sizes a message is not worth an end.
    let mut ignored = SigSet::empty();
    ignored.add(Signal::SIGXFSZ);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ignored), None)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&signals, flags)?)
}

/// Once nobody has to be looked at any more.
pub(crate) fn shrink_after_sealing() -> Result<(), MechanismError> {
    match geteuid().is_root() {
        true => capabilities::keep(KEPT),
        false => Ok(()),
    }
}

/// Gives up all privileges but these, for good.
fn shrink(keep: u64) -> Result<(), LaunchError> {
    if geteuid().is_root() {
        capabilities::give_up_for_good()?;
        capabilities::keep(keep)?;
    }
    Ok(())
}

fn system(what: &'static str, errno: Errno) -> LaunchError {
    LaunchError::System {
        what,
        source: errno.into(),
    }
}
