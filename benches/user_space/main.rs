// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the hot paths cost in user space, on any machine, each next to its floor.
//!
//! `cargo bench --bench user_space` measures time by criterion;
//! compare with an earlier run by `-- --save-baseline NAME`, then `-- --baseline NAME`.
//! `-- table` prints ratios of runs in turns, with instructions, allocations and system
//! calls of one operation, which do not depend on what else the machine does; `-- table
//! PART` does so for the names with PART in them. It needs valgrind. With `BENCH_TRIAL` set
//! in the environment some of all is run for a moment, to see that it runs.

mod broker;
mod confinement;
mod count;
mod devices;
mod encoding;
mod operation;
mod pages;
mod table;

use std::{process::ExitCode, time::Duration, time::Instant};

use criterion::Criterion;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use xen_restrict_benches::is_trial;

use operation::{Operation, Work};

fn operations() -> Vec<Operation> {
    let mut all = encoding::all();
    all.extend(pages::all());
    all.extend(devices::all());
    all.extend(broker::all());
    all.extend(confinement::all());
    all
}

/// Where two threads take turns, it would be the machine's mood whether one wakes another
/// processor for that.
fn stay_on_one_processor() -> nix::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let first = (0..CpuSet::count()).find(|at| allowed.is_set(*at) == Ok(true));
    let mut one = CpuSet::new();
    one.set(first.unwrap_or(0))?;
    sched_setaffinity(this, &one)
}

fn main() -> ExitCode {
    stay_on_one_processor().expect("it is on one already");
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["table"] => table::print(&operations(), ""),
        ["table", part] => table::print(&operations(), part),
        [count::WORK, name, whose, times] => {
            count::work(&operations(), name, whose, times);
            ExitCode::SUCCESS
        }
        _ => {
            by_criterion();
            ExitCode::SUCCESS
        }
    }
}

/// How long so many take.
fn time(work: &mut Work, times: u64) -> Duration {
    let begin = Instant::now();
    work(times);
    begin.elapsed()
}

fn by_criterion() {
    let criterion = Criterion::default();
    let criterion = match is_trial() {
        true => criterion
            .warm_up_time(Duration::from_millis(1))
            .measurement_time(Duration::from_millis(10))
            .sample_size(10)
            .nresamples(100),
        false => criterion
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1)),
    };
    let mut criterion = criterion.configure_from_args();
    for operation in operations() {
        let Operation {
            name, own, floor, ..
        } = operation;
        let floor = floor.map(|(what, floor)| (format!("{name}, floor: {what}"), floor));
        for (name, prepare) in [(name, own)].into_iter().chain(floor) {
            criterion.bench_function(&name, |bencher| {
                let mut work = prepare();
                bencher.iter_custom(|times| time(&mut work, times));
            });
        }
    }
    criterion.final_summary();
}
