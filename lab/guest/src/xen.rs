// SPDX-License-Identifier: MIT OR Apache-2.0
//! The few hypercalls the guest makes.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count};

use crate::cpu;
use crate::layout;
use crate::mem;

const MEMORY_OP: u64 = 12;
const SCHED_OP: u64 = 29;
const EVENT_CHANNEL_OP: u64 = 32;

const ADD_TO_PHYSMAP: u64 = 7;
const SPACE_SHARED_INFO: u32 = 0;
const SPACE_GRANT_TABLE: u32 = 1;
const DOMID_SELF: u16 = 0x7ff0;

const SCHED_SHUTDOWN: u64 = 2;
const SCHED_POLL: u64 = 3;
const REASON_POWEROFF: u32 = 0;

const EVENT_SEND: u64 = 4;
const EVENT_ALLOC_UNBOUND: u64 = 6;

const GRANT_PERMIT_ACCESS: u32 = 1;
const GRANT_READ_ONLY: u32 = 4;

/// Offsets in the shared info page.
const VCPU_TIME: u64 = 0x20;
const EVENT_PENDING: u64 = 0x800;

unsafe extern "C" {
    static hypercall_page: [u8; 4096];
}

/// A number and an argument; the answer is negative for an errno.
fn hypercall<T>(number: u64, operation: u64, argument: &mut T) -> i64 {
    let page = &raw const hypercall_page as u64;
    let result;
    // SAFETY: Xen filled the page in `start`; each entry of 32 bytes is a call that keeps
    // all but the argument registers. `argument` outlives the call and may be written.
    unsafe {
        asm!("call {entry}", entry = in(reg) page + number * 32,
             inlateout("rdi") operation => _,
             inlateout("rsi") core::ptr::from_mut(argument) as u64 => _,
             lateout("rax") result,
             out("rdx") _, out("rcx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

/// Finds Xen, gets the hypercall page, and returns the domid when Xen tells it.
pub(crate) fn start() -> Option<u64> {
    let base = (0x4000_0000..0x4001_0000).step_by(0x100).find(|&leaf| {
        let id = __cpuid(leaf);
        (id.ebx, id.ecx, id.edx) == (0x566e_6558, 0x6558_4d4d, 0x4d4d_566e)
    })?;
    let page = &raw const hypercall_page as u64;
    cpu::write_msr(__cpuid(base + 2).ebx, page);

    let hvm = __cpuid_count(base + 4, 0);
    let domid_is_told = hvm.eax & (1 << 4) != 0;
    domid_is_told.then_some(u64::from(hvm.ecx))
}

#[repr(C)]
struct AddToPhysmap {
    domid: u16,
    size: u16,
    space: u32,
    index: u64,
    gpfn: u64,
}

fn add_to_physmap(space: u32, index: u64, gpfn: u64) -> bool {
    let mut request = AddToPhysmap {
        domid: DOMID_SELF,
        size: 0,
        space,
        index,
        gpfn,
    };
    hypercall(MEMORY_OP, ADD_TO_PHYSMAP, &mut request) == 0
}

/// Puts the pages that Xen shares where layout.rs wants them.
pub(crate) fn map_shared_pages() -> bool {
    let grants = |i| add_to_physmap(SPACE_GRANT_TABLE, i, layout::GRANT_TABLE + i);
    add_to_physmap(SPACE_SHARED_INFO, 0, layout::SHARED_INFO)
        && (0..layout::GRANT_TABLE_FRAMES).all(grants)
}

/// Grants `count` pages from `frame` on to dom0, under references from `reference` on.
pub(crate) fn grant(reference: u64, frame: u64, count: u64, read_only: bool) {
    let flags = GRANT_PERMIT_ACCESS | if read_only { GRANT_READ_ONLY } else { 0 };
    for i in 0..count {
        // An entry is flags (u16), domid (u16, here dom0) and frame (u32). The flags make
        // it valid, so they are written last.
        let entry = layout::GRANT_TABLE * 4096 + (reference + i) * 8;
        mem::write32(entry + 4, (frame + i) as u32);
        mem::write32(entry, flags);
    }
}

#[repr(C)]
struct AllocUnbound {
    domid: u16,
    remote: u16,
    port: u32,
}

/// A port that dom0 may bind.
pub(crate) fn port_for_dom0() -> Option<u32> {
    let mut request = AllocUnbound {
        domid: DOMID_SELF,
        remote: 0,
        port: 0,
    };
    (hypercall(EVENT_CHANNEL_OP, EVENT_ALLOC_UNBOUND, &mut request) == 0).then_some(request.port)
}

pub(crate) fn notify(port: u32) {
    let mut port = port;
    hypercall(EVENT_CHANNEL_OP, EVENT_SEND, &mut port);
}

/// Takes the pending bit of a port: was it set?
pub(crate) fn take_event(port: u32) -> bool {
    let word = layout::SHARED_INFO * 4096 + EVENT_PENDING + u64::from(port / 64) * 8;
    let was_set: u8;
    // SAFETY: the word is in the shared info page; Xen sets bits there at any time, hence
    // the locked instruction.
    unsafe {
        asm!("lock btr qword ptr [{word}], {bit}", "setc {was}",
             word = in(reg) word, bit = in(reg) u64::from(port % 64),
             was = out(reg_byte) was_set, options(nostack));
    }
    was_set != 0
}

#[repr(C)]
struct Poll {
    ports: *const u32,
    count: u32,
    timeout: u64,
}

/// Sleeps until one of the ports is pending, or for so many nanoseconds.
pub(crate) fn sleep(ports: &[u32], nanoseconds: u64) {
    let mut request = Poll {
        ports: ports.as_ptr(),
        count: ports.len() as u32,
        timeout: system_time() + nanoseconds,
    };
    hypercall(SCHED_OP, SCHED_POLL, &mut request);
}

/// Xen's clock, from the time record in the shared info page.
fn system_time() -> u64 {
    let record = layout::SHARED_INFO * 4096 + VCPU_TIME;
    loop {
        let version = mem::read32(record);
        let stamp = mem::read(record + 8);
        let time = mem::read(record + 16);
        let scale = mem::read32(record + 24);
        let shift = mem::read32(record + 28) as i8;
        if version & 1 == 0 && mem::read32(record) == version {
            let ticks = cpu::timestamp().saturating_sub(stamp);
            let ticks = if shift < 0 {
                ticks >> -shift
            } else {
                ticks << shift
            };
            return time + ((u128::from(ticks) * u128::from(scale)) >> 32) as u64;
        }
    }
}

pub(crate) fn power_off() {
    let mut reason = REASON_POWEROFF;
    hypercall(SCHED_OP, SCHED_SHUTDOWN, &mut reason);
}
