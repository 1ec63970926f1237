// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every system call of Linux on x86_64 and aarch64, sorted by what a confined program
//! may do with it.

mod allowed;
#[cfg(test)]
mod headers;
mod refused;

pub(super) use allowed::ALLOWED;
pub(super) use refused::{MISSING, REFUSED};

use std::sync::LazyLock;

use super::bpf::Arch;

/// System calls of one kind.
pub(super) struct Group {
    pub(super) title: &'static str,
    /// Why they are allowed, or why not.
    pub(super) why: &'static str,
    pub(super) calls: &'static [Syscall],
}

/// A system call by name, and its numbers.
#[derive(Clone, Copy)]
pub(super) struct Syscall {
    pub(super) name: &'static str,
    x86_64: Option<u16>,
    aarch64: Option<u16>,
}

impl Syscall {
    /// `None` where the architecture has no such call.
    pub(super) fn number(&self, arch: Arch) -> Option<i32> {
        let number = match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
        };
        number.map(i32::from)
    }
}

/// `name, its number on x86_64, on aarch64`; `-` is none.
macro_rules! calls {
    ($($name:ident $x86_64:tt $aarch64:tt),+ $(,)?) => {
        &[$($crate::confine::syscalls::Syscall {
            name: stringify!($name),
            x86_64: $crate::confine::syscalls::number!($x86_64),
            aarch64: $crate::confine::syscalls::number!($aarch64),
        }),+]
    };
}

macro_rules! number {
    (-) => {
        None
    };
    ($number:literal) => {
        Some($number)
    };
}

use {calls, number};

/// What a call by a number comes to, before its arguments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// EPERM.
    Refused,
    /// ENOSYS, as of a kernel without it: a C library tries something else.
    Missing,
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = (Verdict, &'static Syscall)> {
    let tables = [
        (Verdict::Allowed, ALLOWED),
        (Verdict::Refused, REFUSED),
        (Verdict::Missing, MISSING),
    ];
    let groups = tables
        .into_iter()
        .flat_map(|(verdict, groups)| groups.iter().map(move |group| (verdict, group)));
    groups.flat_map(|(verdict, group)| group.calls.iter().map(move |call| (verdict, call)))
}

/// What a call comes to, and its name.
type Known = (Verdict, Option<&'static str>);

/// A number that nobody knew when this was written.
const UNKNOWN: Known = (Verdict::Missing, None);

/// Of each number, up to the last that is known.
pub(super) fn by_numbers(arch: Arch) -> Vec<Known> {
    let mut known = Vec::new();
    for (verdict, call) in all() {
        if let Some(at) = call
            .number(arch)
            .and_then(|number| usize::try_from(number).ok())
        {
            known.resize(known.len().max(at + 1), UNKNOWN);
            known[at] = (verdict, Some(call.name));
        }
    }
    known
}

/// The call of this number here, and what comes of it. A number that nobody knew when
/// this was written is `Missing`.
pub(super) fn by_number(number: i32) -> Known {
    static HERE: LazyLock<Vec<Known>> =
        LazyLock::new(|| Arch::NATIVE.map(by_numbers).unwrap_or_default());
    let at = usize::try_from(number).ok();
    at.and_then(|at| HERE.get(at)).copied().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_one_table_once_and_so_is_its_number() {
        let mut names: Vec<_> = all().map(|(_, call)| call.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let mut numbers: Vec<_> = all().filter_map(|(_, call)| call.number(arch)).collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "{arch:?}");
        }
    }

    #[test]
    fn a_number_has_a_name() {
        let number = i32::try_from(libc::SYS_ptrace).unwrap();
        assert_eq!(by_number(number), (Verdict::Refused, Some("ptrace")));
        for unknown in [-1, i32::MAX, i32::MIN, 471] {
            assert_eq!(by_number(unknown), (Verdict::Missing, None));
        }
    }

    #[test]
    fn every_group_says_why() {
        for group in [ALLOWED, REFUSED, MISSING].into_iter().flatten() {
            assert!(!group.title.is_empty() && !group.why.is_empty() && !group.calls.is_empty());
        }
    }
}
