// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls of C with any arguments, on handles without Xen: what holds for each of them.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use std::{
    ffi::CStr,
    fs::File,
    os::fd::OwnedFd,
    ptr::{self, null_mut},
};

use libc::{c_int, c_void};
use xen_restrict::benching;

use crate as x;
use crate::{evtchn::Events, guest::Guest, handle::give, memory::Memory};

/// A guest whose requests go to `fd`.
#[must_use]
pub fn guest(fd: OwnedFd) -> *mut x::xr_guest {
    give(Guest(benching::guest(fd))).expect("there is room")
}

/// Event channels that are read and written in `fd`.
#[must_use]
pub fn events(fd: OwnedFd) -> *mut x::xr_evtchn {
    give(Events::unrestricted(benching::events(fd))).expect("there is room")
}

/// Memory of this process's own.
#[must_use]
pub fn memory(pages: usize) -> *mut x::xr_memory {
    give(Memory::Own(benching::memory(pages))).expect("there is room")
}

const PAGES: usize = 2;
const SIZE: usize = PAGES * 4096;
const BUFFER: usize = 64;
/// Its address is no handle.
static GUARD_BYTE: u8 = 0;
/// What is behind a buffer, and is never written.
const GUARD: u8 = 0xa5;

/// The plan that the bytes are, read from their beginning.
struct Plan<'d>(&'d [u8]);

impl Plan<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number, mostly one that is at a border of something.
    fn number(&mut self) -> u64 {
        const BORDERS: [u64; 14] = [
            0,
            1,
            7,
            8,
            4095,
            4096,
            8184,
            8191,
            8192,
            0x7fef,
            0x7ff0,
            1 << 31,
            1 << 63,
            u64::MAX,
        ];
        match self.byte() {
            Some(at) if at < 224 => BORDERS[usize::from(at) % BORDERS.len()],
            Some(_) => {
                let mut bytes = [0; 8];
                bytes.fill_with(|| self.byte().unwrap_or(0));
                u64::from_le_bytes(bytes)
            }
            None => 0,
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "64 bits")]
    fn size(&mut self) -> usize {
        self.number() as usize
    }

    #[allow(clippy::cast_possible_truncation, reason = "any will do")]
    fn short(&mut self) -> u32 {
        self.number() as u32
    }

    #[allow(clippy::cast_possible_truncation, reason = "any will do")]
    fn domid(&mut self) -> u16 {
        self.number() as u16
    }

    /// Elements of `size` bytes that the buffer has room for, or so many that nothing has.
    fn length(&mut self, size: usize) -> usize {
        match self.size() {
            length if length <= BUFFER / size => length,
            length if length > isize::MAX.cast_unsigned() / size => length,
            length => length % (BUFFER / size + 1),
        }
    }
}

/// Handles that are there, that were, and that never were.
struct Handles {
    all: Vec<*mut c_void>,
    open: Vec<bool>,
}

impl Handles {
    fn new() -> Self {
        let file = |path| File::options().read(true).write(true).open(path);
        let file = |path| OwnedFd::from(file(path).expect("it is there"));
        let none = [
            null_mut(),
            ptr::without_provenance_mut(1),
            (&raw const GUARD_BYTE).cast_mut().cast(),
        ];
        let live = [
            guest(file("/dev/null")).cast(),
            events(file("/dev/zero")).cast(),
            memory(PAGES).cast(),
        ];
        Self {
            open: [[true; 3], [false; 3]].concat(),
            all: [live, none].concat(),
        }
    }

    fn pick(&self, plan: &mut Plan<'_>) -> usize {
        usize::from(plan.byte().unwrap_or(0)) % self.all.len()
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        for (handle, open) in self.all.iter().zip(&self.open) {
            assert_eq!(x::xr_close(*handle) == 0, *open || handle.is_null());
        }
    }
}

/// Whatever is called, and with what: a number that is an answer or an errno, a reason for
/// each refusal, no panic, and nothing written but what was asked for.
pub fn c_abi(data: &[u8]) {
    let mut plan = Plan(data);
    let mut handles = Handles::new();
    let mut expected = vec![0_u8; SIZE];
    while let Some(call) = plan.byte() {
        let at = handles.pick(&mut plan);
        let handle = handles.all[at];
        let mut buffer = [GUARD; BUFFER + 8];
        let number = match call % 43 {
            0 if handle.is_null() => continue,
            0 => {
                let was = std::mem::replace(&mut handles.open[at], false);
                let number = x::xr_close(handle);
                assert_eq!(number, if was { 0 } else { -libc::EBADF });
                number
            }
            1 => read(&mut plan, handle.cast(), &expected),
            2 => write(&mut plan, handle.cast(), &mut expected),
            other => any(other, &mut plan, handle, &mut buffer),
        };
        assert_eq!(buffer[BUFFER..], [GUARD; 8], "call {call}");
        assert!(
            number >= -4095 && number != -libc::ENOTRECOVERABLE,
            "call {call}: {number}"
        );
        // SAFETY: of this thread, and used at once.
        let why = unsafe { CStr::from_ptr(x::xr_error()) };
        assert!(number >= 0 || !why.is_empty(), "call {call}: {number}");
        assert!(!why.to_bytes().iter().any(u8::is_ascii_control), "{why:?}");
    }
}

