// SPDX-License-Identifier: MIT OR Apache-2.0
//! From set-up to sealed: when, and whether it is done.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::no_store::NoStore;
use crate::confine::notify::{Notifier, Served};

/// How long requests that are under way are waited for before that is reported.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked, before and after.
const SOON: Duration = Duration::from_millis(10);
const LATER: Duration = Duration::from_secs(1);

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Sealed,
    /// Nothing new is let through, but these threads are in what was before.
    Late(String),
    /// The program runs without the filter.
    Nothing,
}

/// The program's phase, the filter's questions, and what is there in the first phase only.
pub(crate) struct Sealing {
    notifier: Option<Notifier>,
    state: State,
    /// When it is to be looked again whether requests are under way.
    look: Instant,
    store: NoStore,
}

#[derive(Clone, Copy)]
enum State {
    /// The filter was not loaded, or nobody can be asked any more.
    Nothing,
    /// Until this time at the latest.
    SetUp(Option<Instant>),
    /// Nothing is let through; something was. Reported if it takes until then.
    Waiting(Instant),
    Reported,
    Sealed,
}

impl Sealing {
    /// With the filter's listener, for a program that is to be sealed in so long; without,
    /// for one that was sealed before it started, or never can be.
    pub(crate) fn new(
        mut notifier: Option<Notifier>,
        after: Option<Duration>,
        sealed: bool,
    ) -> Self {
        let at = after.and_then(|after| Instant::now().checked_add(after));
        let state = match (&notifier, at) {
            (_, _) if sealed => State::Sealed,
            (Some(_), at) => State::SetUp(at),
            (None, _) => State::Nothing,
        };
        // A filter that names what it denies asks about requests of the set-up, too.
        if let (true, Some(notifier)) = (sealed, &mut notifier) {
            notifier.seal();
        }
        Self {
            notifier,
            state,
            look: Instant::now(),
            store: NoStore::default(),
        }
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.notifier.as_ref().map(AsFd::as_fd)
    }

    /// What it waits for besides.
    pub(crate) fn wants(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.store.wants()
    }

    /// When it is to be looked again.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self.state {
            State::SetUp(at) => at,
            State::Waiting(_) | State::Reported => Some(self.look),
            State::Nothing | State::Sealed => None,
        }
    }

    /// Whether requests may still be under way: nobody should rely on the program yet.
    pub(crate) fn is_unsettled(&self) -> bool {
        matches!(self.state, State::Waiting(_) | State::Reported)
    }

    /// Whether somebody may still have to be looked at.
    pub(crate) fn may_look(&self) -> bool {
        self.is_unsettled() || matches!(self.state, State::SetUp(_))
    }

    /// Whether nobody can be asked any more, and nothing was sealed.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state, State::Nothing)
    }

    /// Answers the filter's questions until there is something to read from `other`: the
    /// program's first call may be one of them.
    pub(crate) fn serve_until(&mut self, other: BorrowedFd<'_>) {
        loop {
            let mut fds = vec![PollFd::new(other, PollFlags::POLLIN)];
            fds.extend(self.fd().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            let polled = poll(&mut fds, PollTimeout::NONE);
            let heard = fds[0].any().unwrap_or(true);
            match polled {
                Err(Errno::EINTR) => {}
                Ok(_) if !heard => drop(self.serve()),
                // What is wrong with `other` shows when it is read.
                _ => return,
            }
        }
    }

    /// Answers the call that is held.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        self.notifier.as_mut().map_or(Ok(()), Notifier::release)
    }

    /// Answers in xenstored's place.
    pub(crate) fn serve_store(&mut self) {
        self.store.advance();
    }

    /// Answers one of the filter's questions. An error ends them: they are refused.
    pub(crate) fn serve(&mut self) -> io::Result<Served> {
        let Some(notifier) = &mut self.notifier else {
            return Ok(Served::Answered);
        };
        let served = notifier.serve();
        if let Some(connection) = notifier.take_connection() {
            self.store.add(connection);
        }
        if matches!(served, Err(_) | Ok(Served::Over)) {
            self.notifier = None;
            self.store = NoStore::default();
            if !matches!(self.state, State::Sealed) {
                self.state = State::Nothing;
            }
        }
        served
    }

    /// Somebody wants it sealed. What there is to tell at once.
    pub(crate) fn begin(&mut self) -> Option<Outcome> {
        let deadline = Instant::now() + PATIENCE;
        match (&mut self.notifier, self.state) {
            (Some(notifier), State::SetUp(_)) => {
                notifier.seal();
                self.store = NoStore::default();
                self.state = State::Waiting(deadline);
            }
            (_, State::Reported) => {
                self.state = State::Waiting(deadline);
                self.look = Instant::now();
            }
            (_, State::Waiting(_)) => {}
            (_, State::Sealed) => return Some(Outcome::Sealed),
            (None, State::SetUp(_)) | (_, State::Nothing) => return Some(Outcome::Nothing),
        }
        self.advance()
    }

    /// Looks whether it is time, and whether it is done.
    pub(crate) fn advance(&mut self) -> Option<Outcome> {
        if let State::SetUp(Some(at)) = self.state
            && at <= Instant::now()
        {
            return self.begin();
        }
        let unsettled = self.is_unsettled();
        let (Some(notifier), true) = (&mut self.notifier, unsettled) else {
            return None;
        };
        let now = Instant::now();
        if self.look > now && !notifier.none_in_flight() {
            return None;
        }
        let inside = notifier.in_flight();
        if inside.is_empty() {
            self.state = State::Sealed;
            return Some(Outcome::Sealed);
        }
        self.look = match self.state {
            State::Reported => now + LATER,
            _ => now + SOON,
        };
        match self.state {
            State::Waiting(deadline) if deadline <= now => {
                self.state = State::Reported;
                let threads: Vec<_> = inside.iter().map(ToString::to_string).collect();
                Some(Outcome::Late(threads.join(", ")))
            }
            _ => None,
        }
    }
}
