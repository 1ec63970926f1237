// SPDX-License-Identifier: MIT OR Apache-2.0
//! Next to Xen's own libraries, on real Xen, in one boot: `cargo lab bench` runs this in
//! dom0. All sides do the same in turns; medians and their ratios are printed, and how far
//! the middle half of the rounds is apart. Under emulation the ratios are what counts.

mod cost;
mod count;
mod device_model;
mod dom0;
mod grants;
mod guest;
mod peers;
mod plot;
mod roles;
mod vchan;

use std::env;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words {
        [] => {
            device_model::compare();
            grants::compare();
            vchan::compare();
            cost::compare("");
        }
        ["cost", words] => cost::compare(words),
        ["plot"] => plot::draw(std::io::stdin().lock()),
        ["direct", domid, first] => grants::direct(domid, first),
        ["brokered", first] => grants::brokered(first),
        ["model", domid] => roles::model(domid),
        ["restrict", domid] => roles::open_and_restrict(domid),
        ["storm", ports] => roles::storm(ports),
        _ => panic!("no arguments: the rest is for its own children"),
    }
}

/// The value in the middle, and how far the middle half is apart, as a part of it.
fn median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |quarter: usize| values[quarter * (values.len() - 1) / 4];
    (at(2), (at(3) - at(1)) / at(2))
}
