// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vchan server (Xen's `public/io/libxenvchan.h`) in the bulk pages: what dom0 sends comes
//! back with all bits inverted.

use core::sync::atomic::{AtomicU8, Ordering, fence};

use crate::{layout, mem};

/// The first bulk page; then 16 pages for each direction.
const CONTROL: u64 = layout::BULK * 4096;
const PAGES: u64 = 16;
const SIZE: u32 = 16 * 4096;
const ORDER: u64 = 16;
const LEFT: u64 = CONTROL + 4096;
const RIGHT: u64 = LEFT + PAGES * 4096;

/// Offsets in the control page. Left is from the client to the server.
const LEFT_CONS: u64 = 0;
const LEFT_PROD: u64 = 4;
const RIGHT_CONS: u64 = 8;
const RIGHT_PROD: u64 = 12;
/// Orders, then `cli_live`, `srv_live`, `cli_notify`, `srv_notify`, a byte each.
const ORDERS: u64 = 16;
const SERVER_LIVE: u64 = 21;
/// What the client is to tell of, as the server asks; and the reverse.
const CLIENT_NOTIFY: u64 = 22;
const SERVER_NOTIFY: u64 = 23;
const GRANTS: u64 = 24;

/// Wants an event when something was written, or read.
const WRITE: u8 = 1;
const READ: u8 = 2;
const CLIENT_MAY_COME: u64 = 2;

fn byte(offset: u64) -> &'static AtomicU8 {
    // SAFETY: RAM that layout.rs sets aside, accessed by atomics and volatile words only.
    unsafe { AtomicU8::from_ptr((CONTROL + offset) as *mut u8) }
}

fn get(offset: u64) -> u32 {
    mem::read32(CONTROL + offset)
}

/// Ready for a client.
pub(crate) fn open() {
    for offset in (0..24).step_by(8) {
        mem::write(CONTROL + offset, 0);
    }
    for i in 0..2 * PAGES {
        let reference = layout::FIRST_BULK_REFERENCE + 1 + i;
        mem::write32(CONTROL + GRANTS + 4 * i, reference as u32);
    }
    let orders = ORDER | ORDER << 16 | CLIENT_MAY_COME << 32;
    mem::write(CONTROL + ORDERS, orders);
    byte(CLIENT_NOTIFY).store(WRITE, Ordering::SeqCst);
    byte(SERVER_LIVE).store(1, Ordering::SeqCst);
}

/// The pages are what they were.
pub(crate) fn close(domid: u64) {
    byte(SERVER_LIVE).store(0, Ordering::SeqCst);
    for i in 0..=2 * PAGES {
        let name = layout::BULK_BASE + i;
        mem::fill(layout::BULK + i, domid << 48 | name << 32);
    }
}

/// What a step came to.
pub(crate) enum Step {
    /// Bytes went back.
    Moved,
    /// There is nothing to do until the next event.
    Idle,
    /// Counters that cannot be.
    Nonsense,
}

/// Moves what can be moved. `notify` tells the client.
pub(crate) fn step(notify: impl Fn()) -> Step {
    let mut asked = false;
    loop {
        let (from, to) = (get(LEFT_CONS), get(RIGHT_PROD));
        let filled = get(LEFT_PROD).wrapping_sub(from);
        let waiting = to.wrapping_sub(get(RIGHT_CONS));
        if filled > SIZE || waiting > SIZE {
            return Step::Nonsense;
        }
        let length = filled.min(SIZE - waiting);
        if length > 0 {
            fence(Ordering::SeqCst);
            invert(from, to, length);
            fence(Ordering::SeqCst);
            mem::write32(CONTROL + LEFT_CONS, from.wrapping_add(length));
            mem::write32(CONTROL + RIGHT_PROD, to.wrapping_add(length));
            fence(Ordering::SeqCst);
            let wanted = byte(SERVER_NOTIFY).fetch_and(!(READ | WRITE), Ordering::SeqCst);
            if wanted & (READ | WRITE) != 0 {
                notify();
            }
            return Step::Moved;
        }
        if asked {
            return Step::Idle;
        }
        // Once more: something may have come before the client saw that we ask.
        byte(CLIENT_NOTIFY).fetch_or(READ | WRITE, Ordering::SeqCst);
        asked = true;
    }
}

fn invert(mut from: u32, mut to: u32, mut length: u32) {
    while length > 0 {
        let (source, dest) = (u64::from(from % SIZE), u64::from(to % SIZE));
        let whole = (source | dest) % 8 == 0 && length >= 8;
        let moved = match whole {
            true => {
                mem::write(RIGHT + dest, !mem::read(LEFT + source));
                8
            }
            false => {
                mem::write8(RIGHT + dest, !mem::read8(LEFT + source));
                1
            }
        };
        from = from.wrapping_add(moved);
        to = to.wrapping_add(moved);
        length -= moved;
    }
}
