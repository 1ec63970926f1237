// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU that is started as root, and restricts its handles, enters an empty root
//! directory and changes its uid itself, half a second later: profile `qemu`.
//!
//! Until then it is held by what it bears as root; at that moment the rest is taken, before
//! it goes on.

pub(in crate::confine) mod binds;
mod calls;
pub(in crate::confine) mod connects;
mod devices;
mod files;
mod filters;
mod given_up;
pub(in crate::confine) mod handles;
pub(in crate::confine) mod memory;
mod procs;
mod root;

pub(crate) use binds::Listeners;
#[cfg(test)]
pub(in crate::confine) use calls::NEVER;
pub(crate) use calls::XENS;
pub(in crate::confine) use calls::{UNTIL_ARGUMENTS, UNTIL_GIVEN_UP};
pub(crate) use devices::Itself;
pub(crate) use files::{to_read, to_write};
pub(crate) use filters::{allowing, asking};
pub(crate) use given_up::{Inode, has_given_up};
pub(crate) use root::{close, read_only};

use super::{
    arguments::Test,
    capabilities::{Set, bit},
    notify::low_half,
    syscalls::by_number,
};

/// What QEMU needs to give root up.
pub(crate) const CAPABILITIES: Set = bit(CAP_SETGID) | bit(CAP_SETUID) | bit(CAP_SYS_CHROOT);
/// More, where a disk of its guest is not root's.
pub(crate) const OPENS_OTHERS: Set = bit(CAP_DAC_OVERRIDE);
/// Of `linux/capability.h`.
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_CHROOT: u32 = 18;

/// Whether a call is let through until root is given up. Of the requests of Xen's devices
/// their own table tells.
pub(super) fn is_until_given_up(call: &libc::seccomp_data) -> bool {
    let Some(name) = by_number(call.nr).1 else {
        return false;
    };
    let is = |test: &Test| match *test {
        Test::Is(at, value) => call
            .args
            .get(usize::from(at))
            .is_some_and(|argument| low_half(*argument) == value),
        _ => false,
    };
    if memory::is_hypercall(call) {
        // Its supervisor issues some: none is let through.
        return false;
    }
    let mut checked = UNTIL_ARGUMENTS.iter().filter(|of| of.call == name);
    calls::has(UNTIL_GIVEN_UP, name)
        || checked.any(|of| of.cases.iter().any(|case| case.tests.iter().all(is)))
}

/// By a call's number: whether who is in it may have been let through.
pub(super) fn may_be_until_given_up(number: i32) -> bool {
    let name = by_number(number).1;
    name.is_some_and(|name| calls::has(UNTIL_GIVEN_UP, name) || name == "socket")
}

/// What QEMU does to make sure that it is not root any more, and nobody else has a use for.
pub(super) fn asks_for_root(call: &libc::seccomp_data) -> bool {
    let name = by_number(call.nr).1;
    let uids = match name {
        Some("setuid") => 1,
        Some("setreuid") => 2,
        Some("setresuid") => 3,
        _ => 0,
    };
    let mut uids = call.args.iter().take(uids);
    uids.any(|uid| low_half(*uid) == 0)
}
