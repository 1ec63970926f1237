// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tables say of a call, read without a filter: for tests.

pub(crate) use super::{
    bpf::{
        Arch,
        interpreter::{ALLOW, KILL, NOTIFY, audit, run},
    },
    syscalls::Verdict,
};

use super::{
    arguments::{self, CHECKED, Test},
    syscalls,
};

/// A use of a call that its table allows. Xen's requests are in another.
pub(crate) fn is_a_case(call: &str, arguments: [u64; 6]) -> bool {
    let low = |at: u8| u32::try_from(arguments[usize::from(at)] & 0xffff_ffff).unwrap();
    arguments::cases(call).is_none_or(|cases| {
        cases.iter().any(|case| {
            case.tests.iter().all(|test| match *test {
                Test::Is(at, value) => low(at) == value,
                Test::IsNot(at, value) => low(at) != value,
                Test::HasNone(at, mask) => low(at) & mask == 0,
                Test::HasAll(at, mask) => low(at) & mask == mask,
                Test::Null(at) => arguments[usize::from(at)] == 0,
            })
        })
    })
}

/// What a call comes to by its number, and its name.
pub(crate) fn verdict(number: u32) -> (Verdict, &'static str) {
    let (verdict, name) = syscalls::by_number(number.cast_signed());
    (verdict, name.unwrap_or_default())
}

/// The numbers of this architecture's calls.
pub(crate) fn numbers() -> Vec<u32> {
    let numbers = syscalls::all().filter_map(|(_, call)| call.number(Arch::NATIVE?));
    numbers.map(i32::cast_unsigned).collect()
}

/// Values that arguments are compared with.
pub(crate) fn values() -> Vec<u32> {
    let cases = CHECKED.iter().flat_map(|checked| checked.cases);
    let tests = cases.flat_map(|case| case.tests);
    let mut values: Vec<_> = tests
        .map(|test| match *test {
            Test::Is(_, value)
            | Test::IsNot(_, value)
            | Test::HasNone(_, value)
            | Test::HasAll(_, value) => value,
            Test::Null(_) => 0,
        })
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}
