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

use std::fmt::{self, Write};

use seccompiler::{BackendError, BpfProgram, SeccompCmpOp, SeccompRule};
use xen_sys::{evtchn, gntalloc, gntdev, privcmd};

pub use super::bpf::FilterError;
use super::{
    bpf::{Answer, Arch, Rules, compile, low_half},
    load::load_with_no_new_privs,
};

/// How far a process is: what it may issue shrinks once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the guest can influence it.
    SetUp,
    /// From then on.
    Sealed,
}

impl Phase {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetUp => "set-up",
            Self::Sealed => "sealed",
        }
    }
}

/// Until when a request is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// In set-up and after.
    Always,
    /// In set-up only.
    UntilSealed,
    /// Not in a confined process.
    Never,
}

impl Allowed {
    /// Whether it is allowed in `phase`.
    #[must_use]
    pub const fn during(self, phase: Phase) -> bool {
        matches!(
            (self, phase),
            (Self::Always, _) | (Self::UntilSealed, Phase::SetUp)
        )
    }
}

/// Until when a program may map its guest's memory (`MMAPBATCH_V2`).
///
/// The driver copies the list of frames, and nothing bounds or accounts that but the
/// process's address space: see [`MappingCost`](super::MappingCost).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// In both phases.
    #[default]
    Always,
    /// In set-up only: for a device model that maps its guest once.
    UntilSealed,
}

impl Mapping {
    /// What is allowed until a program is sealed, by number.
    pub(super) fn until_sealed(self) -> fn(u32) -> bool {
        match self {
            Self::Always => |request| is_until_sealed(request, Self::Always),
            Self::UntilSealed => |request| is_until_sealed(request, Self::UntilSealed),
        }
    }
}

fn is_until_sealed(request: u32, mapping: Mapping) -> bool {
    by_number(request).is_some_and(|row| row.until(mapping) == UntilSealed)
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::UntilSealed => "until the program is sealed",
            Self::Never => "never",
        })
    }
}

/// A row of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Device and request, in Linux's words.
    pub request: &'static str,
    /// Its number, as the driver compares it.
    pub number: u32,
    /// Until when, if nothing else is said of it.
    pub allowed: Allowed,
    /// Why.
    pub reason: &'static str,
}

impl Row {
    /// Until when.
    #[must_use]
    pub fn until(&self, mapping: Mapping) -> Allowed {
        match mapping {
            Mapping::UntilSealed if self.number == privcmd::MMAPBATCH_V2.number() => UntilSealed,
            _ => self.allowed,
        }
    }
}

const fn row(request: &'static str, number: u32, allowed: Allowed, reason: &'static str) -> Row {
    Row {
        request,
        number,
        allowed,
        reason,
    }
}

use Allowed::{Always, Never, UntilSealed};

const GRANTS: &str = "a grant names its domain itself, and nothing restricts the device";

/// The types of ioctl that the devices share. Whatever is not in [`POLICY`] and
/// has one of these types is refused.
pub const TYPES: [u8; 3] = [b'P', b'E', b'G'];

/// privcmd frees the pages of a mapping that is moved, where dom0 is not PV, while they stay
/// mapped at its new place. Where dom0 is PV, Xen refuses the kernel's new entries.
pub const REFUSED_CALL: &str = "mremap";

