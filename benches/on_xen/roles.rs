// SPDX-License-Identifier: MIT OR Apache-2.0
//! This library's side of what benches/on_xen/device_model.c does: told by lines, each
//! answered by microseconds and allocations of one.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{self, BufRead as _, Write as _},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use xen_restrict::{
    Access, EventChannel, Gfn, Guest, GuestId, GuestMemory, IoRange, IoRequest, Port, PrivCmd,
    Restricted,
};

use crate::guest::{BULK_GFN, COMMAND, STATUS};

const ARGUMENT: usize = 0x18;
const DONE: usize = 0x20;
const PORT_IO: u64 = 1;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: each call is the system allocator's, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
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

/// What is timed, until it is over.
struct Timed {
    began: Instant,
    allocations: u64,
}

struct Took {
    microseconds: f64,
    allocations: f64,
}

impl Timed {
    fn begin() -> Self {
        Self {
            allocations: ALLOCATIONS.load(Relaxed),
            began: Instant::now(),
        }
    }

    fn end(self) -> Took {
        #[allow(clippy::cast_precision_loss, reason = "few")]
        Took {
            microseconds: self.began.elapsed().as_secs_f64() * 1e6,
            allocations: (ALLOCATIONS.load(Relaxed) - self.allocations) as f64,
        }
    }
}

impl Took {
    fn answer(&self, times: u32) {
        let each = |sum: f64| sum / f64::from(times);
        let mut out = io::stdout().lock();
        let (took, allocations) = (each(self.microseconds), each(self.allocations));
        writeln!(out, "{took} {allocations}").expect("heard");
    }
}

/// Does what the lines say: a verb, a size, and how often.
fn told(mut what: impl FnMut(&str, u32, u32)) {
    for line in io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        let [verb, size, times] = *words else {
            panic!("{line}");
        };
        let number = |word: &str| word.parse().expect("a number");
        what(verb, number(size), number(times));
    }
}

fn repeated(times: u32, mut what: impl FnMut()) {
    let timed = Timed::begin();
    (0..times).for_each(|_| what());
    timed.end().answer(times);
}

fn opened(id: GuestId) -> (PrivCmd<Restricted>, EventChannel<Restricted>) {
    let privcmd = PrivCmd::open().and_then(|handle| handle.restrict(id));
    let events = EventChannel::open().and_then(|handle| handle.restrict(id));
    (privcmd.expect("restricted"), events.expect("restricted"))
}

pub(crate) fn model(domid: &str) {
    let (privcmd, events) = opened(domid.parse().expect("a domid"));
    let guest = privcmd.guest();
    let status = guest.map(&[STATUS], Access::ReadWrite).expect("mapped");
    let first: u64 = status.get(BULK_GFN).expect("mapped");
    let gfns: Vec<_> = (0..4096).map(|page| Gfn::new(first + page % 512)).collect();
    told(|verb, size, times| match verb {
        "serve" => serve(&guest, &events, &status, times),
        "map" | "bare-map" => repeated(times, || {
            let gfns = &gfns[..size as usize];
            drop(guest.map(gfns, Access::ReadWrite).expect("mapped"));
        }),
        "irq" => repeated(times, || {
            guest.set_isa_irq_level(5, false).expect("set");
        }),
        other => panic!("{other}"),
    });
}

/// Answers so many requests of the guest, which writes and reads in turns.
fn serve(guest: &Guest, events: &EventChannel<Restricted>, status: &GuestMemory, requests: u32) {
    let server = guest.create_ioreq_server(false).expect("a server");
    server
        .map_range(&IoRange::Ports(0x500..=0x503))
        .expect("a range");
    let mut from_guest = server.start(events, 1).expect("started");
    let done: u64 = status.get(DONE).expect("mapped");
    status
        .set(ARGUMENT, &u64::from(requests / 2))
        .expect("mapped");
    status.set(COMMAND, &PORT_IO).expect("mapped");

    let mut queue = [Port::new(0); 16];
    let (mut last, mut answered) = (0, 0);
    let timed = Timed::begin();
    while answered < requests {
        let answer = |request: &IoRequest| {
            if !request.read {
                last = request.data;
            }
            !last & 0xffff_ffff
        };
        let served = from_guest.serve(events, Duration::MAX, &mut queue, answer);
        let served = served.expect("events");
        events.unmask(served.others).expect("unmasked");
        answered += u32::try_from(served.answered).expect("few");
    }
    let timed = timed.end();
    while status.get::<u64>(DONE).expect("mapped") == done {
        thread::sleep(Duration::from_millis(1));
    }
    drop(from_guest);
    // The next may be the other side's.
    server.close().expect("destroyed");
    timed.answer(requests);
}

pub(crate) fn open_and_restrict(domid: &str) {
    let id = domid.parse().expect("a domid");
    told(|_, _, times| repeated(times, || drop(opened(id))));
}

/// Says its ports, and takes what was sent to them, as often as it is told.
pub(crate) fn storm(ports: &str) {
    let ports: usize = ports.parse().expect("a number");
    let events = EventChannel::open().expect("evtchn");
    let from_dom0: Vec<_> = (0..ports).map(|_| crate::dom0::unbound(&events)).collect();
    let numbers: Vec<_> = from_dom0.iter().map(u32::to_string).collect();
    println!("{}", numbers.join(" "));
    let mut queue = [Port::new(0); 256];
    told(|_, size, times| {
        let timed = Timed::begin();
        let mut taken = 0;
        while taken < size as usize {
            let pending = events.pending(&mut queue).expect("events");
            events.unmask(pending).expect("unmasked");
            taken += pending.len();
        }
        timed.end().answer(times);
    });
}
