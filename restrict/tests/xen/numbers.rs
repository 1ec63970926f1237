// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of requests is complete: a driver of the running kernel knows no other number.

use nix::errno::Errno;
use xen_restrict::confine::xen_requests::{POLICY, TYPES};

use crate::support::{open, raw_number};

/// The sizes of arguments that occur in any of Linux's versions, and some more.
const SIZES: [u32; 12] = [0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48];

/// None, and to the kernel: those that occur.
const DIRECTIONS: [u32; 2] = [0, 1];

/// Every number of the types, in each of these sizes and directions, without an argument:
/// a request that is there misses it, and has no effect.
#[test]
fn no_driver_knows_a_number_that_is_not_in_the_policy() {
    for (device, unknown) in [
        ("privcmd", Errno::ENOTTY),
        ("evtchn", Errno::ENOSYS),
        ("gntdev", Errno::ENOTTY),
        ("gntalloc", Errno::ENOTTY),
    ] {
        let fd = open(&format!("/dev/xen/{device}"));
        let mut known = 0;
        for group in TYPES {
            for nr in 0..=255_u32 {
                for (size, direction) in SIZES
                    .iter()
                    .flat_map(|size| DIRECTIONS.map(move |direction| (*size, direction)))
                {
                    let number = direction << 30 | size << 16 | u32::from(group) << 8 | nr;
                    let row = POLICY.iter().find(|row| row.number == number);
                    if raw_number(&fd, number) == Err(unknown) {
                        continue;
                    }
                    known += 1;
                    let named = row.is_some_and(|row| row.request.contains(device));
                    assert!(named, "{device} knows {number:#x}: {row:?}");
                }
            }
        }
        // At least those of Linux 5.10.
        let least = match device {
            "privcmd" => 6,
            "evtchn" => 7,
            "gntdev" => 5,
            _ => 3,
        };
        assert!(known >= least, "{device}: {known}");
    }
}
