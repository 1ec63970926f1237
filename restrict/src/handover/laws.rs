// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any environment that a process is started with.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use std::{ffi::OsStr, fs::File, os::unix::ffi::OsStrExt};

use super::*;
use crate::fuzzing::is_told_in_one_line;

const PID: u32 = 42;
const VARIABLES: [&str; 4] = [
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "XEN_RESTRICT_DOMID",
];
/// More descriptors show no more.
const OPENED: usize = 6;

/// Lines of `NAME=VALUE`: nothing is received, or just what they say.
pub fn handover(data: &[u8]) {
    let variable = |name: &str| find(data, name).map(ToOwned::to_owned);
    match Described::parse(variable, PID) {
        Err(error) => is_told_in_one_line(&error),
        Ok(described) => {
            is_what_was_said(data, &described);
            let other = Described::parse(variable, PID + 1);
            assert!(other.is_err(), "it is for {PID}");
            for left_out in VARIABLES {
                let without = |name: &str| variable(name).filter(|_| name != left_out);
                assert!(Described::parse(without, PID).is_err(), "{left_out}");
            }
            if described.names.len() <= OPENED {
                names_make_no_handles(described);
            }
        }
    }
}

/// The first, as `getenv(3)` finds it.
fn find<'a>(data: &'a [u8], name: &str) -> Option<&'a OsStr> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(OsStr::from_bytes(value))
}

fn is_what_was_said(data: &[u8], described: &Described) {
    let [pid, count, names, domid] = VARIABLES.map(|name| {
        find(data, name)
            .and_then(OsStr::to_str)
            .expect("it was read")
    });
    for number in [pid, count, domid] {
        assert!(number.bytes().all(|byte| byte.is_ascii_digit()), "{number}");
    }
    assert_eq!(pid.parse(), Ok(PID));
    assert_eq!(count.parse(), Ok(described.names.len()));
    assert!(described.names.len() <= LIMIT);
    assert_eq!(domid.parse(), Ok(described.guest.get()));
    if !described.names.is_empty() {
        assert_eq!(described.names.join(":"), names);
    }
    let mut ours: Vec<_> = described
        .names
        .iter()
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    assert!(ours.iter().all(|name| KNOWN.contains(&name.as_str())));
    let count = ours.len();
    ours.sort_unstable();
    ours.dedup();
    assert_eq!(ours.len(), count);
}

/// Each descriptor is /dev/null, which is what a revoked gntdev is and no other.
fn names_make_no_handles(described: Described) {
    let Ok(null) = File::open("/dev/null") else {
        return;
    };
    let names = described.names.clone();
    let null = |_| OwnedFd::from(null.try_clone().expect("a few"));
    let fds = (0..names.len()).map(null).collect();
    let harmless = |name: &String| !name.starts_with(PREFIX) || name == GRANT_DEVICE_NAME;
    match Handover::assemble(described, fds) {
        Err(error) => {
            is_told_in_one_line(&error);
            assert!(!names.iter().all(harmless), "{error}");
        }
        Ok(handover) => {
            assert!(names.iter().all(harmless), "{names:?}");
            assert!(handover.privcmd.is_none() && handover.events.is_none());
            assert!(handover.grants.is_none());
            let others = handover.others.iter().map(|(name, _)| name);
            assert!(others.eq(names.iter().filter(|name| !name.starts_with(PREFIX))));
        }
    }
}
