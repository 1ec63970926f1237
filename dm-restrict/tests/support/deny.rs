// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a system call of the command fail, as on a kernel or in a container where
//! it would: a filter that is loaded before the command is executed.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// What is looked at in a call's arguments, of which the low halves count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    Is(u8, u32),
    IsNot(u8, u32),
    /// All of these bits are set.
    Has(u8, u32),
    /// None of them.
    HasNot(u8, u32),
}

/// The call fails with `errno` when all of `when` holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deny {
    pub(crate) call: i64,
    pub(crate) when: &'static [When],
    pub(crate) errno: i32,
}

/// The filter that does it.
pub(crate) fn filter(denied: &[Deny]) -> Vec<BpfProgram> {
    denied.iter().map(one).collect()
}

/// Whoever makes one of these calls is killed.
pub(crate) fn killing(calls: &[i64]) -> BpfProgram {
    let filter = SeccompFilter::new(
        calls.iter().map(|call| (*call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
        std::env::consts::ARCH.try_into().unwrap(),
    );
    filter.and_then(TryInto::try_into).unwrap()
}

fn one(deny: &Deny) -> BpfProgram {
    let conditions: Vec<_> = deny
        .when
        .iter()
        .map(|when| {
            let (argument, operation, value) = match *when {
                When::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
                When::IsNot(argument, value) => (argument, SeccompCmpOp::Ne, value),
                When::Has(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits.into()), bits),
                When::HasNot(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits.into()), 0),
            };
            SeccompCondition::new(argument, Dword, operation, value.into()).unwrap()
        })
        .collect();
    let rules = match conditions.is_empty() {
        true => Vec::new(),
        false => vec![SeccompRule::new(conditions).unwrap()],
    };
    SeccompFilter::new(
        BTreeMap::from([(deny.call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(deny.errno.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .and_then(TryInto::try_into)
    .unwrap()
}

#[repr(C)]
struct Program {
    length: u16,
    filter: *const seccompiler::sock_filter,
}

/// Loads it for the calling process; a system call and nothing else. Without no-new-privs,
/// as that would be one of the mechanisms: it takes root.
pub(crate) fn load(program: &BpfProgram) -> io::Result<()> {
    seccomp(program, 0).map(drop)
}

/// Loads one that hands vhangup(2) to whoever has the descriptor, which stays open
/// across exec: as inside of a sandbox that has a supervisor of its own.
pub(crate) fn load_with_listener(program: &BpfProgram) -> io::Result<()> {
    let fd = seccomp(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: takes numbers.
    let result = unsafe { libc::fcntl(i32::try_from(fd).unwrap_or(-1), libc::F_SETFD, 0) };
    nix::errno::Errno::result(result)?;
    Ok(())
}

/// For [`load_with_listener`]: the call, the kernel's instruction to ask, and to allow.
pub(crate) fn asking() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let line = |code, jt, jf, k| seccompiler::sock_filter { code, jt, jf, k };
    let number = u32::try_from(libc::SYS_vhangup).unwrap();
    vec![
        line(LOAD_NUMBER, 0, 0, 0),
        line(JUMP_IF_EQUAL, 0, 1, number),
        line(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn seccomp(program: &BpfProgram, flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let program = Program {
        length: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_ptr(),
    };
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: the kernel reads `length` instructions at `filter`; both live.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    Ok(nix::errno::Errno::result(result)?)
}
