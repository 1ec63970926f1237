// SPDX-License-Identifier: MIT OR Apache-2.0
//! No descriptor leaves the process by a socket. Where one is only harmless because of the
//! process's filter, as a gntdev that is shared with a broker, whoever it was sent to would
//! have all of dom0's power over it.

use std::fmt::{self, Write};

use seccompiler::BpfProgram;

use super::{
    bpf::{Answer, Arch, FilterError, Rules, compile},
    syscalls,
};

/// What could send one (`SCM_RIGHTS` is in memory, where a filter does not look), and why it
/// is not missed.
pub(crate) const CALLS: [(&str, &str); 3] = [
    (
        "sendmsg",
        "send(2) and sendto(2) do the same without descriptors",
    ),
    ("sendmmsg", "as sendmsg"),
    (
        "io_uring_setup",
        "a ring sends without a system call that a filter sees",
    ),
];

/// Refuses them, with `EPERM`.
pub(crate) fn program() -> Result<BpfProgram, FilterError> {
    for_arch(Arch::native()?)
}

fn for_arch(arch: Arch) -> Result<BpfProgram, FilterError> {
    let numbers = syscalls::all()
        .map(|(_, call)| call)
        .filter(|call| CALLS.iter().any(|(name, _)| *name == call.name))
        .filter_map(|call| call.number(arch));
    let rules: Rules = numbers.map(|number| (number.into(), Vec::new())).collect();
    compile(arch, rules, Answer::Errno(libc::EPERM), Answer::Allow)
}

/// For a person to read.
pub(crate) fn describe(to: &mut impl Write) -> fmt::Result {
    CALLS
        .iter()
        .try_for_each(|(name, why)| writeln!(to, "  {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::bpf::interpreter::{ALLOW, EPERM, I386, KILL, audit, run},
        *,
    };

    #[test]
    fn these_calls_are_refused_and_no_others() {
        for (arch, refused) in [
            (Arch::X86_64, [46, 307, 425]),
            (Arch::Aarch64, [211, 269, 425]),
        ] {
            let program = for_arch(arch).unwrap();
            for call in 0..600 {
                let expected = if refused.contains(&call) {
                    EPERM
                } else {
                    ALLOW
                };
                assert_eq!(run(&program, audit(arch), call, [0; 6]), expected, "{call}");
            }
            assert_eq!(run(&program, I386, 102, [0; 6]), KILL);
        }
    }
}
