// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a guest takes to start and to use its disk, next to stock `dm_restrict=1`: printed,
//! not asserted.
//!
//!     cargo lab test pace:: --release -- --ignored --nocapture
//!     cargo lab test pace:: --release --icount -- --ignored --nocapture

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    disk,
    network::{self, Bridge},
    stock::StockGuest,
    support::{Guest, alone, in_place_of_qemu, scratch},
};

const ROUNDS: usize = 9;
/// Each of them a read and a write.
const TIMES: u16 = 500;

/// Until `xl create` returned; from then until the guest runs; both; its requests.
type Times = [Duration; 4];

fn round(device_model: Option<&Path>, more: &[&str]) -> Times {
    let (serial, disk) = (scratch("serial"), scratch("disk"));
    disk::make(&disk, TIMES);
    let lines = Guest::config(&serial, &disk, None);
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let lines = [&lines, more].concat();
    let begin = Instant::now();
    let guest = StockGuest::create(true, device_model, &lines);
    let created = begin.elapsed();
    let guest = guest.unwrap_or_else(|no| panic!("xl: {}\nQEMU: {}", no.xl, no.qemu));
    let until = |is_so: fn(&str) -> bool| {
        while !fs::read_to_string(&serial).is_ok_and(|said| is_so(&said)) {
            assert!(begin.elapsed() < Duration::from_secs(300), "it hangs");
            thread::sleep(Duration::from_millis(2));
        }
        begin.elapsed()
    };
    let booted = until(|said| said.starts_with(disk::BOOTED));
    let done = until(|said| said.ends_with(disk::DONE));
    drop(guest);
    let _ = (fs::remove_file(&serial), fs::remove_file(&disk));
    [created, booted - created, booted, done - booted]
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// With these lines in the guest's config.
fn beside_stock(more: &[&str]) {
    let (mut ours, mut stock) = (Vec::new(), Vec::new());
    let trial = env::var_os("BENCH_TRIAL").is_some();
    for _ in 0..if trial { 1 } else { ROUNDS } {
        ours.push(round(Some(&in_place_of_qemu()), more));
        stock.push(round(None, more));
        // The lab waits for a sign of life.
        eprint!(".");
    }
    let rows = [
        "xl create",
        "until the guest runs",
        "both",
        "1000 disk requests",
    ];
    for (at, what) in rows.into_iter().enumerate() {
        let of = |all: &[Times]| median(all.iter().map(|times| times[at]).collect());
        let (ours, stock) = (of(&ours), of(&stock));
        println!(
            "{what}: {ours:.3} s, stock {stock:.3} s: {:.2}",
            ours / stock
        );
    }
}

#[test]
#[ignore = "a measurement, where stock QEMU starts with dm_restrict=1: bookworm's"]
fn of_a_disk() {
    let _alone = alone();
    beside_stock(&[]);
}

#[test]
#[ignore = "the same"]
fn of_a_disk_and_a_network_card() {
    let _alone = alone();
    let _bridge = Bridge::new();
    beside_stock(&[network::CARD]);
}
