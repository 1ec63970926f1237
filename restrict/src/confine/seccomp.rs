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
    arguments::{self, CHECKED, Case, Checked},
    bpf::{Answer, Arch, FilterError, Rules, by_number, compile_before},
    load::load_with_no_new_privs,
    syscalls::{self, ALLOWED, Group, MISSING, REFUSED, Verdict},
    xen_requests::{self, Mapping, Phase},
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
pub(crate) fn program(denied: Denied, mapping: Mapping) -> Result<BpfProgram, FilterError> {
    program_for(Arch::native()?, denied, mapping)
}

/// For a program that is sealed: what [`xen_requests::sealed`] refuses is refused, too.
pub(crate) fn sealed(mapping: Mapping) -> Result<BpfProgram, FilterError> {
    refusing(Arch::native()?, Phase::Sealed, mapping)
}

fn program_for(arch: Arch, denied: Denied, mapping: Mapping) -> Result<BpfProgram, FilterError> {
    match denied {
        Denied::Errno => refusing(arch, Phase::SetUp, mapping),
        Denied::Notify => by_table(arch, Phase::Sealed, mapping, |_| Answer::Notify),
    }
}

fn refusing(arch: Arch, phase: Phase, mapping: Mapping) -> Result<BpfProgram, FilterError> {
    by_table(arch, phase, mapping, |verdict| match verdict {
        Verdict::Missing => Answer::Errno(libc::ENOSYS),
        Verdict::Allowed | Verdict::Refused => Answer::Errno(libc::EPERM),
    })
}

/// First the calls whose arguments are looked at, then all by their numbers.
fn by_table(
    arch: Arch,
    phase: Phase,
    mapping: Mapping,
    denied: impl Fn(Verdict) -> Answer,
) -> Result<BpfProgram, FilterError> {
    let checked = CHECKED.iter().filter_map(|checked| {
        let (_, call) = syscalls::all().find(|(_, call)| call.name == checked.call)?;
        let number = call.number(arch)?.into();
        Some(of_arguments(checked, phase, mapping).map(|rules| (number, rules)))
    });
    let rest = numbers(arch, |verdict, call| match verdict {
        Verdict::Allowed if arguments::cases(call).is_none() => Answer::Allow,
        verdict => denied(verdict),
    });
    compile_before(
        arch,
        checked.collect::<Result<_, _>>()?,
        Answer::Allow,
        rest,
    )
}

/// A number that is in no table is `Missing`, and has no name.
pub(super) fn numbers(arch: Arch, answer: impl Fn(Verdict, &str) -> Answer) -> BpfProgram {
    let known = syscalls::by_numbers(arch).into_iter();
    let known = known.map(|(verdict, name)| answer(verdict, name.unwrap_or_default()));
    by_number(known, answer(Verdict::Missing, ""))
}

/// What our init needs once it is confined: to wait for children, and for the supervisor's end.
const INIT: [&str; 12] = [
    "brk",
    "close",
    "exit",
    "exit_group",
    "madvise",
    "mmap",
    "munmap",
    "ppoll",
    "restart_syscall",
    "rt_sigreturn",
    "sendto",
    "wait4",
];

/// For our init, which is no program of anybody's.
pub(crate) fn init() -> Result<BpfProgram, FilterError> {
    let arch = Arch::native()?;
    let rest = numbers(arch, |_, call| match INIT.contains(&call) {
        true => Answer::Allow,
        false => Answer::Errno(libc::EPERM),
    });
    compile_before(arch, Rules::new(), Answer::Allow, rest)
}

/// Refuses what a confined program may not call, in every thread of this process and
/// all it starts, for good. Sets no-new-privs, which a filter of an unprivileged
/// process needs. Xen's requests that belong to set-up stay allowed:
/// [`xen_requests::enforce`] governs these.
///
/// # Errors
/// [`FilterError`]; then no thread has the filter.
pub fn enforce() -> Result<(), FilterError> {
    load_with_no_new_privs(&program(Denied::Errno, Mapping::Always)?)
}

