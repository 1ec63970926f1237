// SPDX-License-Identifier: MIT OR Apache-2.0
#![no_main]

use xen_restrict_fuzz::encode::Plan;

type Arguments<'a> = (u16, u8, (u16, u16, u32, u32), &'a [u8]);

libfuzzer_sys::fuzz_target!(|arguments: Arguments<'_>| {
    let (room, at, numbers, entries) = arguments;
    let room = room % 1024;
    let plan = Plan {
        entries,
        room,
        at,
        numbers,
    };
    plan.run();
});
