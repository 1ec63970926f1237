// SPDX-License-Identifier: MIT OR Apache-2.0
//! No request allocates, on either side: counted, not timed.

use std::thread;

use xen_sys::gntdev;

use super::{
    super::{Client, nothing::Nothing},
    *,
};
use crate::{
    allocations,
    guest_copy::{GrantOffset, GuestCopy},
    ids::GrantRef,
};

/// All that a client can ask for.
fn everything(client: &Client, refs: &[GrantRef], local: &mut [u8]) {
    let pages = u32::try_from(refs.len()).unwrap();
    let index = client.map(refs).unwrap();
    let notify = gntdev::UnmapNotify {
        index,
        action: 3,
        event_channel_port: 40,
    };
    client.notify(index, pages, &notify).unwrap();
    client.unmap(index, pages);
    let place = GrantOffset {
        grant: refs[0],
        offset: 0,
    };
    client
        .copy(&mut [GuestCopy::read(place, local).unwrap()])
        .unwrap();
}

#[test]
fn no_request_allocates() {
    let (ours, theirs) = pair();
    let shared = Shared::new().unwrap();
    let memory = shared.map().unwrap();
    let mut broker = Broker::new(Nothing::default(), GUEST, QUOTA, ours, memory);
    let refs: Vec<_> = (0..QUOTA / 2).map(GrantRef::new).collect();
    let mut local = [0; 4096];
    thread::scope(|scope| {
        let served = scope.spawn(move || {
            let before = allocations::so_far();
            while broker.advance(BOTH).is_ok() {
                thread::yield_now();
            }
            allocations::so_far() - before
        });
        let client = Client::connect(theirs, &shared, GUEST).unwrap();
        let before = allocations::so_far();
        for _ in 0..20 {
            everything(&client, &refs, &mut local);
        }
        assert_eq!(allocations::so_far() - before, 0, "the client");
        drop(client);
        assert_eq!(served.join().unwrap(), 0, "the broker");
    });
}
