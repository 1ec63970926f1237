// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client and its broker in this process, with no kernel behind them, for `benches/`.
#![allow(clippy::missing_panics_doc, reason = "a bench fails by panicking")]

use std::{
    os::fd::AsFd,
    thread::{self, JoinHandle},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
};

use super::{Broker, Client, Ready, Shared, nothing::Nothing};
use crate::{
    guest_copy::{GrantOffset, GuestCopy},
    ids::{GrantRef, GuestId},
};

const QUOTA: u32 = 4096;

/// A conversation; it ends when this is dropped.
#[derive(Debug)]
pub struct Brokered {
    client: Option<Client>,
    broker: Option<JoinHandle<()>>,
}

impl Brokered {
    /// The broker has a thread of its own, which waits as a supervisor does.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it starts a thread")]
    pub fn new() -> Self {
        let kind = SockType::SeqPacket;
        let pair = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) = pair.expect("there are sockets");
        let shared = Shared::new().expect("there are memory files");
        let memory = shared.map().expect("there is memory");
        let waits = ours.try_clone().expect("there are descriptors");
        let mut broker = Broker::new(Nothing::default(), GuestId::MIN, QUOTA, ours, memory);
        let ready = Ready {
            released: true,
            socket: true,
        };
        let broker = thread::spawn(move || {
            let mut fds = [PollFd::new(waits.as_fd(), PollFlags::POLLIN)];
            while poll(&mut fds, PollTimeout::NONE).is_ok() && broker.advance(ready).is_ok() {}
        });
        let client = Client::connect(theirs, &shared, GuestId::MIN).expect("it answers");
        Self {
            client: Some(client),
            broker: Some(broker),
        }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("there until it is dropped")
    }

    /// A question, and a word that nobody answers.
    pub fn map_and_unmap(&self, grants: &[GrantRef]) {
        let index = self.client().map(grants).expect("within the quota");
        let pages = u32::try_from(grants.len()).expect("within the quota");
        self.client().unmap(index, pages);
    }

    /// A page's bytes at most.
    pub fn copy(&self, into: &mut [u8]) {
        let place = GrantOffset {
            grant: GrantRef::new(8),
            offset: 0,
        };
        let copy = GuestCopy::read(place, into).expect("within a page");
        self.client().copy(&mut [copy]).expect("it is answered");
    }
}

impl Drop for Brokered {
    fn drop(&mut self) {
        self.client = None;
        if let Some(broker) = self.broker.take() {
            let _ = broker.join();
        }
    }
}
