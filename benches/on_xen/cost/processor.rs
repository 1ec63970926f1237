// SPDX-License-Identifier: MIT OR Apache-2.0
//! How fast guest B is served while the attacker, and its guest, use all the time they get.

use xen_restrict_benches::{is_trial, rounds};

use super::{
    attacker::{Attacker, Profile},
    victim::Guest,
};
use crate::median;

const ROUNDS: usize = 9;
const REQUESTS: &str = "200";

pub(super) fn compare(guest: &Guest) {
    println!("\nI/O requests of guest B, answered by a device model of its own; microseconds");
    for profile in Profile::BOTH {
        // A guest whose request was left unanswered waits for good.
        let b = Guest::create("D");
        let mut command = profile.run(&b.domid, &[]);
        let mut model = Attacker::start(command.args(["costly", "serve", REQUESTS]));
        model.line();
        let mut alone = None;
        let cases = [(0, false), (1, false), (240, false), (1, true), (240, true)];
        let some = if is_trial() { 2 } else { cases.len() };
        for (spinning, vcpu) in cases.into_iter().take(some) {
            guest.spins(vcpu);
            let attacker = (spinning > 0).then(|| {
                let mut command = profile.run(&guest.domid, &[]);
                let count = spinning.to_string();
                let mut attacker = Attacker::start(command.args(["costly", "spin", &count]));
                attacker.line();
                attacker
            });
            // What it served before, and the round during which that began.
            model.skip();
            model.line();
            let mut round = || {
                let line = model.line();
                // A row can take minutes: something is seen of it.
                eprint!(".");
                line.and_then(|line| line.parse::<f64>().ok())
            };
            let rounds = (0..rounds(ROUNDS))
                .map(|_| round().expect("it serves"))
                .collect();
            let (time, spread) = median(rounds);
            eprintln!();
            let rate = *alone.get_or_insert(time) / time;
            let busy = if vcpu {
                ", and its guest's processor"
            } else {
                ""
            };
            println!(
                "  {:8} beside {spinning:3} busy processes{busy:28} {time:8.0} ({:2.0} %)  rate {rate:.2}",
                profile.name(),
                spread * 100.0
            );
            drop(attacker);
            profile.reap(&guest.domid);
        }
        guest.spins(false);
        drop(model);
        profile.reap(&b.domid);
    }
}
