// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the guest is still there. A domid is used again, so its program must not
//! outlive it.
//!
//! Xen keeps a domain that was destroyed for as long as somebody has its memory mapped,
//! which is what a device model does. So the toolstack's word counts too: xenstored forgets
//! a domain as soon as it is destroyed.

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use crate::{GuestId, PrivCmd, Restricted, xenstore::Store};

/// How long an xenstored that gave no answer in time is let alone: who waits for it has other
/// duties.
const LET_ALONE: Duration = Duration::from_secs(60);

/// Watches one guest.
///
/// It ends a program only when something says that the guest was there and is not any more:
/// a toolstack introduces a guest to xenstored when it likes.
pub(crate) struct GuestLife {
    guest: GuestId,
    privcmd: Option<PrivCmd<Restricted>>,
    xenstored: Option<Store>,
    /// Where it is reached when it is not.
    connect: fn() -> io::Result<Store>,
    /// When it may be asked again.
    again: Instant,
    introduced: bool,
}

impl GuestLife {
    /// With a handle that is restricted to the guest, and xenstored, as soon and as often as
    /// it can be reached.
    pub(crate) fn new(guest: GuestId, privcmd: Option<PrivCmd<Restricted>>) -> Self {
        let mut life = Self {
            guest,
            privcmd,
            xenstored: None,
            connect: Store::connect,
            again: Instant::now(),
            introduced: false,
        };
        // Before the program starts: one that is gone by the next look was there.
        life.is_gone();
        life
    }

    pub(crate) fn guest(&self) -> GuestId {
        self.guest
    }

    /// Looks once. Where nothing tells, it is not gone.
    pub(crate) fn is_gone(&mut self) -> bool {
        // It may have been started anew since.
        if self.xenstored.is_none() && Instant::now() >= self.again {
            self.xenstored = (self.connect)().ok();
        }
        let introduced = self
            .xenstored
            .as_mut()
            .map(|store| store.is_introduced(self.guest));
        let forgotten = match introduced {
            Some(Ok(now)) => {
                let before = std::mem::replace(&mut self.introduced, now);
                before && !now
            }
            Some(Err(error)) => {
                self.xenstored = None;
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                    self.again = Instant::now() + LET_ALONE;
                }
                false
            }
            None => false,
        };
        let missing = self
            .privcmd
            .as_ref()
            .is_some_and(|handle| matches!(handle.guest().exists(), Ok(false)));
        forgotten || missing
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::xenstore::{self, IS_DOMAIN_INTRODUCED};

    /// Answers each question with the next of `texts`.
    fn played(texts: Vec<(u32, &'static [u8])>) -> GuestLife {
        let answers = texts
            .into_iter()
            .map(|(kind, text)| (kind, &b"7\0"[..], text));
        GuestLife {
            guest: GuestId::new(7).unwrap(),
            privcmd: None,
            xenstored: Some(xenstore::played(answers.collect())),
            connect: || Err(ErrorKind::NotFound.into()),
            again: Instant::now(),
            introduced: false,
        }
    }

    #[test]
    fn a_guest_is_gone_when_it_was_known_and_is_not_any_more() {
        let yes = (IS_DOMAIN_INTRODUCED, &b"T\0"[..]);
        let no = (IS_DOMAIN_INTRODUCED, &b"F\0"[..]);
        let mut life = played(vec![no, yes, yes, no]);
        let seen: Vec<_> = (0..4).map(|_| life.is_gone()).collect();
        assert_eq!(seen, [false, false, false, true]);
    }

    fn anew() -> io::Result<Store> {
        let played = played(vec![(IS_DOMAIN_INTRODUCED, b"F\0")]);
        Ok(played.xenstored.unwrap())
    }

    #[test]
    fn an_xenstored_that_was_slow_once_is_asked_again_later() {
        let (ours, _silent) = UnixStream::pair().unwrap();
        let short = Some(Duration::from_millis(10));
        ours.set_read_timeout(short).unwrap();
        let mut life = played(vec![]);
        life.xenstored = Some(ours.into());
        life.connect = anew;
        life.introduced = true;
        assert!(!life.is_gone() && !life.is_gone());
        assert!(life.again > Instant::now());
        life.again = Instant::now();
        assert!(life.is_gone());
    }

    #[test]
    fn an_xenstored_that_was_started_anew_is_asked() {
        let mut life = played(vec![(IS_DOMAIN_INTRODUCED, b"T\0")]);
        life.connect = anew;
        // Known; then the connection ends.
        assert!(!life.is_gone() && !life.is_gone());
        assert!(life.is_gone());
    }

    #[test]
    fn nonsense_and_silence_do_not_end_a_program() {
        for answer in [
            (16, &b"EINVAL\0"[..]),
            (IS_DOMAIN_INTRODUCED, b"X\0"),
            (IS_DOMAIN_INTRODUCED, b""),
        ] {
            let mut life = played(vec![(IS_DOMAIN_INTRODUCED, b"T\0"), answer]);
            assert!(!life.is_gone() && !life.is_gone() && !life.is_gone());
        }
    }
}
