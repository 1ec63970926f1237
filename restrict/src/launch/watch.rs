// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor while the program runs: one loop over all that can happen.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        signalfd::SignalFd,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};

use super::{
    control::Control,
    guest_life::GuestLife,
    instance::Instance,
    no_store::MOST_CONNECTIONS,
    notify::{self, ToPassOn},
    overseer::Overseer,
    qemu::Promise,
    record::Record,
    sealing::{Outcome, Sealing},
    start::Started,
    supervise::{Ended, Event, shrink_after_sealing},
    with_causes,
};
use crate::{
    broker::{Broker, Closed, Ready},
    confine::{Mechanism, notify::Served},
};

/// How often it is looked whether the guest is there.
pub(super) const GUEST: Duration = Duration::from_secs(1);

/// What there can be to wait for: signals, two of the program's output, two for grants, the
/// filter, what it says of itself, nine for control, and what a QEMU takes for xenstored.
const MOST_FDS: usize = 16 + MOST_CONNECTIONS;

/// Whose a descriptor is that is waited for.
#[derive(Clone, Copy)]
enum Source {
    Released,
    Grants,
    Signals,
    Output,
    Filter,
    Store,
    Said,
    Control,
}

/// Who has something to do.
#[derive(Default)]
struct Due {
    grants: Ready,
    signals: bool,
    output: bool,
    filter: bool,
    store: bool,
    said: bool,
    control: bool,
    /// Whether anybody but the broker has, or it is time.
    others: bool,
}

impl Due {
    /// All but the broker, which takes its word for it.
    const OTHERS: Self = Self {
        grants: Ready {
            released: false,
            socket: false,
        },
        signals: true,
        output: true,
        filter: true,
        store: true,
        said: true,
        control: true,
        others: true,
    };
}

/// The supervisor's state while the program runs.
pub(crate) struct Watch<'a> {
    pub(crate) started: &'a mut Started,
    pub(crate) instance: Option<&'a Instance>,
    pub(crate) record: &'a mut Record,
    pub(crate) control: Option<Control>,
    pub(crate) sealing: Sealing,
    /// Of a QEMU that has not given root up yet.
    pub(crate) promise: Option<Promise>,
    /// It did not keep it: it has been killed, whatever is asked of it meanwhile.
    pub(crate) broken: bool,
    pub(crate) heard: ToPassOn,
    pub(crate) log_denied: bool,
    pub(crate) guest: Option<GuestLife>,
    pub(crate) look_at_guest: Instant,
    pub(crate) overseer: &'a mut dyn Overseer,
    pub(crate) tell: &'a mut dyn FnMut(Event),
}

