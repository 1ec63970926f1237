// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for pages that are written to while requests in them are served.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use xen_sys::ioreq::{BufIoreq, IOREQ_BUFFER_SLOT_NUM, Ioreq};
use zerocopy::FromBytes;

use super::*;
use crate::mmap::{Mmap, PAGE_SIZE};

type Image = [u8; PAGE_SIZE];
/// Where, and what.
type Edit = (usize, u8);

const ANSWER: u64 = 0x1122_3344_5566_7788;
/// At each request that is served.
const EDITS: usize = 4;

/// The vcpu, how many edits, the edits, and the page's first bytes. A request is what
/// stood in the page at one moment, and what is written to it meanwhile is nobody's loss
/// but the writer's.
pub fn ioreq_served(data: &[u8]) {
    let Some(([vcpu, count], rest)) = data.split_first_chunk() else {
        return;
    };
    let (edits, rest) = rest.split_at(rest.len().min(3 * usize::from(*count)));
    let edits: Vec<Edit> = edits
        .chunks_exact(3)
        .map(|edit| {
            (
                usize::from(u16::from_le_bytes([edit[0], edit[1]])) % PAGE_SIZE,
                edit[2],
            )
        })
        .collect();
    let Ok(map) = Mmap::anonymous(1) else {
        return;
    };
    let page = SharedMemory::whole(map);
    let mut image = [0; PAGE_SIZE];
    let length = rest.len().min(PAGE_SIZE);
    image[..length].copy_from_slice(&rest[..length]);
    let vcpu = usize::from(*vcpu) % (PAGE_SIZE / SLOT);
    a_slot(&page, &image, vcpu, &edits);
    the_queue(&page, &image, &edits);
}

fn now(page: &SharedMemory) -> Image {
    page.get(0).expect("a whole page")
}

fn change(page: &SharedMemory, edits: &[Edit]) {
    for (at, byte) in edits {
        page.set(*at, byte).expect("inside");
    }
}

fn a_slot(page: &SharedMemory, image: &Image, vcpu: usize, edits: &[Edit]) {
    page.set(0, image).expect("a whole page");
    let (slot, _) = Ioreq::read_from_prefix(&image[vcpu * SLOT..]).expect("inside");
    let state = vcpu * SLOT + FLAGS;
    let mut expected = *image;
    let answered = Slot::new(page, vcpu).answer(|request| {
        assert_eq!(request.kind, slot.type_.into());
        assert_eq!(request.vcpu as usize, vcpu);
        let numbers = (request.address, request.size, request.count, request.data);
        assert_eq!(numbers, (slot.addr, slot.size, slot.count, slot.data));
        expected[state] = slot.flags & 0xf0 | ioreq::STATE_IOREQ_INPROCESS;
        assert_eq!(now(page), expected);
        change(page, edits);
        for (at, byte) in edits {
            expected[*at] = *byte;
        }
        if request.read && !request.data_is_pointer {
            expected[vcpu * SLOT + DATA..][..8].copy_from_slice(&ANSWER.to_ne_bytes());
        }
        expected[state] = slot.flags & 0xf0 | ioreq::STATE_IORESP_READY;
        ANSWER
    });
    let waits = [ioreq::STATE_IOREQ_READY, ioreq::STATE_IOREQ_INPROCESS];
    assert_eq!(answered, waits.contains(&slot.state()));
    assert_eq!(now(page), expected);
}

/// The read and the write pointer.
fn pointers(image: &Image) -> (u32, u32) {
    let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| image[at + byte]));
    (word(0), word(4))
}

fn at(image: &Image, pointer: u32) -> BufIoreq {
    let index = (pointer % IOREQ_BUFFER_SLOT_NUM) as usize;
    BufIoreq::read_from_prefix(&image[8 + 8 * index..])
        .expect("inside")
        .0
}