fn read(plan: &mut Plan<'_>, memory: *mut x::xr_memory, expected: &[u8]) -> c_int {
    let (offset, length) = (plan.size(), plan.length(1));
    let mut into = [GUARD; BUFFER];
    // SAFETY: `length` has room, or is none.
    let number = unsafe { x::xr_memory_read(memory, offset, into.as_mut_ptr().cast(), length) };
    let inside = offset.checked_add(length).filter(|end| *end <= SIZE);
    match inside {
        Some(end) if number == 0 => {
            assert_eq!(into[..length], expected[offset..end]);
            assert!(into[length..].iter().all(|byte| *byte == GUARD));
        }
        _ => {
            assert!(number < 0);
            assert_eq!(into, [GUARD; BUFFER], "{number}");
        }
    }
    number
}

fn write(plan: &mut Plan<'_>, memory: *mut x::xr_memory, expected: &mut [u8]) -> c_int {
    let (offset, length, byte) = (plan.size(), plan.length(1), plan.byte().unwrap_or(0));
    let from = [byte; BUFFER];
    // SAFETY: `length` is there, or is none.
    let number = unsafe { x::xr_memory_write(memory, offset, from.as_ptr().cast(), length) };
    if number == 0 {
        expected[offset..offset + length].copy_from_slice(&from[..length]);
    }
    number
}

/// One of the others, which say yes only where the device does.
fn any(call: u8, plan: &mut Plan<'_>, handle: *mut c_void, buffer: &mut [u8]) -> c_int {
    let (guest, events) = (handle.cast::<x::xr_guest>(), handle.cast::<x::xr_evtchn>());
    let memory = handle.cast::<x::xr_memory>();
    let bytes = buffer.as_mut_ptr();
    let mut room = [0_u64; BUFFER / 8];
    let words = room.as_mut_ptr();
    let ports = words.cast::<u32>();
    match call {
        3 => x::xr_guest_set_isa_irq_level(guest, plan.byte().unwrap_or(0), 1),
        4 => x::xr_guest_set_mem_type(guest, plan.number(), plan.short(), plan.short()),
        5 => x::xr_guest_remote_shutdown(guest, plan.short()),
        6 => x::xr_guest_pin_memory_cacheattr(guest, plan.number(), plan.number(), plan.short()),
        7 => x::xr_guest_inject_msi(guest, plan.number(), plan.short()),
        8 => x::xr_guest_nr_vcpus(guest),
        9 => x::xr_guest_domid(guest),
        10 => x::xr_evtchn_wait(events, 0),
        11 => x::xr_evtchn_restrict(events, 0x7ff0 | plan.domid()),
        12 => x::xr_evtchn_fd(events),
        13 => x::xr_evtchn_domid(events),
        14 => x::xr_memory_notify_on_unmap(memory, plan.size(), null_mut()),
        15 => x::xr_privcmd_fd(handle.cast()),
        16 => x::xr_port_notify(handle.cast()),
        17 => x::xr_gntdev_restrict(handle.cast(), plan.domid()),
        18 => x::xr_program_signal(handle.cast(), 0),
        19 => x::xr_ioreq_server_set_enabled(handle.cast(), 1),
        36..42 => made(call, plan, handle, words),
        // SAFETY: `room` and `buffer` have BUFFER bytes each.
        _ => unsafe { pointers(call, plan, handle, (bytes, words, ports)) },
    }
}

/// Those that would make something, were there Xen.
fn made(call: u8, plan: &mut Plan<'_>, handle: *mut c_void, words: *const u64) -> c_int {
    let (guest, events) = (handle.cast::<x::xr_guest>(), handle.cast::<x::xr_evtchn>());
    let (mut memory, mut port) = (ptr::dangling_mut(), ptr::dangling_mut());
    let (mut server, mut requests) = (ptr::dangling_mut(), ptr::dangling_mut());
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all")]
    // SAFETY: places are there, or null; the length has room, or is none.
    let made = unsafe {
        match call {
            36 => x::xr_guest_map(guest, words, plan.length(8), 1, &raw mut memory),
            37 => x::xr_guest_map_resource(guest, plan.short(), 0, 0, 1, 0, &raw mut memory),
            38 => x::xr_evtchn_bind_interdomain(events, plan.domid(), 1, &raw mut port),
            40 => x::xr_memory_retry(handle.cast(), &raw mut memory),
            41 => x::xr_guest_take_over_ioreq_server(
                guest,
                plan.domid(),
                events,
                plan.short(),
                &raw mut server,
                &raw mut requests,
            ),
            _ => x::xr_privcmd_guest(handle.cast(), plan.domid(), null_mut()),
        }
    };
    // There is no Xen, so there is nothing new.
    assert!(made < 0);
    assert!(![36, 37, 40].contains(&call) || memory.is_null());
    assert!(call != 38 || port.is_null());
    assert!(call != 41 || server.is_null() && requests.is_null());
    made
}