/// Every request of Xen's devices.
pub const POLICY: &[Row] = &[
    row(
        "privcmd DM_OP",
        privcmd::DM_OP.number(),
        Always,
        "the device model's work",
    ),
    row(
        "privcmd MMAPBATCH_V2",
        privcmd::MMAPBATCH_V2.number(),
        Always,
        "guest memory; the driver checks the domain",
    ),
    row(
        "privcmd MMAP_RESOURCE",
        privcmd::MMAP_RESOURCE.number(),
        UntilSealed,
        "ioreq pages are mapped once; the driver does not compare the count with the mapping",
    ),
    row(
        "privcmd RESTRICT",
        privcmd::RESTRICT.number(),
        UntilSealed,
        "restricts; needed once",
    ),
    row(
        "privcmd HYPERCALL",
        privcmd::HYPERCALL.number(),
        Never,
        "any power that Xen gives dom0",
    ),
    row(
        "privcmd MMAP",
        privcmd::MMAP.number(),
        Never,
        "machine frames; superseded",
    ),
    row(
        "privcmd MMAPBATCH",
        privcmd::MMAPBATCH.number(),
        Never,
        "superseded",
    ),
    row(
        "privcmd IRQFD",
        privcmd::IRQFD.number(),
        Never,
        "keeps a dm_op for later; no device model of ours needs it",
    ),
    row(
        "privcmd IOEVENTFD",
        privcmd::IOEVENTFD.number(),
        Never,
        "takes local ports and page lists unchecked",
    ),
    row(
        "privcmd PCIDEV_GET_GSI",
        privcmd::PCIDEV_GET_GSI.number(),
        Never,
        "tells of dom0's devices, unchecked",
    ),
    row(
        "evtchn NOTIFY",
        evtchn::NOTIFY.number(),
        Always,
        "answers the guest",
    ),
    row(
        "evtchn UNBIND",
        evtchn::UNBIND.number(),
        Always,
        "own ports only",
    ),
    row(
        "evtchn BIND_INTERDOMAIN",
        evtchn::BIND_INTERDOMAIN.number(),
        Always,
        "a vcpu may come later; the driver checks the domain",
    ),
    row(
        "evtchn RESET",
        evtchn::RESET.number(),
        Always,
        "own ring only",
    ),
    row(
        "evtchn RESTRICT_DOMID",
        evtchn::RESTRICT_DOMID.number(),
        UntilSealed,
        "restricts; needed once",
    ),
    row(
        "evtchn BIND_VIRQ",
        evtchn::BIND_VIRQ.number(),
        Never,
        "dom0's interrupts",
    ),
    row(
        "evtchn BIND_UNBOUND_PORT",
        evtchn::BIND_UNBOUND_PORT.number(),
        Never,
        "refused on a restricted handle anyway",
    ),
    row(
        "evtchn BIND_STATIC",
        evtchn::BIND_STATIC.number(),
        Never,
        "takes any port of dom0, unchecked",
    ),
    row(
        "gntdev MAP_GRANT_REF",
        gntdev::MAP_GRANT_REF.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev UNMAP_GRANT_REF",
        gntdev::UNMAP_GRANT_REF.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev GET_OFFSET_FOR_VADDR",
        gntdev::GET_OFFSET_FOR_VADDR.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev SET_MAX_GRANTS",
        gntdev::SET_MAX_GRANTS.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev, gntalloc SET_UNMAP_NOTIFY",
        gntdev::SET_UNMAP_NOTIFY.number(),
        Never,
        "takes any local port",
    ),
    row(
        "gntdev GRANT_COPY",
        gntdev::GRANT_COPY.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev DMABUF_EXP_FROM_REFS",
        gntdev::DMABUF_EXP_FROM_REFS.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev DMABUF_EXP_WAIT_RELEASED",
        gntdev::DMABUF_EXP_WAIT_RELEASED.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev DMABUF_IMP_TO_REFS",
        gntdev::DMABUF_IMP_TO_REFS.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntdev DMABUF_IMP_RELEASE",
        gntdev::DMABUF_IMP_RELEASE.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntalloc ALLOC_GREF",
        gntalloc::ALLOC_GREF.number(),
        Never,
        GRANTS,
    ),
    row(
        "gntalloc DEALLOC_GREF",
        gntalloc::DEALLOC_GREF.number(),
        Never,
        GRANTS,
    ),
];

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
        all_refused(arch, Phase::Sealed, mapping)?,
        Answer::Notify,
        Answer::Allow,
    )
}

fn refusing(arch: Arch, phase: Phase, mapping: Mapping) -> Result<BpfProgram, FilterError> {
    let rules = all_refused(arch, phase, mapping)?;
    compile(arch, rules, Answer::Errno(libc::EPERM), Answer::Allow)
}

