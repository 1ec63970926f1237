// SPDX-License-Identifier: MIT OR Apache-2.0
//! All operations as a table, their floors measured in turns with them.

use std::{io, process::ExitCode, time::Duration};

use xen_restrict_benches::{is_trial, rounds as often};

use crate::{
    count,
    operation::{Operation, Work},
    time,
};

const ROUNDS: usize = 51;
/// Of each side in a round, about.
const ROUND: Duration = Duration::from_millis(1);

/// Of those with `part` in their names.
pub(crate) fn print(all: &[Operation], part: &str) -> ExitCode {
    println!(
        "| what | ns | floor | ns | ratio | instructions | floor's | allocations | system calls |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let some = if is_trial() { 16 } else { 1 };
    let wanted = all.iter().filter(|one| one.name.contains(part));
    for operation in wanted.step_by(some) {
        match line(operation) {
            Ok(line) => println!("{line}"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                eprintln!("valgrind is not there: install it (Debian: apt install valgrind)");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("{}: {error}", operation.name);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn line(operation: &Operation) -> io::Result<String> {
    let counted = |count: fn(&Operation, &str) -> io::Result<f64>| count(operation, "own");
    let instructions = counted(count::instructions)?;
    let (allocations, calls) = (counted(count::allocations)?, counted(count::system_calls)?);
    let mut own = (operation.own)();
    let Some((what, floor)) = &operation.floor else {
        let time = median(rounds(&mut [&mut own])[0].clone());
        return Ok(format!(
            "| {} | {} | | | | {} | | {allocations:.0} | {calls:.0} |",
            operation.name,
            short(time),
            short(instructions),
        ));
    };
    let least = count::instructions(operation, "floor")?;
    let times = rounds(&mut [&mut own, &mut floor()]);
    let ratios = times[0]
        .iter()
        .zip(&times[1])
        .map(|(own, floor)| own / floor);
    let ratio = median(ratios.collect());
    let [own, floor] = [0, 1].map(|side: usize| short(median(times[side].clone())));
    Ok(format!(
        "| {} | {own} | {what} | {floor} | **{}** | {} | {} | {allocations:.0} | {calls:.0} |",
        operation.name,
        short(ratio),
        short(instructions),
        short(least),
    ))
}

/// Nanoseconds of one, in each round, for each side.
fn rounds(sides: &mut [&mut Work]) -> Vec<Vec<f64>> {
    let many: Vec<u64> = sides.iter_mut().map(|work| enough(work)).collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); sides.len()];
    for _ in 0..often(ROUNDS) {
        for ((work, many), times) in sides.iter_mut().zip(&many).zip(&mut times) {
            #[allow(clippy::cast_precision_loss, reason = "below 2 to the 52")]
            times.push(time(work, *many).as_secs_f64() * 1e9 / *many as f64);
        }
    }
    times
}

/// As many as take a round's time.
fn enough(work: &mut Work) -> u64 {
    let mut many = 1;
    while time(work, many) < ROUND && many < 1 << 30 {
        many *= 2;
    }
    many
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// With three digits, about.
fn short(number: f64) -> String {
    match number {
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}
