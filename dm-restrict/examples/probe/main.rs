// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program for tests to confine: it does what its arguments say, one after the other,
//! and tells what came of it, a line each.
//!
//! An argument is `VERB` or `VERB=WHAT`. See [`actions`].
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actions;
mod attempts;
mod flood;
mod report;

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

fn main() {
    for argument in std::env::args_os().skip(1) {
        let (verb, what) = split(&argument);
        actions::act(verb, &what);
    }
}

fn split(argument: &OsString) -> (&str, OsString) {
    let mut parts = argument.as_bytes().splitn(2, |byte| *byte == b'=');
    let verb = str::from_utf8(parts.next().unwrap()).unwrap();
    let what = std::ffi::OsStr::from_bytes(parts.next().unwrap_or_default());
    (verb, what.to_owned())
}

/// A result as a word: `ok`, or the error's name.
fn word<T>(result: Result<T, nix::errno::Errno>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(errno) => format!("{errno:?}"),
    }
}

/// The same of the standard library's.
fn io_word<T>(result: std::io::Result<T>) -> String {
    word(result.map_err(|error| {
        error
            .raw_os_error()
            .map_or(nix::errno::Errno::UnknownErrno, nix::errno::Errno::from_raw)
    }))
}
