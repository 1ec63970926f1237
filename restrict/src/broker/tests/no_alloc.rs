// SPDX-License-Identifier: MIT OR Apache-2.0
//! No request allocates, on either side: counted, not timed.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
    thread,
    time::Duration,
};

use xen_sys::gntdev::{self, GrantCopySegment, UnmapNotifyAction};

use super::{
    super::{Client, devices::Driver},
    *,
};
use crate::{
    guest_copy::{GrantOffset, GuestCopy},
    ids::GrantRef,
    mmap::Access,
};

thread_local! {
    /// Of this thread: others have their own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: each call is the system allocator's, with the same arguments; the
// counter is a `Cell` without destructor, which allocates nothing itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise about `layout` is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller got `ptr` from `alloc` above, which is System's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A kernel that says yes and keeps nothing.
#[derive(Default)]
struct Yes {
    next: u64,
    released: u32,
}

impl Driver for Yes {
    type Pages = ();

    fn map(&mut self, _: GuestId, grants: &[u32]) -> Result<u64, Errno> {
        self.next += 4096 * grants.len() as u64;
        Ok(self.next)
    }

    fn unmap(&mut self, _: u64, _: u32) -> Result<(), Errno> {
        Ok(())
    }

    fn mmap(&mut self, _: u64, _: Access) -> Result<(), Errno> {
        Ok(())
    }

    fn notify(&mut self, _: u64, _: UnmapNotifyAction, port: u32) -> Result<(), Errno> {
        self.released |= 1_u32.checked_shl(port).unwrap_or(0);
        Ok(())
    }

    unsafe fn copy(&mut self, segments: &mut [GrantCopySegment]) -> Result<(), Errno> {
        segments.iter_mut().for_each(|segment| segment.status = 0);
        Ok(())
    }

    fn send(&self, _: u32) -> Result<(), Errno> {
        Ok(())
    }

    fn slot_port(&self, slot: usize) -> u32 {
        u32::try_from(slot).unwrap()
    }

    fn released(&mut self) -> u32 {
        std::mem::take(&mut self.released)
    }

    fn wait_for_release(&mut self, _: Duration) -> u32 {
        self.released()
    }
}

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
    let mut broker = Broker::new(Yes::default(), GUEST, QUOTA, ours, memory);
    let refs: Vec<_> = (0..QUOTA / 2).map(GrantRef::new).collect();
    let mut local = [0; 4096];
    thread::scope(|scope| {
        let served = scope.spawn(move || {
            let before = ALLOCATIONS.get();
            while broker.advance(BOTH).is_ok() {
                thread::yield_now();
            }
            ALLOCATIONS.get() - before
        });
        let client = Client::connect(theirs, &shared, GUEST).unwrap();
        let before = ALLOCATIONS.get();
        for _ in 0..20 {
            everything(&client, &refs, &mut local);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "the client");
        drop(client);
        assert_eq!(served.join().unwrap(), 0, "the broker");
    });
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