fn all_refused(arch: Arch, phase: Phase, mapping: Mapping) -> Result<Rules, BackendError> {
    let mremap = match arch {
        Arch::X86_64 => 25,
        Arch::Aarch64 => 216,
    };
    let mut rules = ioctl(arch, all_but(phase, mapping)?);
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

/// Matches the requests of all types that are not allowed in `phase`.
fn all_but(phase: Phase, mapping: Mapping) -> Result<Vec<SeccompRule>, BackendError> {
    let of_type = |group: u8| {
        let group = u32::from(group) << 8;
        let mut conditions = vec![low_half(1, SeccompCmpOp::MaskedEq(0xff00), group)?];
        let allowed = POLICY.iter().filter(|row| row.until(mapping).during(phase));
        for row in allowed.filter(|row| row.number & 0xff00 == group) {
            conditions.push(low_half(1, SeccompCmpOp::Ne, row.number)?);
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

/// The row of an ioctl's number.
pub(super) fn by_number(number: u32) -> Option<&'static Row> {
    POLICY.iter().find(|row| row.number == number)
}

/// Writes the policy for a person to read.
///
/// # Errors
/// That of `to`.
pub fn describe(to: &mut impl Write, mapping: Mapping) -> fmt::Result {
    for allowed in [Always, UntilSealed, Never] {
        writeln!(to, "{allowed}")?;
        for row in POLICY.iter().filter(|row| row.until(mapping) == allowed) {
            writeln!(to, "  {}: {}", row.request, row.reason)?;
        }
    }
    writeln!(to, "  every other number of these devices' types")?;
    writeln!(
        to,
        "  {REFUSED_CALL}: a mapping that moves, privcmd frees while it is used"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{
        super::bpf::interpreter::{ALLOW, ARM, EPERM, I386, KILL, NOTIFY, audit, run},
        *,
    };

    const NATIVE: Arch = Arch::NATIVE.unwrap();

    const MAPPINGS: [Mapping; 2] = [Mapping::Always, Mapping::UntilSealed];

    fn ioctl(program: &BpfProgram, request: u64) -> u32 {
        let call = u32::try_from(libc::SYS_ioctl).unwrap();
        run(program, audit(NATIVE), call, [3, request, 0, 0, 0, 0])
    }

    #[test]
    fn every_number_of_the_types_is_refused_unless_its_row_allows_it() {
        let mut sizes: Vec<u32> = POLICY.iter().map(|row| row.number >> 16 & 0x3fff).collect();
        sizes.extend([0, 1, 2, 3, 8, 16, 24, 0x3fff]);
        sizes.sort_unstable();
        sizes.dedup();
        let phases = [Phase::SetUp, Phase::Sealed].map(|phase| MAPPINGS.map(|m| (phase, m)));
        for (phase, mapping) in phases.into_iter().flatten() {
            let program = refusing(NATIVE, phase, mapping).unwrap();
            let mut allowed = 0;
            for (group, nr) in TYPES
                .iter()
                .flat_map(|g| (0..=255_u32).map(move |nr| (*g, nr)))
            {
                for (size, direction) in sizes.iter().flat_map(|s| (0..4_u32).map(move |d| (*s, d)))
                {
                    let number = direction << 30 | size << 16 | u32::from(group) << 8 | nr;
                    let row = POLICY.iter().find(|row| row.number == number);
                    let expected = row.is_some_and(|row| row.until(mapping).during(phase));
                    let answer = if expected { ALLOW } else { EPERM };
                    for high in [0, 1 << 32, u64::MAX << 32] {
                        assert_eq!(
                            ioctl(&program, high | u64::from(number)),
                            answer,
                            "{number:#x}"
                        );
                    }
                    allowed += usize::from(expected);
                }
            }
            let rows = POLICY
                .iter()
                .filter(|row| row.until(mapping).during(phase))
                .count();
            assert_eq!(allowed, rows);
        }
    }

    #[test]
    fn other_types_are_left_alone_and_all_calls_but_one() {
        let program = refusing(NATIVE, Phase::Sealed, Mapping::Always).unwrap();
        for group in (0..=255_u64).filter(|g| !TYPES.iter().any(|t| u64::from(*t) == *g)) {
            assert_eq!(ioctl(&program, group << 8 | 1), ALLOW, "{group:#x}");
        }
        let of_call = |call| {
            let request = privcmd::HYPERCALL.number().into();
            run(&program, audit(NATIVE), call, [3, request, 0, 0, 0, 0])
        };
        for call in 0..1000 {
            let expected = match i64::from(call) {
                libc::SYS_ioctl | libc::SYS_mremap => EPERM,
                _ => ALLOW,
            };
            assert_eq!(of_call(call), expected, "{call}");
        }
    }

    #[test]
    fn other_architectures_are_killed() {
        for (arch, foreign) in [(Arch::X86_64, Arch::Aarch64), (Arch::Aarch64, Arch::X86_64)] {
            let program = refusing(arch, Phase::SetUp, Mapping::Always).unwrap();
            for other in [I386, ARM, audit(foreign)] {
                assert_eq!(run(&program, other, 54, [0; 6]), KILL);
            }
        }
        let program = refusing(Arch::X86_64, Phase::SetUp, Mapping::Always).unwrap();
        for call in [0x4000_0000, 0x4000_0202, u32::MAX] {
            assert_eq!(
                run(&program, audit(Arch::X86_64), call, [0; 6]),
                KILL,
                "{call:#x}"
            );
        }
    }

    #[test]
    fn the_numbers_of_the_calls_are_the_kernels() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let rules = all_refused(arch, Phase::Sealed, Mapping::Always).unwrap();
            let number = |name| {
                let (_, call) = super::super::syscalls::all().find(|(_, c)| c.name == name)?;
                call.number(arch).map(i64::from)
            };
            let expected = ["ioctl", REFUSED_CALL].map(|name| number(name).unwrap());
            assert_eq!(rules.into_keys().collect::<BTreeSet<_>>(), expected.into());
        }
    }

    fn asked(mapping: Mapping) -> [BpfProgram; 4] {
        let Supervised {
            never,
            until_sealed,
        } = supervised(mapping).unwrap();
        let (sealed, notifying) = (sealed(mapping).unwrap(), notifying(mapping).unwrap());
        [never, until_sealed, sealed, notifying]
    }

    #[test]
    fn only_guest_memory_can_be_mapped_in_set_up_only() {
        let moved: Vec<_> = POLICY
            .iter()
            .filter(|row| row.until(Mapping::UntilSealed) != row.until(Mapping::Always))
            .map(|row| (row.request, row.until(Mapping::UntilSealed)))
            .collect();
        assert_eq!(moved, [("privcmd MMAPBATCH_V2", UntilSealed)]);
    }

    #[test]
    fn the_supervisor_is_asked_about_what_its_row_says_and_nothing_else() {
        for mapping in MAPPINGS {
            let asked = asked(mapping);
            for row in POLICY {
                for high in [0, u64::MAX << 32] {
                    let number = high | u64::from(row.number);
                    let answers = asked.each_ref().map(|p| ioctl(p, number));
                    let expected = match row.until(mapping) {
                        Always => [ALLOW; 4],
                        UntilSealed => [ALLOW, NOTIFY, EPERM, NOTIFY],
                        Never => [EPERM, ALLOW, EPERM, NOTIFY],
                    };
                    assert_eq!(answers, expected, "{}", row.request);
                    let until_sealed = mapping.until_sealed()(row.number);
                    assert_eq!(until_sealed, row.until(mapping) == UntilSealed);
                }
            }
        }
        let [never, until_sealed, sealed, notifying] = asked(Mapping::Always);
        let mremap = |p: &BpfProgram| {
            let call = u32::try_from(libc::SYS_mremap).unwrap();
            run(p, audit(NATIVE), call, [0; 6])
        };
        assert_eq!(
            [&never, &until_sealed, &sealed, &notifying].map(mremap),
            [EPERM, ALLOW, EPERM, NOTIFY]
        );
        // FIONREAD, and a number of the devices' types that nobody has yet.
        assert_eq!(
            [&never, &until_sealed, &sealed, &notifying].map(|p| ioctl(p, 0x541b)),
            [ALLOW; 4]
        );
        assert_eq!(
            [&never, &until_sealed, &notifying].map(|p| ioctl(p, 0x50ff)),
            [EPERM, ALLOW, NOTIFY]
        );
    }

    #[test]
    fn a_person_reads_every_row() {
        let mut text = String::new();
        describe(&mut text, Mapping::Always).unwrap();
        assert!(
            POLICY
                .iter()
                .all(|row| text.contains(row.request) && text.contains(row.reason)),
            "{text}"
        );
    }

    #[test]
    fn the_policy_names_each_number_once_and_has_a_reason() {
        for (at, row) in POLICY.iter().enumerate() {
            assert!(
                TYPES.contains(&(row.number.to_ne_bytes()[1])),
                "{}",
                row.request
            );
            assert!(!row.reason.is_empty(), "{}", row.request);
            let again = POLICY[..at].iter().find(|other| other.number == row.number);
            assert!(again.is_none(), "{} and {again:?}", row.request);
        }
    }
}