fn the_queue(page: &SharedMemory, image: &Image, edits: &[Edit]) {
    page.set(0, image).expect("a whole page");
    let mut edits = edits.chunks(EDITS);
    let mut taken = 0;
    let outcome = drain(page, |request| {
        let image = now(page);
        let (read, written) = pointers(&image);
        let first = at(&image, read);
        let large = first.size_log2() == 3;
        let queued = written.wrapping_sub(read);
        assert!((1 + u32::from(large)..=IOREQ_BUFFER_SLOT_NUM).contains(&queued));
        let high = match large {
            true => at(&image, read.wrapping_add(1)).data,
            false => 0,
        };
        assert_eq!(
            (request.kind, request.read),
            (first.type_.into(), first.is_read())
        );
        assert_eq!(request.data, u64::from(high) << 32 | u64::from(first.data));
        assert_eq!(request.address, u64::from(first.addr()));
        assert!([1, 2, 4, 8].contains(&request.size) && request.address < 1 << 20);
        taken += 1;
        change(page, edits.next().unwrap_or_default());
    });
    let (read, written) = pointers(&now(page));
    let queued = written.wrapping_sub(read);
    match outcome {
        Ok(count) => {
            assert_eq!(count, taken);
            assert!(queued == 0 || count == IOREQ_BUFFER_SLOT_NUM as usize);
        }
        Err(_) => {
            let half = queued == 1 && at(&now(page), read).size_log2() == 3;
            assert!(half || queued > IOREQ_BUFFER_SLOT_NUM, "{queued}");
        }
    }
    assert!(taken <= IOREQ_BUFFER_SLOT_NUM as usize);
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use zerocopy::IntoBytes;

    use super::*;

    /// A guest on another processor, which stops at nothing.
    fn beside_a_writer(page: &SharedMemory, served: impl FnOnce()) {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = 0x9e37_79b9_7f4a_7c15_u64;
                while !over.load(Ordering::Relaxed) {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let [kind, at, value, ..] = random.to_ne_bytes();
                    let (at, value) = match kind % 4 {
                        // The low bytes of both pointers, so that often both are in range.
                        0 => (usize::from(at % 2) * 4, value),
                        1 => (usize::from(at % 2) * 4 + 1, value & 1),
                        // A request that is ready, or not.
                        2 => (usize::from(at % 4) * SLOT + FLAGS, value & 0xf1),
                        _ => (64 + usize::from(at) * 15, value),
                    };
                    page.set(at, &value).unwrap();
                }
            });
            served();
            over.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_guest_that_writes_meanwhile_gains_nothing() {
        let page = SharedMemory::whole(Mmap::anonymous(1).unwrap());
        beside_a_writer(&page, || {
            let (mut answered, mut drained) = (0, 0);
            for round in 0.. {
                if answered > 100 && drained > 100 {
                    break;
                }
                let slot = Slot::new(&page, round % 4);
                answered += u32::from(slot.answer(|request| {
                    assert!(request.vcpu < 4);
                    ANSWER
                }));
                let mut taken = 0;
                let outcome = drain(&page, |request| {
                    assert!([1, 2, 4, 8].contains(&request.size) && request.address < 1 << 20);
                    taken += 1;
                });
                assert!(taken <= 511);
                drained += u32::from(outcome.is_ok_and(|count| count == taken));
            }
        });
    }

    #[test]
    fn requests_change_after_they_were_taken_and_not_for_us() {
        let page = SharedMemory::whole(Mmap::anonymous(1).unwrap());
        let mut image = [0; PAGE_SIZE];
        let slot = Ioreq {
            addr: 0x500,
            size: 4,
            flags: 0x41,
            ..Ioreq::default()
        };
        image[SLOT..2 * SLOT].copy_from_slice(slot.as_bytes());
        // The state itself, a data byte, and the slot's neighbours.
        let edits = [
            (SLOT + FLAGS, 0xff),
            (SLOT + DATA, 7),
            (0, 9),
            (2 * SLOT, 9),
        ];
        a_slot(&page, &image, 1, &edits);
        the_queue(&page, &image, &edits);
    }
}
