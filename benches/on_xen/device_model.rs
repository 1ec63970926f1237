// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device model does all day: by this library, and by Xen's own.

use xen_restrict_benches::rounds;

use crate::{
    count::{self, system_calls},
    dom0::Sender,
    guest, median,
    peers::{Peer, ourselves, xen_device_model},
    plot,
};

const ROUNDS: usize = 15;

/// A row: its name, the peers' role, what they are told, and how often in a round.
struct Row(&'static str, &'static str, &'static str, u32, u32);

const WORK: [Row; 9] = [
    Row("answer a request for I/O", "model", "serve", 0, 200),
    // The peer makes the same three system calls, and no more.
    Row("the same : bare calls", "model", "serve", 1, 200),
    Row("dm_op set_isa_irq_level", "model", "irq", 0, 100),
    Row("map and unmap 1 page", "model", "map", 1, 40),
    Row("one page : bare calls", "model", "bare-map", 1, 40),
    Row("map and unmap 16 pages", "model", "map", 16, 40),
    Row("map and unmap 256 pages", "model", "map", 256, 10),
    Row("map and unmap 4096 pages", "model", "map", 4096, 2),
    Row("open, restrict, close", "restrict", "open", 0, 20),
];
const STORMS: [u32; 3] = [1, 16, 256];

/// Of one side.
#[derive(Default)]
struct Seen {
    microseconds: Vec<f64>,
    allocations: f64,
    system_calls: f64,
}

impl Seen {
    fn add(&mut self, answer: &[f64]) {
        self.microseconds.push(answer[0]);
        self.allocations = answer.get(1).copied().unwrap_or(0.0);
    }
}

pub(crate) fn compare() {
    println!(
        "a device model's work: microseconds, median of {ROUNDS} rounds in turns (and how far their \
         middle half is apart); system calls and allocations of one"
    );
    println!(
        "{:26} {:>15} {:>15} {:>7} {:>13} {:>6}",
        "", "xen-restrict", "libxen*", "ratio", "system calls", "alloc"
    );
    let domid = guest::domid();
    let mut ratios = Vec::new();
    for Row(name, role, verb, size, times) in WORK {
        let mut peers = [ourselves(), xen_device_model()]
            .map(|mut command| Peer::start(command.args([role, &domid])));
        let mut seen: [Seen; 2] = Default::default();
        let line = |times| format!("{verb} {size} {times}");
        for _ in 0..rounds(ROUNDS) {
            for (peer, seen) in peers.iter_mut().zip(&mut seen) {
                seen.add(&peer.ask(&line(times)));
            }
        }
        for (peer, seen) in peers.iter_mut().zip(&mut seen) {
            seen.system_calls = system_calls(peer, 10, line);
        }
        ratios.push((name.to_owned(), show(name, seen)));
    }
    for ports in STORMS {
        let name = match ports {
            1 => "take an event of a port".to_owned(),
            _ => format!("take events of {ports} ports"),
        };
        let ratio = show(&name, storm(ports));
        ratios.push((name, ratio));
    }
    println!();
    for (name, ratio) in ratios {
        plot::note(&name, ratio);
    }
    println!();
}

/// All ports have an event by the time that they are looked at.
fn storm(ports: u32) -> [Seen; 2] {
    let mut sides = [ourselves(), xen_device_model()].map(|mut command| {
        let mut peer = Peer::start(command.args(["storm", &ports.to_string()]));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "ports"
        )]
        let sender = Sender::to(peer.answer().into_iter().map(|port| port as u32));
        (peer, sender)
    });
    let mut seen: [Seen; 2] = Default::default();
    let line = format!("take {ports} 1");
    for _ in 0..rounds(ROUNDS) {
        for ((peer, sender), seen) in sides.iter_mut().zip(&mut seen) {
            sender.send();
            seen.add(&peer.ask(&line));
        }
    }
    for ((peer, sender), seen) in sides.iter_mut().zip(&mut seen) {
        let nothing = count::of(peer, "take 0 1");
        sender.send();
        seen.system_calls = f64::from(count::of(peer, &line) - nothing);
    }
    seen
}

/// Prints a row; its ratio.
fn show(name: &str, [ours, theirs]: [Seen; 2]) -> f64 {
    let (a, b) = (median(ours.microseconds), median(theirs.microseconds));
    let shown = |(value, spread): (f64, f64)| format!("{value:.1} ({:.0} %)", spread * 100.0);
    let calls = format!("{:.1} : {:.1}", ours.system_calls, theirs.system_calls);
    println!(
        "{name:26} {:>15} {:>15} {:>7.2} {calls:>13} {:>6.1}",
        shown(a),
        shown(b),
        a.0 / b.0,
        ours.allocations
    );
    a.0 / b.0
}
