// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes there and back through a vchan: the confined example, and libxenvchan with all
//! of dom0's power.

use std::process::Command;

use xen_restrict_benches::rounds;

use crate::{
    guest::{self, FIRST_BULK, Guest, PORT},
    median,
    peers::{confined, xen_libraries},
};

const ROUNDS: usize = 7;
const MEBIBYTES: &str = "4";

pub(crate) fn compare() {
    let guest = Guest::new();
    let (reference, port) = (guest.word(FIRST_BULK), guest.word(PORT));
    let domid = guest::domid();
    // Where libxenvchan looks.
    let path = format!("/local/domain/{domid}/data/bench");
    for (key, value) in [("ring-ref", &reference), ("event-channel", &port)] {
        let written = Command::new("xenstore-write")
            .args([&format!("{path}/{key}"), value])
            .status();
        assert!(written.expect("it runs").success());
    }
    guest.serve();
    let mut seen: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds(ROUNDS) {
        let mut ours = Command::new("vchan");
        let sides = [confined(ours.args([&reference, &port, MEBIBYTES])), {
            let mut theirs = xen_libraries();
            theirs.args(["vchan", &domid, &path, MEBIBYTES]);
            theirs
        }];
        for (mut side, seen) in sides.into_iter().zip(&mut seen) {
            seen.push(throughput(&mut side));
            // Somebody may wait for a sign of life.
            eprint!(".");
        }
    }
    let [ours, theirs] = seen.map(median);
    println!(
        "\nvchan, {MEBIBYTES} MiB there and back, MiB/s each way, median of {ROUNDS} in turns"
    );
    println!(
        "  confined, brokered       {:8.1} ({:.0} %)",
        ours.0,
        ours.1 * 100.0
    );
    println!(
        "  libxenvchan              {:8.1} ({:.0} %)",
        theirs.0,
        theirs.1 * 100.0
    );
    println!("  confined : libxenvchan   {:8.2}", ours.0 / theirs.0);
}

/// The number before `MiB/s`.
fn throughput(command: &mut Command) -> f64 {
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{error}");
    let words: Vec<&str> = text.split_whitespace().collect();
    let unit = words.iter().position(|word| *word == "MiB/s");
    let number = unit.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok());
    number.unwrap_or_else(|| panic!("{text}{error}"))
}