impl Watch<'_> {
    pub(crate) fn until_ended(mut self, signals: &SignalFd) -> Ended {
        // It can be that nobody can be asked any more.
        self.serve(&Due::default());
        let ended = loop {
            let due = self.wait(signals);
            self.serve_grants(due.grants);
            if !due.others {
                continue;
            }
            if due.signals
                && let Some(ended) = self.signals(signals)
            {
                break ended;
            }
            self.serve(&due);
            if due.output {
                for relay in &mut self.started.relays {
                    relay.advance();
                }
            }
            self.hear(due.said);
            self.seal(due.control);
            // Nobody is to rely on its being ready before it is sealed.
            if !self.sealing.is_unsettled() {
                self.heard.pass_on();
            }
            self.look_at_guest();
        };
        self.started.processes.end();
        if let Some(mut broker) = self.started.broker.take() {
            broker.finish();
        }
        if let Some(control) = &mut self.control {
            control.answer(&Err("the program ended before it was sealed".into()));
        }
        for relay in &mut self.started.relays {
            relay.finish();
        }
        self.leave_cgroup();
        ended
    }

    /// Until there is something to do. Nothing is allocated: each request for grants comes by
    /// way of here.
    fn wait(&self, signals: &SignalFd) -> Due {
        let readable = |fd| (fd, PollFlags::POLLIN);
        let of = |source: Source| move |fd| (source, fd);
        let grants = self.started.broker.iter().flat_map(Broker::fds);
        let grants = [Source::Released, Source::Grants].into_iter().zip(grants);
        let relays = self.started.relays.iter().filter_map(|relay| relay.wants());
        let filter = self.sealing.fd().map(readable);
        let notify = self.started.notify.iter();
        let notify = notify.map(|socket| readable(socket.as_fd()));
        let control = self.control.iter().flat_map(Control::fds).map(readable);
        let mut all = grants
            .chain([(Source::Signals, readable(signals.as_fd()))])
            .chain(relays.map(of(Source::Output)))
            .chain(filter.map(of(Source::Filter)))
            .chain(self.sealing.wants().map(of(Source::Store)))
            .chain(notify.map(of(Source::Said)))
            .chain(control.map(of(Source::Control)));
        let (mut sources, mut used) = ([Source::Signals; MOST_FDS], 0);
        let mut fds: [_; MOST_FDS] = std::array::from_fn(|at| match all.next() {
            Some((source, (fd, flags))) => {
                (sources[at], used) = (source, at + 1);
                PollFd::new(fd, flags)
            }
            None => PollFd::new(signals.as_fd(), PollFlags::empty()),
        });
        let fds = fds.get_mut(..used).unwrap_or_default();

        let guest = self.guest.as_ref().map(|_| self.look_at_guest);
        let next = [self.sealing.next(), guest].into_iter().flatten().min();
        let timeout = next.map_or(PollTimeout::NONE, |at| {
            // Rounded up, or it would wake too early and again.
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let Ok(woken) = poll(fds, timeout) else {
            // What is wrong shows again when it is used, or was a signal.
            return Due::OTHERS;
        };
        let mut due = Due::default();
        for (source, fd) in sources.iter().zip(fds) {
            let has_some = fd.any().unwrap_or(true);
            let wakes = match source {
                Source::Released => &mut due.grants.released,
                Source::Grants => &mut due.grants.socket,
                Source::Signals => &mut due.signals,
                Source::Output => &mut due.output,
                Source::Filter => &mut due.filter,
                Source::Store => &mut due.store,
                Source::Said => &mut due.said,
                Source::Control => &mut due.control,
            };
            *wakes |= has_some;
            due.others |= has_some && !matches!(source, Source::Released | Source::Grants);
        }
        if woken == 0 || next.is_some_and(|at| at <= Instant::now()) {
            (due.signals, due.others) = (true, true);
        }
        due
    }

    /// Answers the program's requests for grants.
    fn serve_grants(&mut self, ready: Ready) {
        if let Some(broker) = &mut self.started.broker
            && let Err(closed) = broker.advance(ready)
            && closed != Closed::ByProgram
        {
            (self.tell)(Event::Warning(format!(
                "grants are not served any more: {closed}"
            )));
        }
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
        if !self.overseer.agrees() {
            // A child that was not waited for: the number is nobody else's.
            let _ = kill(program, Signal::SIGKILL);
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

    /// Answers the filter, and as xenstored.
    fn serve(&mut self, due: &Due) {
        let looked = self.sealing.may_look();
        if due.store {
            self.sealing.serve_store();
        }
        let served = match due.filter {
            true => self.sealing.serve(),
            false => Ok(Served::Answered),
        };
        match served {
            // Only who asked for it: the program can make any number of them.
            Ok(Served::Refused(denial)) if self.log_denied => {
                (self.tell)(Event::Denied(denial.to_string()));
            }
            // It waits until it was looked at.
            Ok(Served::Held) => {
                let outcome = self.sealing.begin();
                self.told(outcome);
            }
            Ok(_) => {}
            Err(error) => (self.tell)(Event::Warning(format!("the filter's listener: {error}"))),
        }
        if self.promise.is_some() && self.sealing.is_lost() {
            self.end("nobody can be asked any more whether QEMU gives root up");
        }
        if looked && !self.sealing.may_look() {
            self.shrink();
        }
    }

    fn hear(&mut self, said: bool) {
        if let (Some(socket), true) = (&self.started.notify, said) {
            let heard = notify::hear(socket);
            self.heard.add(heard);
            if heard.ready || heard.sealed {
                let outcome = self.sealing.begin();
                self.told(outcome);
            }
        }
    }

    /// Somebody wants it sealed, or it is time, or it is done.
    fn seal(&mut self, control: bool) {
        let ordered = control && self.control.as_mut().is_some_and(Control::advance);
        let outcome = match ordered {
            true => self.sealing.begin(),
            false => self.sealing.advance(),
        };
        self.told(outcome);
    }

    fn told(&mut self, outcome: Option<Outcome>) {
        let answer = match outcome {
            None => return,
            Some(Outcome::Sealed) if self.record.sealed => Ok(()),
            Some(Outcome::Sealed) if self.broken => Err("the program is ended".to_owned()),
            Some(Outcome::Sealed) if !self.redeemed() => return,
            Some(Outcome::Sealed) => {
                self.record.sealed = true;
                self.write_down();
                self.shrink();
                (self.tell)(Event::Sealed);
                Ok(())
            }
            Some(Outcome::Late(threads)) => {
                let reason = format!(
                    "new requests of the set-up phase are refused, but thread {threads} is still \
                     in one, or runs without a pause"
                );
                (self.tell)(Event::NotSealed(reason.clone()));
                if self.promise.is_some() {
                    self.end("it was to be sealed when it has given root up");
                }
                Err(reason)
            }
            Some(Outcome::Nothing) => Err(format!(
                "there is nothing to seal: it runs without {}",
                Mechanism::XenRequests
            )),
        };
        if let Some(control) = &mut self.control {
            control.answer(&answer);
        }
    }

    /// Whether a QEMU that was to give root up has done so; it is ended if not.
    fn redeemed(&mut self) -> bool {
        let Some(promise) = self.promise.take() else {
            return true;
        };
        let redeemed = promise.redeem().map_err(|error| error.to_string());
        let answered = redeemed.and_then(|()| {
            let released = self.sealing.release();
            released.map_err(|error| format!("the filter's listener: {error}"))
        });
        answered.map_err(|reason| self.end(&reason)).is_ok()
    }

    fn end(&mut self, reason: &str) {
        (self.tell)(Event::Warning(format!("{reason}: the program is ended")));
        self.promise = None;
        self.broken = true;
        if let Some(program) = self.started.processes.program {
            // A child that was not waited for: the number is nobody else's.
            let _ = kill(program, Signal::SIGKILL);
        }
    }

    fn shrink(&mut self) {
        if let Err(error) = shrink_after_sealing() {
            (self.tell)(Event::Warning(error.to_string()));
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
