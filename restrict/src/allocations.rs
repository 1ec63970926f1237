// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allocations of the calling thread, counted: what is done for each request makes none.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
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

/// Since the thread began.
pub(crate) fn so_far() -> u64 {
    ALLOCATIONS.get()
}

/// How many `work` makes.
pub(crate) fn of(work: impl FnOnce()) -> u64 {
    let before = so_far();
    work();
    so_far() - before
}

#[cfg(test)]
mod tests {
    use std::{fs::File, hint::black_box, time::Duration};

    use xen_sys::ioreq::{BufIoreq, Ioreq};

    use crate::{
        EventChannel, Port, SharedMemory, guest::with_errors, io_request, mmap::Mmap,
        state::Unrestricted,
    };

    use super::of;

    fn page() -> SharedMemory {
        SharedMemory::whole(Mmap::anonymous(1).unwrap())
    }

    #[test]
    fn the_counter_counts() {
        assert_eq!(of(|| drop(black_box(Box::new(1)))), 1);
    }

    #[test]
    fn no_copy_in_or_out_of_shared_memory_allocates() {
        let memory = page();
        let mut bytes = [7; 4096];
        let copies = || {
            for length in [1, 4, 8, 64, 4096] {
                memory.write(0, &bytes[..length]).unwrap();
                memory.read(0, &mut bytes[..length]).unwrap();
            }
            memory.fetch_or(4095, 1).unwrap();
            memory.read(1, &mut bytes).unwrap_err();
        };
        assert_eq!(of(copies), 0);
    }

    #[test]
    fn no_request_of_a_guest_allocates() {
        let slots = page();
        let queue = page();
        let request = Ioreq {
            flags: 0x41,
            ..Ioreq::default()
        };
        let entry = BufIoreq::new(0, false, 3, 0x500, 7).unwrap();
        let mut seen = 0;
        let served = || {
            for vcpu in 0..64 {
                slots.set(vcpu * 32, &request).unwrap();
                assert!(io_request::answer_slot(&slots, vcpu, |_| 5));
            }
            for at in 0..511 {
                queue.set(8 + 8 * at, &entry).unwrap();
            }
            queue.set(4, &510_u32).unwrap();
            seen = io_request::drain(&queue, |_| ()).unwrap();
        };
        assert_eq!(of(served), 0);
        assert_eq!(seen, 255);
    }

    #[test]
    fn a_mapping_allocates_at_most_the_first_time() {
        let room = |pages| {
            of(|| {
                with_errors(pages, |errors| {
                    assert!(errors.len() == pages && errors.iter().all(|error| *error == 0));
                    errors.fill(-1);
                });
            })
        };
        assert_eq!([1, 64, 65_536, 65, 65_536].map(room), [0, 0, 1, 0, 0]);
        // So much is not kept.
        assert_eq!([65_537, 65_537, 65].map(room), [1, 1, 1]);
    }

    /// /dev/zero has port 0 pending as often as is asked, and takes what is unmasked.
    #[test]
    fn no_event_allocates() {
        let zero = File::options().read(true).write(true).open("/dev/zero");
        let events = EventChannel::<Unrestricted>::over(zero.unwrap().into());
        let mut queue = [Port::new(1); 64];
        let handled = || {
            let pending = events.pending(&mut queue).unwrap();
            assert_eq!(pending, [Port::new(0); 64]);
            events.unmask(pending).unwrap();
        };
        assert_eq!(of(handled), 0);
        // The first makes the bell, which is an eventfd.
        let waited = || assert!(events.wait(Duration::ZERO).unwrap());
        assert_eq!(of(waited), 0);
    }
}
