// SPDX-License-Identifier: MIT OR Apache-2.0
//! Encoding and decoding allocate nothing: counted, not timed.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    hint::black_box,
};

use xen_sys::{
    dm_op::{self, AnyOperation, Frame, InjectMsi},
    gntalloc::{AllocFlags, AllocGref},
    gntdev::{
        DmaFlags, DmabufExpFromRefs, DmabufImpToRefs, GrantCopyPtr, GrantCopySegment, MapGrantRef,
        MapGrantRefEntry,
    },
    ioreq::BufIoreq,
    list,
    privcmd::DmOpBuf,
};

thread_local! {
    /// Of this thread: the test harness has others.
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

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| drop(black_box(vec![0_u8; 100]))), 1);
}

#[test]
fn operations() {
    let count = allocations(|| {
        let msi = InjectMsi {
            data: 0x4041,
            addr: 0xFEE0_0000,
            ..InjectMsi::default()
        };
        let mut frame = black_box(Frame::new(&msi));
        frame.as_mut_bytes()[8] = 0x42;
        assert_eq!(frame.body().data, 0x4042);
        let found = dm_op::decode(frame.as_bytes());
        assert_eq!(found, Some(AnyOperation::InjectMsi(&frame.body())));
    });
    assert_eq!(count, 0);
}

#[test]
fn lists() {
    let entries = [MapGrantRefEntry {
        domid: 7,
        reference: 9,
    }; 256];
    let references = [9; 256];
    let copies = [GrantCopySegment {
        source: GrantCopyPtr::foreign(9, 0, 7),
        ..GrantCopySegment::default()
    }; 64];
    let mut room = [0_u64; 512];
    let buffer = zerocopy::IntoBytes::as_mut_bytes(&mut room[..]);
    let count = allocations(|| {
        let bytes = MapGrantRef::encode(buffer, &entries);
        assert!(bytes.is_some_and(|bytes| MapGrantRef::decode(bytes).is_some()));
        let bytes = DmabufExpFromRefs::encode(buffer, 7, DmaFlags::WC, &references);
        assert!(bytes.is_some_and(|bytes| DmabufExpFromRefs::decode(bytes).is_some()));
        let bytes = DmabufImpToRefs::encode(buffer, 3, 7, &references);
        assert!(bytes.is_some_and(|bytes| DmabufImpToRefs::decode(bytes).is_some()));
        let bytes = AllocGref::encode(buffer, 7, AllocFlags::WRITABLE, 256);
        assert!(bytes.is_some_and(|bytes| AllocGref::decode(bytes).is_some()));
        let bytes = list::encode(buffer, &copies);
        assert!(bytes.is_some_and(|b| list::decode::<GrantCopySegment>(b, 64).is_some()));
        // Refusals neither.
        assert!(list::encode(&mut buffer[..8], &[DmOpBuf::default()]).is_none());
        assert!(list::decode::<u64>(buffer, u32::MAX).is_none());
    });
    assert_eq!(count, 0);
}

#[test]
fn slots() {
    let count = allocations(|| {
        let slot = BufIoreq::new(1, false, 2, 0xB_8000, 0x41);
        assert_eq!(black_box(slot).map(|slot| slot.addr()), Some(0xB_8000));
        assert!(black_box(BufIoreq::new(1, false, 2, 0x10_0000, 0)).is_none());
    });
    assert_eq!(count, 0);
}
