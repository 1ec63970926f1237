// SPDX-License-Identifier: MIT OR Apache-2.0
//! From rules on system calls to the program that the kernel runs.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

#[cfg(test)]
pub(super) mod interpreter;

/// Where the numbers of system calls are as they are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// The one this is built for.
    pub(crate) const NATIVE: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else {
        None
    };

    pub(crate) fn native() -> Result<Self, FilterError> {
        Self::NATIVE.ok_or(FilterError::Architecture)
    }
}

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Allow,
    Errno(i32),
    /// Asks the supervisor: the program is to be loaded with a listener. Without one,
    /// or when it is gone, the call fails with ENOSYS.
    Notify,
}

impl Answer {
    /// As the kernel takes it.
    fn value(self) -> u32 {
        match self {
            Self::Allow => libc::SECCOMP_RET_ALLOW,
            Self::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(),
            Self::Notify => libc::SECCOMP_RET_USER_NOTIF,
        }
    }

    fn action(self) -> SeccompAction {
        match self {
            Self::Allow => SeccompAction::Allow,
            Self::Errno(errno) => SeccompAction::Errno(errno.cast_unsigned()),
            Self::Notify => MARK,
        }
    }
}

/// Stands for an action that seccompiler does not know, until its instruction is
/// replaced. None of our programs has a tracer.
const MARK: SeccompAction = SeccompAction::Trace(0x5872);

/// Calls by number, each with its rules. One of them has to match; without rules any
/// arguments do.
pub(super) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Answers the calls that match with one, all others with the other. Calls by another
/// architecture's numbers kill the process.
pub(super) fn compile(
    arch: Arch,
    rules: Rules,
    matching: Answer,
    other: Answer,
) -> Result<BpfProgram, FilterError> {
    let mut program = parts(arch, rules, matching.action(), other.action())?;
    for marked in program
        .iter_mut()
        .filter(|instruction| is_mark(instruction))
    {
        marked.k = libc::SECCOMP_RET_USER_NOTIF;
    }
    Ok(program)
}

/// Answers the calls that match; all others are for the program `next`.
pub(super) fn compile_before(
    arch: Arch,
    rules: Rules,
    matching: Answer,
    next: BpfProgram,
) -> Result<BpfProgram, FilterError> {
    let mut program = parts(arch, rules, matching.action(), MARK)?;
    let end = program.len();
    for (at, marked) in program.iter_mut().enumerate().filter(|(_, i)| is_mark(i)) {
        let distance =
            u32::try_from(end - at - 1).map_err(|_| BackendError::FilterTooLarge(end))?;
        *marked = statement(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance);
    }
    program.extend(next);
    match program.len() {
        0..=LONGEST => Ok(program),
        length => Err(BackendError::FilterTooLarge(length).into()),
    }
}

/// Answers every number, by halving: what is loaded and what is run for a call stay short,
/// where a list of all numbers would be thousands of instructions. `answers` are those of 0
/// and so on, `then` is that of all that follow. It follows another program, which knows the
/// architecture.
pub(super) fn by_number(answers: impl Iterator<Item = Answer>, then: Answer) -> BpfProgram {
    let mut ranges: Vec<(u32, Answer)> = Vec::new();
    for (number, answer) in (0..).zip(answers.chain([then])) {
        if ranges.last().is_none_or(|(_, last)| *last != answer) {
            ranges.push((number, answer));
        }
    }
    let mut program = Vec::new();
    halves(&ranges, &mut program);
    program.push(statement(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        0,
        0,
        0,
    ));
    program.reverse();
    program
}

/// The first begins at 0, each ends where the next begins. Written from its end on, as a jump
/// is as long as what it jumps over.
fn halves(ranges: &[(u32, Answer)], backwards: &mut BpfProgram) {
    const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    if let [(_, answer)] = ranges {
        backwards.push(statement(RETURN, 0, 0, answer.value()));
        return;
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let Some((begin, _)) = high.first() else {
        return;
    };
    halves(high, backwards);
    let end = backwards.len();
    halves(low, backwards);
    let distance = backwards.len() - end;
    if let Ok(distance) = u8::try_from(distance) {
        backwards.push(statement(AT_LEAST, distance, 0, *begin));
    } else {
        let distance = u32::try_from(distance).unwrap_or(u32::MAX);
        backwards.push(statement(libc::BPF_JMP | libc::BPF_JA, 0, 0, distance));
        backwards.push(statement(AT_LEAST, 0, 1, *begin));
    }
}

/// The kernel's `BPF_MAXINSNS`.
const LONGEST: usize = 4096;

fn parts(
    arch: Arch,
    rules: Rules,
    matching: SeccompAction,
    other: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    let filter: BpfProgram = SeccompFilter::new(rules, other, matching, target)?.try_into()?;
    Ok(kill_x32(arch).into_iter().chain(filter).collect())
}

fn is_mark(instruction: &sock_filter) -> bool {
    u32::from(instruction.code) == RETURN && instruction.k == u32::from(MARK)
}

const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// x32's system calls have numbers of their own and the same architecture, so
/// what follows would not know them.
fn kill_x32(arch: Arch) -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    if arch != Arch::X86_64 {
        return Vec::new();
    }
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        statement(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ]
}

fn statement(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    }
}

/// On the low half of an argument. The kernel's `int` and `unsigned int` parameters
/// are no more, so with the high half a program could have its way.
pub(super) fn low_half(
    argument: u8,
    op: SeccompCmpOp,
    value: u32,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value.into())
}

/// Why there is no filter. Then there is none in any thread.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The numbers of this architecture's system calls are not known.
    #[error("a filter of system calls cannot be made: only x86_64 and aarch64 are known")]
    Architecture,
    /// The policy could not be compiled.
    #[error("a filter of system calls cannot be made of the policy: report this")]
    Compile(#[from] BackendError),
    /// A thread has filters that the others have not.
    #[error(
        "thread {thread} has a seccomp filter of its own, so all cannot get the same: load it \
         before threads are started"
    )]
    Thread {
        /// Its number.
        thread: i64,
    },
    /// Somebody else is asked already.
    #[error(
        "a sandbox around this process has a seccomp listener, and the kernel allows one: start \
         it outside of that sandbox"
    )]
    Listener,
    /// No right to load one.
    #[error("a filter needs no-new-privs or CAP_SYS_ADMIN: turn no-new-privs on, or be root")]
    NoRight,
    /// The kernel refused.
    #[error(
        "the kernel refused the filter: it needs CONFIG_SECCOMP_FILTER and Linux 5.5, and a \
         sandbox around this process may forbid it"
    )]
    Refused(#[source] std::io::Error),
}

/// What the kernel's answer to loading means.
impl From<std::io::Error> for FilterError {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EBUSY) => Self::Listener,
            Some(libc::EACCES) => Self::NoRight,
            _ => Self::Refused(error),
        }
    }
}
