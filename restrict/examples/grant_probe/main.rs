// SPDX-License-Identifier: MIT OR Apache-2.0
//! For tests: does what it is told with its guest's grants, confined, as
//! `dm-restrict run --grants brokered` starts it; and what it should not be able to do.
//! It panics where something is not as it should be.

mod hostile;
mod orderly;
mod requests;

use std::env;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let (verb, numbers) = words.split_first().expect("say what to do");
    let numbers: Vec<u32> = numbers
        .iter()
        .map(|word| word.parse().expect("a number"))
        .collect();
    match verb.as_str() {
        "map" => orderly::map(&numbers),
        "read-only" => orderly::read_only(&numbers),
        "refused" => orderly::refused(&numbers),
        "copy" => orderly::copy(&numbers),
        "notify" => orderly::notify(&numbers),
        "notify-and-hold" => orderly::notify_and_hold(&numbers),
        "notify-and-die" => orderly::notify_and_die(&numbers),
        "cycles" => orderly::cycles(&numbers),
        "hold" => orderly::hold(&numbers),
        "requests" => requests::all_are_refused(),
        "int80" => requests::by_int80(),
        "x32" => requests::by_x32(),
        "misuse" => hostile::misuse(&numbers),
        "taken-back" => hostile::taken_back(&numbers),
        "traps" => hostile::traps(&numbers),
        "flood" => hostile::flood(&numbers),
        "unread" => hostile::unread(),
        "half" => hostile::half(),
        "descriptor" => hostile::descriptor(),
        "closed" => hostile::closed(),
        "other-port" => hostile::other_port(&numbers),
        other => panic!("there is no verb {other}"),
    }
    println!("{verb}: as it should be");
}
