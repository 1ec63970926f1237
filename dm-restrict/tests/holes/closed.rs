// SPDX-License-Identifier: MIT OR Apache-2.0
//! With the filter: whatever the kernel has, a confined program does not get at it.

use xen_restrict::EventChannel;

use crate::{
    alive::{B, Log, dom0_and_b_are_unharmed, ports_connected_with_b},
    probe::{Filter, alone, attempt, b},
};

/// Attempts, and what is said of them: `$` stands for each of the numbers.
const ATTEMPTS: &[(&str, &[&str])] = &[
    (
        "count",
        &[
            "MMAP_RESOURCE of 4 into 1: EPERM",
            "the page behind reads 0x5a",
        ],
    ),
    (
        "short",
        &["MMAP_RESOURCE of 1 into 512: EPERM", "munmap: done"],
    ),
    (
        "twice",
        &["MMAP_RESOURCE: EPERM", "MMAP_RESOURCE again: EPERM"],
    ),
    ("foreign", &["MMAP: EPERM"]),
    ("moved", &["MMAPBATCH_V2: done", "mremap: EPERM"]),
];

fn all_are_refused(profile: &'static str) {
    let _alone = alone();
    let log = Log::look();
    // Ports of another process, of guests', of xenstored's, and of the kernel's own.
    let events = EventChannel::open().unwrap();
    let port = events.bind_interdomain(b(), B::look().port()).unwrap();
    let mut ports = ports_connected_with_b();
    let own = port.port().get().to_string();
    assert!(ports.contains(&own) && ports.len() > 1, "{ports:?}");
    ports.extend((1..=20).map(|port| port.to_string()));
    let mut words = vec!["static"];
    words.extend(ports.iter().map(String::as_str));
    for line in attempt(Filter::As(profile), &words) {
        let refused = match line.split(' ').next().unwrap() {
            "BIND_STATIC" => line.ends_with(": EPERM"),
            "NOTIFY" | "UNBIND" => line.ends_with(": ENOTCONN"),
            other => other == "over",
        };
        assert!(refused, "{line}");
    }
    port.notify().unwrap();
    port.close().unwrap();
    for (name, expected) in ATTEMPTS {
        let mut said = attempt(Filter::As(profile), &[name]);
        assert_eq!(said.pop().as_deref(), Some("over"));
        assert_eq!(said, *expected, "{name}, {profile}");
    }
    dom0_and_b_are_unharmed(&log);
}

#[test]
fn under_strict_all_are_refused_and_nobody_is_harmed() {
    all_are_refused("strict");
}

#[test]
fn under_libxl_all_are_refused_and_nobody_is_harmed() {
    all_are_refused("libxl");
}
