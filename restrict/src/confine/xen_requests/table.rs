// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy: every request of Xen's devices, until when it is allowed, and why.

use std::fmt::{self, Write};

use xen_sys::{evtchn, gntalloc, gntdev, privcmd};

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
/// process's address space: see [`MappingCost`](crate::confine::MappingCost).
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
    pub(in crate::confine) fn until_sealed(self) -> fn(u32) -> bool {
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

/// The row of an ioctl's number.
pub(in crate::confine) fn by_number(number: u32) -> Option<&'static Row> {
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
