// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which system calls a confined program may issue: the mechanism `seccomp`.
//!
//! An allowlist. A call that is known and not on it fails with EPERM. One that is not
//! known, of a kernel newer than this, fails with ENOSYS, so that a C library goes on
//! with an older one. Calls by another architecture's numbers (32-bit, x32) kill the
//! process.
//!
//! # What it does not do
//!
//! A filter sees numbers, not what they point to: no path, no address. It does not say
//! how often: the launcher's own `execve` comes after the filter, so `execve` is
//! allowed, and allowed again. A program that was taken over can execute what its root
//! directory holds, or what it writes into a memory file: code that has the same
//! filters, no new privileges, and the same uid, limits and namespaces; what it could do
//! without `execve`, in its own memory. Memory may be made executable, because the
//! loader and QEMU's code generator do.
//!
//! A descriptor can be sent over a local socket to a process without a filter, where
//! somebody receives it: the namespaces and Landlock leave nobody.

use std::fmt::{self, Write};

use seccompiler::{BackendError, BpfProgram, SeccompRule};

use super::{
    arguments::{self, CHECKED},
    bpf::{Answer, Arch, FilterError, Rules, compile, compile_before},
    load::load_with_no_new_privs,
    syscalls::{self, ALLOWED, Group, MISSING, REFUSED, Verdict},
    xen_requests::{self, Allowed},
};

/// What becomes of a call that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It fails.
    Errno,
    /// The supervisor is told of it, and then it fails: for `--log-denied`.
    Notify,
}

/// With [`Denied::Notify`] it needs a listener, and takes the place of
/// [`xen_requests::supervised`], as a task has one listener.
pub(crate) fn program(denied: Denied) -> Result<BpfProgram, FilterError> {
    program_for(Arch::native()?, denied)
}

fn program_for(arch: Arch, denied: Denied) -> Result<BpfProgram, FilterError> {
    match denied {
        Denied::Errno => {
            let rest = compile(
                arch,
                refused(arch),
                Answer::Errno(libc::EPERM),
                Answer::Errno(libc::ENOSYS),
            )?;
            compile_before(arch, allowed(arch, true)?, Answer::Allow, rest)
        }
        Denied::Notify => compile(arch, allowed(arch, false)?, Answer::Allow, Answer::Notify),
    }
}

/// Refuses what a confined program may not call, in every thread of this process and
/// all it starts, for good. Sets no-new-privs, which a filter of an unprivileged
/// process needs. Xen's requests that belong to set-up stay allowed:
/// [`xen_requests::enforce`] governs these.
///
/// # Errors
/// [`FilterError`]; then no thread has the filter.
pub fn enforce() -> Result<(), FilterError> {
    load_with_no_new_privs(&program(Denied::Errno)?)
}

/// Calls that exist and are not allowed, or not with all arguments.
fn refused(arch: Arch) -> Rules {
    let refused = syscalls::all().filter(|(verdict, call)| match verdict {
        Verdict::Allowed => arguments::cases(call.name).is_some(),
        Verdict::Refused => true,
        Verdict::Missing => false,
    });
    refused
        .filter_map(|(_, call)| Some((call.number(arch)?.into(), Vec::new())))
        .collect()
}

/// Calls that are allowed, with the arguments that are.
fn allowed(arch: Arch, until_sealed: bool) -> Result<Rules, BackendError> {
    let calls = ALLOWED.iter().flat_map(|group| group.calls);
    let rules = calls.filter_map(|call| {
        let number = call.number(arch)?.into();
        Some(of_arguments(call.name, until_sealed).map(|rules| (number, rules)))
    });
    rules.collect()
}

fn of_arguments(call: &str, until_sealed: bool) -> Result<Vec<SeccompRule>, BackendError> {
    let Some(cases) = arguments::cases(call) else {
        return Ok(Vec::new());
    };
    let mut rules = Vec::new();
    if call == "ioctl" {
        // First, as they are a device model's daily work.
        rules = xen_requests::one_by_one(|allowed| match allowed {
            Allowed::Always => true,
            Allowed::UntilSealed => until_sealed,
            Allowed::Never => false,
        })?;
    }
    for case in cases {
        rules.push(case.rule()?);
    }
    Ok(rules)
}

/// Writes the policy for a person to read.
///
/// # Errors
/// That of `to`.
pub fn describe(to: &mut impl Write) -> fmt::Result {
    writeln!(to, "allowed system calls")?;
    groups(to, ALLOWED)?;
    writeln!(to, "of these, only")?;
    for checked in CHECKED {
        for case in checked.cases {
            writeln!(to, "  {}: {}: {}", checked.call, case.what, case.why)?;
        }
    }
    writeln!(to, "  ioctl: of Xen's devices, see xen-requests")?;
    writeln!(to, "refused: EPERM")?;
    groups(to, REFUSED)?;
    writeln!(to, "refused: ENOSYS, as for all that is not listed")?;
    groups(to, MISSING)?;
    writeln!(
        to,
        "another architecture's calls (32-bit, x32): the process is killed"
    )
}

fn groups(to: &mut impl Write, groups: &[Group]) -> fmt::Result {
    for group in groups {
        writeln!(to, "  {}: {}", group.title, group.why)?;
        let mut line = String::new();
        for call in group.calls {
            if line.len() + call.name.len() > 84 {
                writeln!(to, "   {line}")?;
                line.clear();
            }
            line.push(' ');
            line.push_str(call.name);
        }
        writeln!(to, "   {line}")?;
    }
    Ok(())
}
