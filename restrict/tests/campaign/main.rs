// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random operations and mappings at real Xen, through a handle restricted to one guest:
//! another guest, B, and dom0 stay as they were. A short one is part of `cargo lab test`;
//! `cargo lab campaign` runs it for as long as it is told (`docs/campaign.md`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attack;
mod attempt;
mod dom0;
#[path = "../support/lab.rs"]
mod lab;
mod operations;
mod random;
mod raw;
mod requests;
mod victim;
mod witness;

use std::time::{Duration, Instant};

use attack::Attack;
use dom0::Dom0;
use witness::Witness;

const SECONDS: u64 = 20;
/// Between two checks.
const ROUND: Duration = Duration::from_secs(5);

#[test]
fn b_and_dom0_stay_as_they_were() {
    let time = Duration::from_secs(lab::number("XEN_LAB_SECONDS").unwrap_or(SECONDS));
    let seed = lab::seed();
    let b = lab::number("XEN_LAB_B").expect("run with `cargo lab test`");
    lab::say(&format!("\n{} s, XEN_LAB_SEED={seed}", time.as_secs()));
    let dom0 = Dom0::look(b);
    let mut witness = Witness::look(b);
    lab::say(&format!("watched: {}, {}", witness.extent(), dom0.extent()));

    let mut attack = Attack::new(seed, b);
    let (start, mut attacked) = (Instant::now(), Duration::ZERO);
    while start.elapsed() < time {
        let round = Instant::now();
        while round.elapsed() < ROUND {
            attack.go(50);
        }
        attacked += round.elapsed();
        witness.check();
        dom0.check();
        lab::say(&format!(
            "{:4} s: {} attempts, {} guests",
            start.elapsed().as_secs(),
            attack.attempts(),
            attack.guests
        ));
    }
    dom0.check_files();
    let rate = attack.attempts() as f64 / attacked.as_secs_f64();
    lab::say(&format!(
        "{rate:.0} attempts a second, {} refused",
        attack.refused
    ));
    lab::say("requests of any number, and how they were answered:");
    for ((request, answer), count) in attack.raw() {
        lab::say(&format!("    {request:36} {answer:12} {count:8}"));
    }
    for (kind, (tried, done)) in &attack.counts {
        lab::say(&format!("    {kind:28} {tried:8}, done {done:8}"));
    }
}
