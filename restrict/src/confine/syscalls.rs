// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every system call of Linux on x86_64 and aarch64, sorted by what a confined program
//! may do with it.

mod allowed;
mod refused;

pub(super) use allowed::ALLOWED;
pub(super) use refused::{MISSING, REFUSED};

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
pub(super) enum Verdict {
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

/// The call of this number here, and what comes of it. A number that nobody knew when
/// this was written is `Missing`.
pub(super) fn by_number(number: i32) -> (Verdict, Option<&'static str>) {
    let found =
        Arch::NATIVE.and_then(|arch| all().find(|(_, call)| call.number(arch) == Some(number)));
    match found {
        Some((verdict, call)) => (verdict, Some(call.name)),
        None => (Verdict::Missing, None),
    }
}

/// What the call of this number here is called.
pub(crate) fn name_of(number: i32) -> Option<&'static str> {
    by_number(number).1
}
