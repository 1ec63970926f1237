// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stays outside while the program runs: it passes on signals and output, seals
//! the program, and sees to it that nothing is left of it.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt as _,
    },
    process::ExitStatus,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigmaskHow, Signal, kill, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::geteuid,
};

use super::{
    control::Control,
    error::LaunchError,
    guest_life::GuestLife,
    instance::{Instance, RUN_DIR, Turn},
    notify,
    options::SealAt,
    plan::Plan,
    record::Record,
    signals,
    start::Started,
    wire, with_causes,
};
use crate::{
    GuestId, PrivCmd,
    confine::{
        Mechanism, Reaper, UserDb,
        capabilities::{self, bit},
        notify::Notifier,
    },
};

/// Of `linux/capability.h`.
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_KILL: u32 = 5;
const CAP_SETUID: u32 = 7;
const CAP_SYS_PTRACE: u32 = 19;
/// What the supervisor keeps: to signal the program, and to reap its uid.
const KEPT: u64 = bit(CAP_KILL) | bit(CAP_SETUID);
/// Until it is sealed: to see in /proc, in files that are the program's, whether a thread
/// is still in a request.
const UNTIL_SEALED: u64 = bit(CAP_DAC_READ_SEARCH) | bit(CAP_SYS_PTRACE);

/// How long sealing waits for requests that are under way.
const SEALING: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often it is looked whether the guest is there.
const GUEST: Duration = Duration::from_secs(1);

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
        let threads = fs::read_dir("/proc/self/task")
            .map_err(LaunchError::system("count the supervisor's threads"))?
            .count();
        if threads != 1 {
            return Err(LaunchError::Threads(threads));
        }
        signals::children_leave_a_status()
            .map_err(LaunchError::system("have children leave a status"))?;
        for warning in self.warnings() {
            tell(Event::Warning(warning));
        }
        // Before there is something that would be left.
        let signals = blocked().map_err(LaunchError::system("block signals"))?;
        let instance = self.claim(tell)?;
        let outcome = self.run(&signals, instance.as_ref(), tell);
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

    /// Of a uid that is the guest's alone.
    fn reap(&self) -> Result<(), LaunchError> {
        let Some(identity) = self
            .identity
            .as_ref()
            .filter(|identity| identity.is_exclusive())
        else {
            return Ok(());
        };
        Reaper::new(identity, &UserDb::from_system()?, RUN_DIR)?.reap()?;
        Ok(())
    }

    fn run(
        &self,
        signals: &SignalFd,
        instance: Option<&Instance>,
        tell: &mut dyn FnMut(Event),
    ) -> Result<Ended, LaunchError> {
        if geteuid().is_root() {
            // Before there is something that it could not end.
            capabilities::have(KEPT | UNTIL_SEALED, "the supervisor")?;
        }
        let mut started = self.start()?;
        let mut record = self.record(&started)?;
        let control = match instance {
            Some(instance) => {
                instance.write(&record)?;
                Some(Control::new(instance.listen()?))
            }
            None => None,
        };
        let notifier = started.listener.take().map(Notifier::new).transpose();
        let notifier = notifier.map_err(LaunchError::system("listen to the filter"))?;
        let guest = self.guest_life(&started)?;

        // From here on the program is prepared, and this process needs little.
        tell(Event::Prepared { pid: record.pid });
        let until_sealed = if notifier.is_some() { UNTIL_SEALED } else { 0 };
        match shrink(KEPT | until_sealed) {
            Err(error) if self.launch.without.contains(&Mechanism::Capabilities) => {
                tell(Event::Warning(format!(
                    "the supervisor keeps its own: {error}"
                )));
            }
            other => other?,
        }
        wire::go(started.status.as_fd()).map_err(|errno| system("let the program go", errno))?;
        match wire::listen(started.status.as_fd()) {
            Ok(None) => {}
            Ok(Some((message, _))) => return Err(self.failed(message)),
            Err(errno) => return Err(system("hear from the child", errno)),
        }
        tell(Event::Started { pid: record.pid });

        let seal_at = match self.launch.seal {
            SealAt::After(time) if notifier.is_some() => Instant::now().checked_add(time),
            _ => None,
        };
        let watch = Watch {
            started: &mut started,
            instance,
            record: &mut record,
            control,
            notifier,
            log_denied: self.launch.log_denied,
            seal_at,
            sealing: None,
            guest,
            look_at_guest: Instant::now() + GUEST,
            tell,
        };
        Ok(watch.until_ended(signals))
    }

    /// By a handle of the supervisor's own, restricted like the program's.
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
            None => None,
        };
        Ok(Some(GuestLife::new(guest, privcmd)))
    }
}

