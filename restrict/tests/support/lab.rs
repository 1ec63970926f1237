// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs of random tests share: numbers that the lab's user gives, and words that
//! are said at once.

use std::{
    env,
    fs::File,
    io::{Read, Write, stdout},
    str::FromStr,
};

/// A number in the environment, which the lab hands on.
pub(crate) fn number<T: FromStr>(variable: &str) -> Option<T> {
    let text = env::var(variable).ok()?;
    let number = text.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{variable}={text} is no number")))
}

/// The seed that was asked for, or one that nobody chose.
pub(crate) fn seed() -> u64 {
    number("XEN_LAB_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 8];
        let mut source = File::open("/dev/urandom").unwrap();
        source.read_exact(&mut bytes).unwrap();
        u64::from_ne_bytes(bytes)
    })
}

/// Not kept back until a test fails.
pub(crate) fn say(text: &str) {
    let mut out = stdout();
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap();
}
