// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapping and copying grants: by the broker, by direct requests, by libxengnttab.

use std::{
    hint::black_box,
    io::{self, BufRead as _, Write as _},
    time::{Duration, Instant},
};

use xen_restrict::{
    Access, CopySegment, GrantDevice, GrantOffset, GrantRef, GrantedByte, GuestCopy, GuestId,
    Handover, MappedGrants, PAGE_SIZE,
};
use xen_restrict_benches::rounds;

use crate::{
    guest::{FIRST_BULK, Guest},
    median,
    peers::{Peer, confined, ourselves, xen_libraries},
};

const ROUNDS: usize = 15;
/// What is done how often in a round.
const WORK: [(&str, &str, u32, u32); 6] = [
    ("map and unmap 1 page", "map", 1, 40),
    ("map and unmap 16 pages", "map", 16, 20),
    ("map and unmap 512 pages", "map", 512, 4),
    ("copy 4 KiB", "copy", 4096, 40),
    ("copy 64 KiB", "copy", 65536, 20),
    ("read 512 mapped pages", "read", 512, 4),
];

pub(crate) fn compare() {
    let guest = Guest::new();
    let first = guest.word(FIRST_BULK);
    let domid = crate::guest::domid();
    let mut peers = [
        Peer::start(&mut confined(ourselves().args(["brokered", &first]))),
        Peer::start(ourselves().args(["direct", &domid, &first])),
        Peer::start(xen_libraries().args(["grants", &domid, &first])),
    ];
    println!(
        "microseconds, median of {ROUNDS} rounds in turns (and how far their middle half is apart)"
    );
    println!(
        "{:25} {:>15} {:>15} {:>15} {:>9} {:>9}",
        "", "brokered", "direct", "libxengnttab", ": direct", ": libxen"
    );
    for (name, verb, size, times) in WORK {
        let line = format!("{verb} {size} {times}");
        let mut seen: [Vec<f64>; 3] = Default::default();
        for _ in 0..rounds(ROUNDS) {
            for (peer, seen) in peers.iter_mut().zip(&mut seen) {
                seen.push(peer.ask(&line)[0]);
            }
        }
        let [brokered, direct, library] = seen.map(median);
        let shown = |(value, spread): (f64, f64)| format!("{value:.1} ({:.0} %)", spread * 100.0);
        println!(
            "{name:25} {:>15} {:>15} {:>15} {:>9.2} {:>9.2}",
            shown(brokered),
            shown(direct),
            shown(library),
            brokered.0 / direct.0,
            brokered.0 / library.0,
        );
    }
}

/// What both kinds of handle do.
trait Grants {
    fn map(&self, grants: &[GrantRef]) -> MappedGrants;
    /// From the first pages on.
    fn copy(&self, grants: &[GrantRef], into: &mut [u8]);
}

struct Direct(GrantDevice<xen_restrict::Unrestricted>, GuestId);

impl Grants for Direct {
    fn map(&self, grants: &[GrantRef]) -> MappedGrants {
        self.0.map(self.1, grants, Access::ReadWrite).expect("map")
    }

    fn copy(&self, grants: &[GrantRef], into: &mut [u8]) {
        let chunks = into.chunks_mut(PAGE_SIZE).zip(grants);
        let mut copies: Vec<_> = chunks
            .map(|(chunk, grant)| {
                let from = GrantedByte {
                    guest: self.1,
                    grant: *grant,
                    offset: 0,
                };
                CopySegment::read(from, chunk).expect("it fits")
            })
            .collect();
        self.0.copy(&mut copies).expect("copy");
        copies
            .iter()
            .for_each(|copy| copy.status().expect("copied"));
    }
}

struct Brokered(GrantDevice<xen_restrict::Restricted>);

impl Grants for Brokered {
    fn map(&self, grants: &[GrantRef]) -> MappedGrants {
        self.0.map(grants, Access::ReadWrite).expect("map")
    }

    fn copy(&self, grants: &[GrantRef], into: &mut [u8]) {
        let chunks = into.chunks_mut(PAGE_SIZE).zip(grants);
        let mut copies: Vec<_> = chunks
            .map(|(chunk, grant)| {
                let from = GrantOffset {
                    grant: *grant,
                    offset: 0,
                };
                GuestCopy::read(from, chunk).expect("it fits")
            })
            .collect();
        self.0.copy(&mut copies).expect("copy");
        copies
            .iter()
            .for_each(|copy| copy.status().expect("copied"));
    }
}

pub(crate) fn direct(domid: &str, first: &str) {
    let guest = domid.parse().expect("a domid");
    serve(&Direct(GrantDevice::open().expect("gntdev"), guest), first);
}

pub(crate) fn brokered(first: &str) {
    // SAFETY: nothing was opened before, and nothing else takes descriptors.
    let handover = unsafe { Handover::receive() }.expect("handles");
    serve(&Brokered(handover.grants.expect("a broker")), first);
}

/// Does what the lines say; answers with the microseconds that one of it took.
fn serve(grants: &dyn Grants, first: &str) {
    let first: u32 = first.parse().expect("a reference");
    let refs: Vec<_> = (first..first + 512).map(GrantRef::new).collect();
    for line in io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split(' ').collect();
        let [verb, size, times] = *words else {
            panic!("{line}");
        };
        let size: usize = size.parse().expect("a number");
        let times: u32 = times.parse().expect("a number");
        let took = match verb {
            "map" => timed(times, || drop(grants.map(&refs[..size]))),
            "copy" => {
                let mut into = vec![0; size];
                timed(times, || grants.copy(&refs, &mut into))
            }
            "read" => {
                let mapped = grants.map(&refs[..size]);
                let mut page = [0; PAGE_SIZE];
                timed(times, || {
                    for at in 0..size {
                        mapped.read(at * PAGE_SIZE, &mut page).expect("mapped");
                        black_box(&page);
                    }
                })
            }
            other => panic!("{other}"),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", took.as_secs_f64() * 1e6 / f64::from(times)).expect("heard");
    }
}

fn timed(times: u32, mut what: impl FnMut()) -> Duration {
    let begin = Instant::now();
    for _ in 0..times {
        what();
    }
    begin.elapsed()
}
