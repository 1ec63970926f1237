// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that is shared: copies in and out, and requests that are served in it.

use std::hint::black_box;

use xen_restrict::{SharedMemory, benching};
use xen_sys::ioreq::{BufIoreq, FLAG_DIR, Ioreq, STATE_IOREQ_READY};

use crate::operation::{Operation, Work, repeat};

const FEW: u64 = 10_000;
/// Requests in the queue.
const QUEUED: u32 = 510;

pub(crate) fn all() -> Vec<Operation> {
    let mut all: Vec<_> = [4, 8, 64, 4096].into_iter().flat_map(copies).collect();
    all.extend([a_slot(), a_queue(1, FEW), a_queue(QUEUED, 100)]);
    all
}

fn copies(bytes: usize) -> [Operation; 2] {
    let few = FEW.min(400_000 / bytes as u64);
    [
        Operation::new(
            format!("read shared memory: {bytes} bytes"),
            few,
            move || {
                let (memory, mut to) = (benching::memory(1), vec![0_u8; bytes]);
                repeat(move || memory.read(black_box(0), black_box(&mut to[..])))
            },
        )
        .copy(bytes),
        Operation::new(
            format!("write shared memory: {bytes} bytes"),
            few,
            move || {
                let (memory, from) = (benching::memory(1), vec![1_u8; bytes]);
                repeat(move || memory.write(black_box(0), black_box(&from[..])))
            },
        )
        .copy(bytes),
    ]
}

const FLAGS: usize = std::mem::offset_of!(Ioreq, flags);

/// Xen's part, the state, is the same in both.
fn a_slot() -> Operation {
    let ready = STATE_IOREQ_READY | FLAG_DIR;
    Operation::new("serve an ioreq slot", FEW, move || {
        let page = benching::memory(1);
        repeat(move || {
            let _ = page.set(FLAGS, &ready);
            benching::answer(&page, 0, |request| black_box(request).address)
        })
    })
    .floor("memcpy out and in", move || {
        let mut page = [0_u8; 32];
        repeat(move || {
            black_box(&mut page)[FLAGS] = ready;
            let slot = *black_box(&page);
            black_box(&slot);
            black_box(&mut page)[..8].copy_from_slice(&slot[8..16]);
            black_box(&mut page)[FLAGS] = 3;
        })
    })
}

fn a_queue(count: u32, few: u64) -> Operation {
    let queue = move || -> SharedMemory {
        let page = benching::memory(1);
        let entry = BufIoreq::new(1, false, 2, 0xB_8000, 0x0741).expect("in range");
        for at in 0..511 {
            page.set(8 + 8 * at, &entry).expect("inside");
        }
        page
    };
    Operation::new(
        format!("take buffered ioreqs: {count}"),
        few,
        move || -> Work {
            let page = queue();
            repeat(move || {
                let _ = page.set(0, &[0, count]);
                benching::drain(&page, |request| {
                    black_box(request);
                })
            })
        },
    )
    .copy(8 * count as usize)
}
