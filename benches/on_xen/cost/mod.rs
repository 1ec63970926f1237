// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a hostile device model can cost dom0, strictly confined and in libxl's way, in one
//! boot: docs/what-it-costs.md. The attacker is `restrict/examples/costly`.

mod attacker;
mod dom0;
mod processor;
mod victim;

use std::fs;

use nix::mount::{MsFlags, mount, umount};
use xen_restrict_benches::is_trial;

use attacker::{Attacker, Profile};
use dom0::Dom0;
use victim::Guest;

/// What it takes, at most how much, and options of the launch.
type Row = (&'static str, &'static str, u64, &'static [&'static str]);

const TMP: &[&str] = &["--tmp", "16M"];
/// Another file system, of 24 MiB.
const PLACE: &str = "/run/costly";
const BOUND: &[&str] = &["--bind-rw", PLACE];
const SEALED: &[&str] = &["--seal-mapping", "--seal-after", "0"];
const UNFILTERED: &[&str] = &["--without", "seccomp"];
const NONE: &[&str] = &[];

/// Dom0 of the lab has 768 MiB: what takes 96 of them, and is not refused, is not bounded.
const ROWS: &[Row] = &[
    ("memory", "memory", 96, NONE),
    ("files in memory", "memory-files", 96, NONE),
    ("files in /tmp", "tmp", 96, TMP),
    ("files anywhere", "disk", 96, NONE),
    ("files in a directory", "disk", 96, BOUND),
    ("page tables", "page-tables", 96 << 10, NONE),
    ("bytes in pipes", "pipes", 96 << 10, NONE),
    ("bytes in sockets", "sockets", 96 << 10, NONE),
    ("record locks", "locks", 300_000, NONE),
    ("record locks, no filter", "locks", 150_000, UNFILTERED),
    ("timers", "timers", 20_000, NONE),
    ("watched descriptors", "watches", 100_000, NONE),
    ("system call filters", "filters", 800, NONE),
    ("processes", "processes", 600, NONE),
    ("descriptors of all", "descriptors", 150_000, NONE),
    ("processor", "spin", 250, NONE),
    ("event channels", "ports", 4096, NONE),
    ("lists for mappings", "mapping-list", 64, NONE),
    ("the same, sealed", "mapping-list", 64, SEALED),
    ("pages of the guest", "guest-pages", 96 << 8, NONE),
    ("faults of privcmd", "faults", 2000, NONE),
    ("aborts", "aborts", 2000, NONE),
    ("foreign system calls", "foreign-calls", 2000, NONE),
    ("refused requests", "refused-requests", 2000, NONE),
];

/// Those whose names have one of the words in them, which commas part.
pub(crate) fn compare(words: &str) {
    let wanted = |name: &str| words.split(',').any(|word| name.contains(word));
    let guest = Guest::create("C");
    let offered = guest.offer_ports();
    if wanted("guest B") {
        processor::compare(&guest);
    }
    println!("\nwhat a hostile device model takes of dom0; its guest offers {offered} ports");
    println!(
        "{:24} {:8} {:>32} {:>9} {:>9} {:>11} {:>14}",
        "what", "profile", "taken", "dom0, MiB", "lines / s", "xl list, ms", "xenstore, ms"
    );
    let idle = Dom0::asked();
    println!("{:76} {:>18.0} {:>14.1}", "(idle)", idle.xl, idle.xenstore);
    let place = Place::new();
    let rows = ROWS.iter().filter(|row| wanted(row.0));
    let some = if is_trial() { 2 } else { ROWS.len() };
    for (name, what, most, options) in rows.take(some) {
        for profile in Profile::BOTH {
            let mut command = profile.run(&guest.domid, options);
            let dom0 = Dom0::look();
            let mut attacker = Attacker::start(command.args(["costly", what, &most.to_string()]));
            let (taken, lost) = attacker.takes(&dom0);
            let lines = dom0.lines_per_second();
            let asked = Dom0::asked();
            println!(
                "{name:24} {:8} {taken:>32} {lost:>9} {lines:>9.0} {:>11.0} {:>14.1}",
                profile.name(),
                asked.xl,
                asked.xenstore
            );
            drop(attacker);
            profile.reap(&guest.domid);
            place.empty();
        }
    }
}

/// A directory that anybody may write to, and that has bounds of its own, as a disk has.
struct Place;

impl Place {
    fn new() -> Self {
        fs::create_dir_all(PLACE).expect("root's");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = Some("size=24M,mode=1777");
        mount(Some("costly"), PLACE, Some("tmpfs"), flags, options).expect("mounted");
        Self
    }

    fn empty(&self) {
        for entry in fs::read_dir(PLACE).expect("there").flatten() {
            fs::remove_file(entry.path()).expect("removed");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = umount(PLACE);
    }
}