type Room = (*mut u8, *mut u64, *mut u32);

/// Those that look where pointers lead.
///
/// # Safety
/// The room has `BUFFER` bytes each.
unsafe fn pointers(call: u8, plan: &mut Plan<'_>, handle: *mut c_void, room: Room) -> c_int {
    let (bytes, words, ports) = room;
    let (guest, events) = (handle.cast::<x::xr_guest>(), handle.cast::<x::xr_evtchn>());
    let mut size = 0;
    let mut missing = x::xr_missing_page::default();
    let mut served = x::xr_served::default();
    let mut ended = x::xr_ended::default();
    let extents = [x::xr_extent {
        first: 1,
        count: 1,
        reserved: 0,
    }; 4];
    let event = x::xr_event {
        kind: plan.short(),
        error_code: 0,
        extra: 0,
        vector: 0,
        instruction_length: 0,
        reserved: [0; 6],
    };
    let range = x::xr_io_range {
        kind: plan.short(),
        reserved: 0,
        first: plan.number(),
        last: plan.number(),
    };
    let mut copy = x::xr_grant_copy {
        way: plan.short(),
        status: 0,
        grant: 0,
        to_grant: 0,
        domid: plan.domid(),
        to_domid: 0,
        offset: plan.domid(),
        to_offset: 0,
        local: bytes.cast(),
        length: plan.length(1),
    };
    let extent_count = match plan.size() {
        count if count <= extents.len() => count,
        _ => usize::MAX,
    };
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all")]
    // SAFETY: each length has room, by this function's contract, or is none.
    unsafe {
        match call {
            20 => x::xr_memory_size(handle.cast(), &raw mut size),
            21 => x::xr_memory_missing(handle.cast(), &raw mut missing, 1),
            22 => x::xr_guest_track_dirty_vram(guest, 0, plan.short(), bytes, plan.length(1)),
            23 => x::xr_guest_modified_memory(guest, extents.as_ptr(), extent_count),
            24 => x::xr_guest_inject_event(guest, plan.short(), &raw const event),
            25 => x::xr_evtchn_pending(events, ports, plan.length(4).max(1)),
            26 => x::xr_evtchn_unmask(events, ports, plan.length(4)),
            27 => x::xr_ioreq_server_map_range(handle.cast(), &raw const range),
            28 => x::xr_requests_serve(
                handle.cast(),
                events,
                0,
                ports,
                plan.length(4),
                None,
                null_mut(),
                &raw mut served,
            ),
            29 => x::xr_buffered_drain(handle.cast(), None, null_mut()),
            30 => x::xr_gntdev_copy(handle.cast(), &raw mut copy, 1),
            31 => x::xr_program_wait(handle.cast(), 0, &raw mut ended),
            32 => x::xr_guest_resource_frames(guest, plan.short(), plan.short(), words),
            33 => x::xr_port_number(handle.cast(), null_mut()),
            34 => x::xr_requests_ports(handle.cast(), ports, plan.length(4)),
            42 => dm_op(plan, guest, bytes),
            _ => x::xr_evtchn_reset(events),
        }
    }
}

/// # Safety
/// As [`pointers`].
unsafe fn dm_op(plan: &mut Plan<'_>, guest: *mut x::xr_guest, bytes: *mut u8) -> c_int {
    // The second may reach into the third.
    let buffers = [(0, 8), (8, plan.length(1)), (40, 8)].map(|(at, size)| x::xr_buffer {
        data: bytes.wrapping_add(at).cast(),
        size: if size > BUFFER {
            size
        } else {
            size.min(BUFFER - at)
        },
    });
    let count = match plan.size() {
        count if count <= buffers.len() => count,
        _ => usize::MAX,
    };
    // SAFETY: each has room, by this function's contract, or a size that nothing has.
    unsafe { x::xr_guest_dm_op(guest, buffers.as_ptr(), count) }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{c_abi, replay::replay};

    #[test]
    fn the_law_holds_for_its_seeds_and_what_is_near_them() {
        replay(&[("c_abi", c_abi)]);
    }
}
