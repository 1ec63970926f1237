// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which requests a confined process may issue on Xen's devices: the mechanism
//! `xen-requests`.
//!
//! The kernel's restriction does not check every request ([`KernelHole`]), and
//! some that it checks are handled badly. So a seccomp filter refuses, by number,
//! what a device model does not need. It looks at system calls, not at files:
//! it holds for every descriptor of the process, also one that is not known.
//!
//! One system call besides ioctl is refused: [`mremap`](REFUSED_CALL). C libraries copy where
//! they cannot move.
//!
//! [`KernelHole`]: crate::KernelHole

mod table;
#[cfg(test)]
mod tests;

use seccompiler::{BackendError, BpfProgram, SeccompCmpOp, SeccompRule};

pub use super::bpf::FilterError;
use super::{
    bpf::{Answer, Arch, Rules, compile, low_half},
    load::load_with_no_new_privs,
};
pub(in crate::confine) use table::by_number;
pub use table::{Allowed, Mapping, POLICY, Phase, REFUSED_CALL, Row, TYPES, describe};

use Allowed::UntilSealed;

/// Refuses, with `EPERM`, what [`POLICY`] does not allow in `phase`, in every
/// thread of this process and all it starts, for good.
///
/// A second call with a later phase adds to the first. A system call of another
/// architecture (32-bit, x32) kills the process. Sets no-new-privs, which a
/// filter of an unprivileged process needs.
///
/// This is one mechanism: alone it does not keep a process from dom0's files, or
/// from a handle that another process would use for it.
///
/// # Errors
/// [`FilterError`]; then no thread has the filter.
pub fn enforce(phase: Phase) -> Result<(), FilterError> {
    enforce_with(phase, Mapping::Always)
}

/// The same, and says until when guest memory may be mapped.
///
/// # Errors
/// As [`enforce`].
pub fn enforce_with(phase: Phase, mapping: Mapping) -> Result<(), FilterError> {
    load_with_no_new_privs(&refusing(Arch::native()?, phase, mapping)?)
}

/// What a launcher loads for a program that its supervisor seals later.
pub(crate) struct Supervised {
    /// First: refuses what is never allowed.
    pub(crate) never: BpfProgram,
    /// Then, with a listener: asks about what is allowed until the program is sealed.
    pub(crate) until_sealed: BpfProgram,
}

/// For a program in set-up.
pub(crate) fn supervised(mapping: Mapping) -> Result<Supervised, FilterError> {
    let arch = Arch::native()?;
    let until_sealed = one_by_one(mapping, |allowed| allowed == UntilSealed)?;
    let until_sealed = ioctl(arch, until_sealed);
    Ok(Supervised {
        never: refusing(arch, Phase::SetUp, mapping)?,
        until_sealed: compile(arch, until_sealed, Answer::Notify, Answer::Allow)?,
    })
}

/// For one that is sealed, but that it does not speak of some requests: what follows it has to.
pub(crate) fn sealed_but(requests: &[u32]) -> Result<BpfProgram, FilterError> {
    let arch = Arch::native()?;
    let rules = all_refused(arch, Phase::Sealed, Mapping::Always, requests)?;
    compile(arch, rules, Answer::Errno(libc::EPERM), Answer::Allow)
}

/// For a program that is sealed from its start on.
pub(crate) fn sealed(mapping: Mapping) -> Result<BpfProgram, FilterError> {
    refusing(Arch::native()?, Phase::Sealed, mapping)
}

/// Instead of any of these, with a listener: asks about all but what is always
/// allowed, so that the supervisor hears of it.
pub(crate) fn notifying(mapping: Mapping) -> Result<BpfProgram, FilterError> {
    let arch = Arch::native()?;
    compile(
        arch,
        all_refused(arch, Phase::Sealed, mapping, &[])?,
        Answer::Notify,
        Answer::Allow,
    )
}

fn refusing(arch: Arch, phase: Phase, mapping: Mapping) -> Result<BpfProgram, FilterError> {
    let rules = all_refused(arch, phase, mapping, &[])?;
    compile(arch, rules, Answer::Errno(libc::EPERM), Answer::Allow)
}

fn all_refused(
    arch: Arch,
    phase: Phase,
    mapping: Mapping,
    but: &[u32],
) -> Result<Rules, BackendError> {
    let mremap = match arch {
        Arch::X86_64 => 25,
        Arch::Aarch64 => 216,
    };
    let mut rules = ioctl(arch, all_but(phase, mapping, but)?);
    rules.insert(mremap, Vec::new());
    Ok(rules)
}

fn ioctl(arch: Arch, rules: Vec<SeccompRule>) -> Rules {
    let number = match arch {
        Arch::X86_64 => 16,
        Arch::Aarch64 => 29,
    };
    Rules::from([(number, rules)])
}

/// Matches the requests of all types that are not allowed in `phase`, but some.
fn all_but(phase: Phase, mapping: Mapping, but: &[u32]) -> Result<Vec<SeccompRule>, BackendError> {
    let of_type = |group: u8| {
        let group = u32::from(group) << 8;
        let mut conditions = vec![low_half(1, SeccompCmpOp::MaskedEq(0xff00), group)?];
        let allowed = POLICY.iter().filter(|row| row.until(mapping).during(phase));
        let numbers = allowed.map(|row| row.number).chain(but.iter().copied());
        for number in numbers.filter(|number| number & 0xff00 == group) {
            conditions.push(low_half(1, SeccompCmpOp::Ne, number)?);
        }
        SeccompRule::new(conditions)
    };
    TYPES.into_iter().map(of_type).collect()
}

/// Matches the requests of these rows.
pub(super) fn one_by_one(
    mapping: Mapping,
    rows: impl Fn(Allowed) -> bool,
) -> Result<Vec<SeccompRule>, BackendError> {
    let rows = POLICY.iter().filter(|row| rows(row.until(mapping)));
    rows.map(|row| SeccompRule::new(vec![low_half(1, SeccompCmpOp::Eq, row.number)?]))
        .collect()
}
