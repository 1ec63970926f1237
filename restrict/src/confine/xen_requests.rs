// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which requests a confined process may issue on Xen's devices: the mechanism
//! `xen-requests`.
//!
//! The kernel's restriction does not check every request ([`KernelHole`]), and
//! some that it checks are handled badly. So a seccomp filter refuses, by number,
//! what a device model does not need. It looks at system calls, not at files:
//! it holds for every descriptor of the process, also one that is not known.
//!
//! [`KernelHole`]: crate::KernelHole

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads, sock_filter,
};
use xen_sys::{evtchn, gntalloc, gntdev, privcmd};

/// How far a process is: what it may issue shrinks once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the guest can influence it.
    SetUp,
    /// From then on.
    Sealed,
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

/// A row of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Device and request, in Linux's words.
    pub request: &'static str,
    /// Its number, as the driver compares it.
    pub number: u32,
    /// Until when.
    pub allowed: Allowed,
    /// Why.
    pub reason: &'static str,
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
    apply_filter_all_threads(&program(phase)?).map_err(|error| match error {
        seccompiler::Error::ThreadSync(thread) => FilterError::Thread { thread },
        other => FilterError::Refused(other),
    })
}

/// The filter as the kernel takes it.
fn program(phase: Phase) -> Result<BpfProgram, FilterError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(FilterError::Compile)?;
    let rules = TYPES.map(|group| refuse_all_but(group, phase));
    let rules = rules.into_iter().collect::<Result<Vec<_>, _>>();
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_ioctl, rules.map_err(FilterError::Compile)?)]),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        arch,
    );
    let filter: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(FilterError::Compile)?;
    Ok(kill_x32(arch).into_iter().chain(filter).collect())
}

/// Matches the requests of one type that are not allowed.
fn refuse_all_but(group: u8, phase: Phase) -> Result<SeccompRule, BackendError> {
    // The kernel's request is an `unsigned int`: the high half is ignored.
    let number =
        |op, value: u32| SeccompCondition::new(1, SeccompCmpArgLen::Dword, op, u64::from(value));
    let group = u32::from(group) << 8;
    let mut conditions = vec![number(SeccompCmpOp::MaskedEq(0xff00), group)?];
    let allowed = POLICY.iter().filter(|row| row.allowed.during(phase));
    for row in allowed.filter(|row| row.number & 0xff00 == group) {
        conditions.push(number(SeccompCmpOp::Ne, row.number)?);
    }
    SeccompRule::new(conditions)
}

/// x32's system calls have numbers of their own and the same architecture, so
/// the filter behind would not know them.
fn kill_x32(arch: TargetArch) -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    let statement = |code: u32, jt, jf, k| sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt,
        jf,
        k,
    };
    if arch != TargetArch::x86_64 {
        return Vec::new();
    }
    vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32),
        statement(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_KILL_PROCESS,
        ),
    ]
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The policy could not be compiled for this architecture.
    #[error("the filter of Xen requests cannot be built: only x86_64 and aarch64 are known")]
    Compile(#[source] BackendError),
    /// A thread has filters that the others have not.
    #[error(
        "thread {thread} has a seccomp filter of its own, so all cannot get the same: load it \
         before threads are started"
    )]
    Thread {
        /// Its number.
        thread: i64,
    },
    /// The kernel refused.
    #[error(
        "the kernel refused the filter of Xen requests: it needs CONFIG_SECCOMP_FILTER, and a \
         sandbox around this process may forbid it"
    )]
    Refused(#[source] seccompiler::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    const X86_64: u32 = 0xc000_003e;
    const AARCH64: u32 = 0xc000_00b7;
    const I386: u32 = 0x4000_0003;

    fn native() -> u32 {
        if cfg!(target_arch = "x86_64") {
            X86_64
        } else {
            AARCH64
        }
    }

    /// Runs a program as the kernel would, on one system call.
    fn run(program: &[sock_filter], call: u32, arch: u32, request: u64) -> u32 {
        let mut data = [0; 64];
        data[..4].copy_from_slice(&call.to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        data[16..24].copy_from_slice(&3_u64.to_ne_bytes());
        data[24..32].copy_from_slice(&request.to_ne_bytes());
        let (mut at, mut register) = (0, 0_u32);
        loop {
            let i = &program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
            match u32::from(i.code) {
                0x20 => {
                    let k = i.k as usize;
                    register = u32::from_ne_bytes(data[k..k + 4].try_into().unwrap());
                }
                0x54 => register &= i.k,
                0x05 => at += i.k as usize,
                0x15 => at += jump(register == i.k),
                0x25 => at += jump(register > i.k),
                0x35 => at += jump(register >= i.k),
                0x06 => return i.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn ioctl(program: &[sock_filter], request: u64) -> u32 {
        let call = u32::try_from(libc::SYS_ioctl).unwrap();
        run(program, call, native(), request)
    }

    #[test]
    fn every_number_of_the_types_is_refused_unless_its_row_allows_it() {
        let mut sizes: Vec<u32> = POLICY.iter().map(|row| row.number >> 16 & 0x3fff).collect();
        sizes.extend([0, 1, 2, 3, 8, 16, 24, 0x3fff]);
        sizes.sort_unstable();
        sizes.dedup();
        for phase in [Phase::SetUp, Phase::Sealed] {
            let program = program(phase).unwrap();
            let mut allowed = 0;
            for (group, nr) in TYPES
                .iter()
                .flat_map(|g| (0..=255_u32).map(move |nr| (*g, nr)))
            {
                for (size, direction) in sizes.iter().flat_map(|s| (0..4_u32).map(move |d| (*s, d)))
                {
                    let number = direction << 30 | size << 16 | u32::from(group) << 8 | nr;
                    let row = POLICY.iter().find(|row| row.number == number);
                    let expected = row.is_some_and(|row| row.allowed.during(phase));
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
                .filter(|row| row.allowed.during(phase))
                .count();
            assert_eq!(allowed, rows);
        }
    }

    #[test]
    fn other_types_and_calls_are_left_alone() {
        let program = program(Phase::Sealed).unwrap();
        for group in (0..=255_u64).filter(|g| !TYPES.iter().any(|t| u64::from(*t) == *g)) {
            assert_eq!(ioctl(&program, group << 8 | 1), ALLOW, "{group:#x}");
        }
        assert_eq!(
            run(&program, 0, native(), privcmd::HYPERCALL.number().into()),
            ALLOW
        );
    }

    #[test]
    fn other_architectures_are_killed() {
        let program = program(Phase::SetUp).unwrap();
        let foreign = if native() == X86_64 { AARCH64 } else { X86_64 };
        for arch in [I386, foreign] {
            assert_eq!(run(&program, 54, arch, 0), KILL);
        }
        if native() == X86_64 {
            for call in [0x4000_0000, 0x4000_0202, u32::MAX] {
                assert_eq!(run(&program, call, X86_64, 0), KILL, "{call:#x}");
            }
        }
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
