// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device model that its guest has taken over, and that takes of dom0 what it can get:
//!
//!     dm-restrict run --domid N -- costly WHAT MOST
//!
//! It takes one thing until it is refused, or has as much as it was told to take at most;
//! says how much, and by what it was refused (`-`: it was not); and keeps it until it is
//! ended. `benches/on_xen/cost` and `dm-restrict/tests/dom0/costs.rs` look at dom0
//! meanwhile.

mod kernel;
mod lines;
mod memory;
mod xen;

use std::{env, io::Write as _, thread, time::Duration};

use nix::errno::Errno;

/// So much was taken, and then this was the answer.
pub(crate) struct Taken(pub(crate) u64, pub(crate) Option<Errno>);

/// What it can take: a name, the unit of what it is counted in, and how.
type Row = (&'static str, &'static str, fn(u64) -> Taken);

const ROWS: &[Row] = &[
    ("memory", "MiB", memory::anonymous),
    ("memory-files", "MiB", memory::files),
    ("tmp", "MiB", memory::tmp),
    ("disk", "MiB", memory::disk),
    ("page-tables", "KiB", memory::page_tables),
    ("pipes", "KiB", kernel::pipes),
    ("sockets", "KiB", kernel::sockets),
    ("locks", "locks", kernel::locks),
    ("timers", "timers", kernel::timers),
    ("watches", "watches", kernel::watches),
    ("filters", "filters", kernel::filters),
    ("processes", "processes", kernel::processes),
    ("descriptors", "descriptors", kernel::descriptors),
    ("spin", "processes", kernel::spin),
    ("ports", "ports", xen::ports),
    ("mapping-list", "calls", xen::mapping_list),
    ("guest-pages", "pages", xen::guest_pages),
    // These take time, not things: so many milliseconds of it.
    ("faults", "faults", lines::faults),
    ("aborts", "processes", lines::aborts),
    ("foreign-calls", "processes", lines::foreign_calls),
    ("refused-requests", "requests", lines::refused_requests),
];

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let usage = || -> ! {
        let names: Vec<_> = ROWS.iter().map(|(name, ..)| *name).collect();
        panic!("usage: costly WHAT MOST; {}", names.join(", "))
    };
    let [what, most] = &words[..] else { usage() };
    let Ok(most) = most.parse() else { usage() };
    if what == "serve" {
        return xen::serve(most);
    }
    let Some((_, unit, take)) = ROWS.iter().find(|(name, ..)| name == what) else {
        usage()
    };
    let Taken(count, refusal) = take(most);
    let refusal = refusal.map_or("-".to_owned(), |errno| format!("{errno:?}"));
    println!("{count} {unit} {refusal}");
    std::io::stdout().flush().expect("heard");
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}

/// Takes one at a time, until refused.
pub(crate) fn until_refused(most: u64, mut one: impl FnMut(u64) -> nix::Result<()>) -> Taken {
    for count in 0..most {
        if let Err(errno) = one(count) {
            return Taken(count, Some(errno));
        }
    }
    Taken(most, None)
}
