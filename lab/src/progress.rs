// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines that say what the lab is doing, with the seconds since it started.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Starts the clock; the first call counts.
pub(crate) fn start() -> Instant {
    *START.get_or_init(Instant::now)
}

pub(crate) fn say(text: &str) {
    eprintln!("[{:6.1}s] {text}", start().elapsed().as_secs_f64());
}