/// Blocks the signals that are passed on, and SIGCHLD; they are read here.
fn blocked() -> io::Result<SignalFd> {
    let mut signals = signals::passed_on();
    signals.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&signals, flags)?)
}

/// Gives up all privileges but these, for good.
fn shrink(keep: u64) -> Result<(), LaunchError> {
    if geteuid().is_root() {
        capabilities::give_up_for_good()?;
        capabilities::keep(keep)?;
    }
    Ok(())
}

/// The supervisor's state while the program runs.
struct Watch<'a> {
    started: &'a mut Started,
    instance: Option<&'a Instance>,
    record: &'a mut Record,
    control: Option<Control>,
    notifier: Option<Notifier>,
    log_denied: bool,
    seal_at: Option<Instant>,
    /// When it is given up to wait for requests that are under way.
    sealing: Option<Instant>,
    guest: Option<GuestLife>,
    look_at_guest: Instant,
    tell: &'a mut dyn FnMut(Event),
}

impl Watch<'_> {
    fn until_ended(mut self, signals: &SignalFd) -> Ended {
        let ended = loop {
            self.wait(signals);
            if let Some(ended) = self.signals(signals) {
                break ended;
            }
            self.serve();
            for relay in &mut self.started.relays {
                relay.advance();
            }
            self.hear();
            if self.control.as_mut().is_some_and(Control::advance) {
                self.begin_to_seal();
            }
            self.seal_in_time();
            self.look_at_guest();
        };
        self.started.processes.end();
        if let Some(control) = &mut self.control {
            control.answer(&Err("the program ended before it was sealed".into()));
        }
        for relay in &mut self.started.relays {
            relay.finish();
        }
        self.leave_cgroup();
        ended
    }

    /// Until there is something to do.
    fn wait(&self, signals: &SignalFd) {
        let mut fds: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(signals.as_fd(), PollFlags::POLLIN)];
        let readable = |fd| (fd, PollFlags::POLLIN);
        fds.extend(self.started.relays.iter().filter_map(|relay| relay.wants()));
        fds.extend(
            self.notifier
                .as_ref()
                .map(|notifier| readable(notifier.as_fd())),
        );
        fds.extend(
            self.started
                .notify
                .as_ref()
                .map(|socket| readable(socket.as_fd())),
        );
        fds.extend(self.control.iter().flat_map(Control::fds).map(readable));
        let mut fds: Vec<_> = fds
            .into_iter()
            .map(|(fd, flags)| PollFd::new(fd, flags))
            .collect();

        let again = self.sealing.map(|_| Instant::now() + LOOK_AGAIN);
        let guest = self.guest.as_ref().map(|_| self.look_at_guest);
        let next = [self.seal_at, again, guest].into_iter().flatten().min();
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            // Rounded up, or it would wake too early and again.
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        // An error shows again in what follows, or was a signal.
        let _ = poll(&mut fds, timeout);
    }

    /// Passes signals on; the status when the program has ended.
    fn signals(&mut self, signals: &SignalFd) -> Option<Ended> {
        let program = self.started.processes.program?;
        while let Ok(Some(info)) = signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if let Ok(signal) = Signal::try_from(number)
                && signal != Signal::SIGCHLD
                && let Err(errno) = kill(program, signal)
            {
                (self.tell)(Event::Warning(format!("cannot pass {signal} on: {errno}")));
            }
        }
        let ended = match waitpid(program, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => {
                Ended::Exited(u8::try_from(code & 0xff).unwrap_or(255))
            }
            Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Killed(signal as i32),
            Ok(_) | Err(Errno::EINTR) => return None,
            // It was our child until it was waited for, which is done here alone.
            Err(_) => Ended::Exited(255),
        };
        self.started.processes.program = None;
        Some(ended)
    }

    /// Answers the filter.
    fn serve(&mut self) {
        let Some(notifier) = &mut self.notifier else {
            return;
        };
        match notifier.serve() {
            // Waiting for it would not wait.
            Ok(None) if notifier.is_over() => self.notifier = None,
            Ok(None) => {}
            // Only who asked for it: the program can make any number of them.
            Ok(Some(denial)) if self.log_denied => (self.tell)(Event::Denied(denial.to_string())),
            Ok(Some(_)) => {}
            Err(error) => {
                // What it would have been asked is refused from here on.
                (self.tell)(Event::Warning(format!("the filter's listener: {error}")));
                self.notifier = None;
            }
        }
    }

    fn hear(&mut self) {
        let Some(socket) = &self.started.notify else {
            return;
        };
        let heard = notify::hear(socket);
        if heard.ready || heard.sealed {
            // Before anybody relies on its being ready.
            self.begin_to_seal();
        }
        notify::pass_on(heard);
    }

    fn begin_to_seal(&mut self) {
        self.seal_at = None;
        match &mut self.notifier {
            Some(notifier) if !notifier.is_sealed() => {
                notifier.seal();
                self.sealing = Instant::now().checked_add(SEALING);
            }
            Some(_) if self.sealing.is_some() => {}
            _ => self.answer_sealed(),
        }
        self.finish_sealing();
    }

    fn seal_in_time(&mut self) {
        if self.seal_at.is_some_and(|at| at <= Instant::now()) {
            self.begin_to_seal();
        }
        self.finish_sealing();
    }

    /// Done when no thread is in a request that was let through.
    fn finish_sealing(&mut self) {
        let (Some(deadline), Some(notifier)) = (self.sealing, &mut self.notifier) else {
            return;
        };
        let inside = notifier.in_flight();
        if inside.is_empty() {
            self.sealing = None;
            self.record.sealed = true;
            self.write_down();
            if let Err(error) = shrink_after_sealing() {
                (self.tell)(Event::Warning(error.to_string()));
            }
            (self.tell)(Event::Sealed);
            self.answer_sealed();
        } else if deadline <= Instant::now() {
            self.sealing = None;
            let threads: Vec<_> = inside.iter().map(ToString::to_string).collect();
            let reason = format!(
                "new requests of the set-up phase are refused, but thread {} is still in one",
                threads.join(", ")
            );
            (self.tell)(Event::NotSealed(reason.clone()));
            if let Some(control) = &mut self.control {
                control.answer(&Err(reason));
            }
        }
    }

    fn answer_sealed(&mut self) {
        let outcome = match self.record.sealed {
            true => Ok(()),
            false => Err(format!(
                "there is nothing to seal: it runs without {}",
                Mechanism::XenRequests
            )),
        };
        if let Some(control) = &mut self.control {
            control.answer(&outcome);
        }
    }

    fn write_down(&mut self) {
        if let Some(instance) = self.instance
            && let Err(error) = instance.write(self.record)
        {
            (self.tell)(Event::Warning(with_causes(&error)));
        }
    }

    /// A domid is used again: the program must not outlive its domain.
    fn look_at_guest(&mut self) {
        let Some(life) = &mut self.guest else {
            return;
        };
        if self.look_at_guest > Instant::now() {
            return;
        }
        self.look_at_guest = Instant::now() + GUEST;
        if life.is_gone() {
            (self.tell)(Event::GuestGone(life.guest()));
            self.guest = None;
            if let Some(program) = self.started.processes.program {
                let _ = kill(program, Signal::SIGKILL);
            }
        }
    }

    fn leave_cgroup(&mut self) {
        let Some(leaf) = self.started.leaf.take() else {
            return;
        };
        if leaf.oom_kills().is_ok_and(|kills| kills > 0) {
            let message =
                "it used more memory than its control group has: raise --cgroup memory.max";
            (self.tell)(Event::Warning(message.into()));
        }
        let left = leaf.kill().and_then(|_| leaf.remove());
        if let Err(error) = left {
            (self.tell)(Event::Warning(error.to_string()));
        }
    }
}

fn shrink_after_sealing() -> Result<(), crate::confine::MechanismError> {
    match geteuid().is_root() {
        true => capabilities::keep(KEPT),
        false => Ok(()),
    }
}

fn system(what: &'static str, errno: Errno) -> LaunchError {
    LaunchError::System {
        what,
        source: errno.into(),
    }
}
