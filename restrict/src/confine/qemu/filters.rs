// SPDX-License-Identifier: MIT OR Apache-2.0
//! The filters of a QEMU that is started as root. One refuses what it never may; another asks
//! the supervisor about what it may until it has given root up.

use seccompiler::{BackendError, BpfProgram, SeccompRule};

use super::{
    calls::{NEVER, UNTIL_ARGUMENTS, UNTIL_GIVEN_UP, has},
    handles::FLAGS,
};
use crate::confine::{
    arguments::{self, CHECKED, Case, Checked, Test},
    bpf::{Answer, Arch, FilterError, Rules, compile, compile_before},
    seccomp::{Denied, numbers},
    syscalls::{self, Verdict},
    xen_requests::{self, Allowed, Mapping},
};

/// A new thread of the same process, and no more.
const ONLY_THREADS: Test = Test::HasAll(0, libc::CLONE_THREAD.cast_unsigned());

/// What it may call, but for its phases: [`asking`] knows of these. With [`Denied::Notify`] it
/// asks about all that is not allowed to the end, and is all that there is.
pub(crate) fn allowing(denied: Denied) -> Result<BpfProgram, FilterError> {
    allowing_for(Arch::native()?, denied)
}

fn allowing_for(arch: Arch, denied: Denied) -> Result<BpfProgram, FilterError> {
    let checked = CHECKED.iter().filter_map(|checked| {
        let number = number(arch, checked.call)?;
        Some(rules(checked, denied).map(|rules| (number, rules)))
    });
    let rest = numbers(arch, |verdict, call| match denied {
        _ if has(NEVER, call) => denied_by(denied, Verdict::Refused),
        Denied::Errno if has(UNTIL_GIVEN_UP, call) => Answer::Allow,
        Denied::Notify if has(UNTIL_GIVEN_UP, call) => Answer::Notify,
        _ if verdict == Verdict::Allowed && arguments::cases(call).is_none() => Answer::Allow,
        _ => denied_by(denied, verdict),
    });
    compile_before(
        arch,
        checked.collect::<Result<_, _>>()?,
        Answer::Allow,
        rest,
    )
}

/// Asks about what is allowed until root is given up, with a listener.
pub(crate) fn asking() -> Result<BpfProgram, FilterError> {
    asking_for(Arch::native()?)
}

fn asking_for(arch: Arch) -> Result<BpfProgram, FilterError> {
    let names = UNTIL_GIVEN_UP.iter().flat_map(|calls| calls.names);
    // Without rules any arguments do.
    let mut rules: Rules = names
        .filter_map(|name| Some((number(arch, name)?, Vec::new())))
        .collect();
    for checked in UNTIL_ARGUMENTS {
        let cases: Result<Vec<_>, _> = checked.cases.iter().map(Case::rule).collect();
        if let Some(number) = number(arch, checked.call) {
            rules.entry(number).or_default().extend(cases?);
        }
    }
    compile(arch, rules, Answer::Notify, Answer::Allow)
}

fn denied_by(denied: Denied, verdict: Verdict) -> Answer {
    match (denied, verdict) {
        (Denied::Notify, _) => Answer::Notify,
        (Denied::Errno, Verdict::Missing) => Answer::Errno(libc::ENOSYS),
        (Denied::Errno, Verdict::Allowed | Verdict::Refused) => Answer::Errno(libc::EPERM),
    }
}

fn rules(checked: &Checked, denied: Denied) -> Result<Vec<SeccompRule>, BackendError> {
    let mut rules = match checked.call {
        "ioctl" => xen_requests::one_by_one(Mapping::Always, |until| until == Allowed::Always)?,
        _ => Vec::new(),
    };
    // About these [`asking`] asks.
    if matches!(denied, Denied::Errno) {
        let also = UNTIL_ARGUMENTS
            .iter()
            .filter(|also| also.call == checked.call);
        for case in also.flat_map(|also| also.cases) {
            rules.push(case.rule()?);
        }
    }
    for case in checked.cases {
        rules.push(match checked.call {
            "clone" => case.rule_and(&[ONLY_THREADS])?,
            // Else [`asking`] has the last word.
            "openat" if matches!(denied, Denied::Notify) => {
                case.rule_and(&[Test::IsNot(2, FLAGS)])?
            }
            _ => case.rule()?,
        });
    }
    Ok(rules)
}

fn number(arch: Arch, name: &str) -> Option<i64> {
    let (_, call) = syscalls::all().find(|(_, call)| call.name == name)?;
    call.number(arch).map(i64::from)
}

#[cfg(test)]
mod tests;