fn of_arguments(
    checked: &Checked,
    phase: Phase,
    mapping: Mapping,
) -> Result<Vec<SeccompRule>, BackendError> {
    let mut rules = Vec::new();
    if checked.call == "ioctl" {
        // First, as they are a device model's daily work.
        rules = xen_requests::one_by_one(mapping, |allowed| allowed.during(phase))?;
    }
    for case in checked.cases {
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
    let cases = CHECKED
        .iter()
        .flat_map(|of| of.cases.iter().map(|case| (of.call, case)));
    let cases: Vec<_> = cases.collect();
    let told_at_once = |(a, x): &(&str, &Case), (b, y): &(&str, &Case)| {
        x.why == y.why && (a == b || x.what == y.what)
    };
    for cases in cases.chunk_by(told_at_once) {
        let mut calls: Vec<_> = cases.iter().map(|(call, _)| *call).collect();
        let mut uses: Vec<_> = cases.iter().map(|(_, case)| case.what).collect();
        calls.dedup();
        uses.dedup();
        writeln!(to, "  {}: {}", calls.join(", "), cases[0].1.why)?;
        words(to, uses.iter().map(|what| format!("{what};")))?;
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
        words(to, group.calls.iter().map(|call| call.name.to_owned()))?;
    }
    Ok(())
}

/// In lines of a readable length.
fn words(to: &mut impl Write, words: impl Iterator<Item = String>) -> fmt::Result {
    let mut line = String::new();
    for word in words {
        if line.len() + word.len() > 84 {
            writeln!(to, "   {line}")?;
            line.clear();
        }
        line.push(' ');
        line.push_str(&word);
    }
    writeln!(to, "   {}", line.trim_end_matches(';'))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            arguments::Test,
            bpf::interpreter::{ALLOW, ARM, ENOSYS, EPERM, I386, KILL, NOTIFY, audit, run},
            by_hand::is_a_case,
            xen_requests::{Allowed, POLICY},
        },
        *,
    };

    const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];

    fn number(arch: Arch, call: &str) -> Option<u32> {
        let (_, found) = syscalls::all()
            .find(|(_, found)| found.name == call)
            .unwrap();
        found.number(arch).map(i32::cast_unsigned)
    }

    /// Arguments with which a call is allowed.
    fn good(call: &str) -> [u64; 6] {
        let mut arguments = [0; 6];
        for test in arguments::cases(call).map_or(&[][..], |cases| cases[0].tests) {
            if let Test::Is(at, value) = *test {
                arguments[usize::from(at)] = value.into();
            }
        }
        arguments
    }

    #[test]
    fn every_number_gets_its_tables_answer() {
        for arch in ARCHES {
            let errno = program_for(arch, Denied::Errno, Mapping::Always).unwrap();
            let notify = program_for(arch, Denied::Notify, Mapping::Always).unwrap();
            for call in 0..=1000 {
                let found = syscalls::all().find(|(_, c)| c.number(arch) == Some(call));
                let arguments = found.map_or([0; 6], |(_, c)| good(c.name));
                let expected = match found {
                    Some((Verdict::Allowed, _)) => [ALLOW; 2],
                    Some((Verdict::Refused, _)) => [EPERM, NOTIFY],
                    Some((Verdict::Missing, _)) | None => [ENOSYS, NOTIFY],
                };
                let call = call.cast_unsigned();
                let answers = [&errno, &notify].map(|p| run(p, audit(arch), call, arguments));
                assert_eq!(answers, expected, "{arch:?} {call}");
            }
        }
    }

    #[test]
    fn calls_of_another_architecture_kill() {
        for (arch, foreign) in [(ARCHES[0], ARCHES[1]), (ARCHES[1], ARCHES[0])] {
            for denied in [Denied::Errno, Denied::Notify] {
                let program = program_for(arch, denied, Mapping::Always).unwrap();
                for call in 0..=600 {
                    for other in [I386, ARM, audit(foreign), 0] {
                        assert_eq!(run(&program, other, call, [0; 6]), KILL, "{call}");
                    }
                }
                let bare = run(&program, audit(arch), u32::MAX, [0; 6]);
                match (arch, denied) {
                    (Arch::X86_64, _) => assert_eq!(bare, KILL),
                    (Arch::Aarch64, Denied::Errno) => assert_eq!(bare, ENOSYS),
                    (Arch::Aarch64, Denied::Notify) => assert_eq!(bare, NOTIFY),
                }
            }
        }
        let program = program_for(Arch::X86_64, Denied::Errno, Mapping::Always).unwrap();
        for call in 0x4000_0000..=0x4000_0300 {
            assert_eq!(run(&program, audit(Arch::X86_64), call, [0; 6]), KILL);
        }
    }

    #[test]
    fn arguments_are_looked_at_and_their_high_halves_are_not() {
        let values = (0..=64)
            .chain((0..32).map(|bit| 1 << bit))
            .chain((0..0x100).map(|nr| 0x5400 | nr))
            .chain((0..0x100).map(|nr| 0x1200 | nr))
            .chain([0x5356_4d41, 0x5961_6d61, 0xffff_ffff, 0x7e02_0000]);
        let values: Vec<u64> = values.collect();
        for arch in ARCHES {
            let program = program_for(arch, Denied::Errno, Mapping::Always).unwrap();
            for checked in CHECKED {
                let Some(call) = number(arch, checked.call) else {
                    continue;
                };
                let mut allowed = 0;
                for at in 0..4 {
                    for value in &values {
                        for base in [[0; 6], good(checked.call)] {
                            for high in [0, 1 << 32, u64::MAX << 32] {
                                let mut arguments = base;
                                arguments[at] = high | value;
                                let expected = is_a_case(checked.call, arguments);
                                let answer = run(&program, audit(arch), call, arguments);
                                let right = if expected { ALLOW } else { EPERM };
                                assert_eq!(answer, right, "{} {arguments:x?}", checked.call);
                                allowed += usize::from(expected);
                            }
                        }
                    }
                }
                assert!(allowed > 0, "{}", checked.call);
            }
        }
    }

    #[test]
    fn what_an_attacker_would_try_first_is_refused() {
        let tries: &[(&str, [u64; 6])] = &[
            ("ioctl", [0, 0x5412, 0, 0, 0, 0]),      // TIOCSTI
            ("ioctl", [0, 0x541c, 0, 0, 0, 0]),      // TIOCLINUX
            ("ioctl", [0, 0x4008_54d5, 0, 0, 0, 0]), // TUNATTACHFILTER
            ("ioctl", [0, 0x4004_54ca, 0, 0, 0, 0]), // TUNSETIFF
            ("ioctl", [0, 0x5402, 0, 0, 0, 0]),      // TCSETS
            ("clone", [0x1000_0000, 0, 0, 0, 0, 0]), // CLONE_NEWUSER
            ("clone", [0x1000_0011, 0, 0, 0, 0, 0]),
            ("socket", [2, 1, 0, 0, 0, 0]),          // AF_INET
            ("socket", [16, 3, 0, 0, 0, 0]),         // AF_NETLINK
            ("socket", [38, 5, 0, 0, 0, 0]),         // AF_ALG
            ("socketpair", [40, 1, 0, 0, 0, 0]),     // AF_VSOCK
            ("setsockopt", [0, 1, 26, 0, 0, 0]),     // SO_ATTACH_FILTER
            ("prctl", [4, 1, 0, 0, 0, 0]),           // PR_SET_DUMPABLE
            ("prctl", [8, 1, 0, 0, 0, 0]),           // PR_SET_KEEPCAPS
            ("prctl", [22, 2, 0, 0, 0, 0]),          // PR_SET_SECCOMP
            ("prctl", [28, 0, 0, 0, 0, 0]),          // PR_SET_SECUREBITS
            ("prctl", [35, 0, 0, 0, 0, 0]),          // PR_SET_MM
            ("prctl", [53, 0, 0, 0, 0, 0]),          // PR_SET_SPECULATION_CTRL
            ("prctl", [0x5961_6d61, 0, 0, 0, 0, 0]), // PR_SET_PTRACER
            ("seccomp", [1, 8, 0, 0, 0, 0]),         // NEW_LISTENER
            ("seccomp", [1, 9, 0, 0, 0, 0]),
            ("seccomp", [0, 0, 0, 0, 0, 0]), // SET_MODE_STRICT
            ("recvmsg", [3, 0, 1, 0, 0, 0]), // MSG_OOB
            ("sendto", [3, 0, 0, 0x2000_0000, 0, 0]), // MSG_FASTOPEN
            ("sendmsg", [3, 0, 0x2000_0000, 0, 0, 0]),
            ("fcntl", [3, 1024, 1, 0, 0, 0]), // F_SETLEASE
            ("fcntl", [3, 1040, 1, 0, 0, 0]), // F_SETDELEG
        ];
        for arch in ARCHES {
            let program = program_for(arch, Denied::Errno, Mapping::Always).unwrap();
            for (call, arguments) in tries {
                let call_number = number(arch, call).unwrap();
                let answer = run(&program, audit(arch), call_number, *arguments);
                assert_eq!(answer, EPERM, "{call} {arguments:x?}");
            }
        }
    }

    #[test]
    fn xens_requests_are_those_of_their_table() {
        let mappings = [Mapping::Always, Mapping::UntilSealed];
        for (arch, mapping) in ARCHES.into_iter().flat_map(|a| mappings.map(|m| (a, m))) {
            let [errno, notify] =
                [Denied::Errno, Denied::Notify].map(|d| program_for(arch, d, mapping));
            let programs =
                [errno, notify, refusing(arch, Phase::Sealed, mapping)].map(Result::unwrap);
            for row in POLICY {
                let arguments = [3, row.number.into(), 0, 0, 0, 0];
                let ioctl = number(arch, "ioctl").unwrap();
                let answers = programs
                    .each_ref()
                    .map(|p| run(p, audit(arch), ioctl, arguments));
                let expected = match row.until(mapping) {
                    Allowed::Always => [ALLOW; 3],
                    Allowed::UntilSealed => [ALLOW, NOTIFY, EPERM],
                    Allowed::Never => [EPERM, NOTIFY, EPERM],
                };
                assert_eq!(answers, expected, "{}", row.request);
            }
        }
    }

    #[test]
    fn the_program_has_room_to_grow() {
        for arch in ARCHES {
            let length = program_for(arch, Denied::Errno, Mapping::Always)
                .unwrap()
                .len();
            assert!(length < 2000, "{length} instructions take long to load");
        }
    }

    #[test]
    fn a_checked_call_is_an_allowed_one() {
        for checked in CHECKED {
            let allowed = ALLOWED.iter().flat_map(|group| group.calls);
            assert_eq!(allowed.filter(|call| call.name == checked.call).count(), 1);
            assert!(checked.cases.iter().all(|case| !case.why.is_empty()));
        }
    }

    #[test]
    fn a_person_reads_every_call_and_every_rule() {
        let mut text = String::new();
        describe(&mut text).unwrap();
        for (_, call) in syscalls::all() {
            assert!(
                text.split_whitespace().any(|word| word == call.name),
                "{}",
                call.name
            );
        }
        let cases = CHECKED.iter().flat_map(|checked| checked.cases);
        assert!(cases.into_iter().all(|case| text.contains(case.what)));
        assert!(text.lines().all(|line| line.len() < 130), "{text}");
    }
}
