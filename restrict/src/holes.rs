// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel offers on a restricted handle without a check, and no filter refuses. How
//! each is told apart: by an answer that has no effect.

use std::{
    fmt,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use nix::errno::Errno;
use xen_sys::{evtchn, privcmd};

use crate::{
    PAGE_SIZE,
    device::{Device, null_argument},
    ioctl,
};

/// Something that the kernel does not check on a restricted handle, or not all of it.
///
/// What each is worth to an attacker, with the kernels that were seen to have it, is in the
/// project's `docs/kernel-holes.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelHole {
    /// evtchn `BIND_STATIC` (Linux 6.6): takes any port of the local domain.
    BindStatic,
    /// privcmd `MMAP_RESOURCE`: does not compare its count with the mapping, nor whether
    /// the mapping is in use.
    MmapResource,
    /// privcmd `MMAP` in a PV dom0: does not look whose mapping it is.
    Mmap,
    /// `mremap` of a privcmd mapping: what is mapped is freed, and stays mapped.
    MovedMapping,
    /// privcmd `IRQFD` (Linux 6.6, where configured).
    Irqfd,
    /// privcmd `IOEVENTFD` (Linux 6.7, where configured): takes any local port.
    Ioeventfd,
    /// privcmd `PCIDEV_GET_GSI` (Linux 6.12): tells the interrupt of any PCI
    /// device.
    PcidevGetGsi,
    /// privcmd `MMAPBATCH_V2`: copies an array of any length into the kernel's memory. Told
    /// by the request being there: no kernel is known that bounds it.
    MmapBatch,
    /// privcmd `DM_OP`: pins pages without end for a buffer of size 0, and writes past its
    /// list of them. Told as [`MmapBatch`](Self::MmapBatch) is.
    DmOp,
}

impl KernelHole {
    /// Whether the filter of a sealed program closes it
    /// ([`confine::xen_requests`](crate::confine::xen_requests)). The others are in what a
    /// device model needs for its work, and wait for a kernel without them.
    #[must_use]
    pub const fn is_refused_by_filter(self) -> bool {
        !matches!(self, Self::MmapBatch | Self::DmOp)
    }
}

impl fmt::Display for KernelHole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BindStatic => "IOCTL_EVTCHN_BIND_STATIC",
            Self::MmapResource => "IOCTL_PRIVCMD_MMAP_RESOURCE",
            Self::Mmap => "IOCTL_PRIVCMD_MMAP",
            Self::MovedMapping => "mremap of privcmd",
            Self::Irqfd => "IOCTL_PRIVCMD_IRQFD",
            Self::Ioeventfd => "IOCTL_PRIVCMD_IOEVENTFD",
            Self::PcidevGetGsi => "IOCTL_PRIVCMD_PCIDEV_GET_GSI",
            Self::MmapBatch => "IOCTL_PRIVCMD_MMAPBATCH_V2",
            Self::DmOp => "IOCTL_PRIVCMD_DM_OP",
        })
    }
}

/// privcmd's, each by its request.
const REQUESTS: [(u32, KernelHole); 7] = [
    (privcmd::MMAP_RESOURCE.number(), KernelHole::MmapResource),
    (privcmd::MMAP.number(), KernelHole::Mmap),
    (privcmd::IRQFD.number(), KernelHole::Irqfd),
    (privcmd::IOEVENTFD.number(), KernelHole::Ioeventfd),
    (privcmd::PCIDEV_GET_GSI.number(), KernelHole::PcidevGetGsi),
    (privcmd::MMAPBATCH_V2.number(), KernelHole::MmapBatch),
    (privcmd::DM_OP.number(), KernelHole::DmOp),
];

pub(crate) fn of(device: Device, fd: BorrowedFd<'_>) -> Vec<KernelHole> {
    let mut holes = Vec::new();
    match device {
        Device::PrivCmd => {
            // One that is there misses its argument first of all; MMAP in a dom0 that is not
            // PV does not get so far.
            let there = |(number, _): &(u32, _)| null_argument(fd, *number) == Errno::EFAULT;
            holes.extend(REQUESTS.into_iter().filter(there).map(|(_, hole)| hole));
            if can_move(fd) {
                holes.push(KernelHole::MovedMapping);
            }
        }
        Device::EventChannel => {
            // A port that cannot be: ENOMEM where the request is there.
            let mut impossible = evtchn::BindStatic { port: u32::MAX };
            match ioctl::plain(fd, evtchn::BIND_STATIC, &mut impossible) {
                // EPERM: a filter refuses it.
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EBADF | Errno::ENOTTY) => {}
                _ => holes.push(KernelHole::BindStatic),
            }
        }
        Device::GrantDevice | Device::GrantAllocator => {}
    }
    holes
}

/// Whether a mapping of privcmd can be moved: one in which nothing is that could be freed.
fn can_move(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: at a free place, which is not accessed.
    let map = |flags, fd| unsafe {
        libc::mmap(ptr::null_mut(), PAGE_SIZE, libc::PROT_NONE, flags, fd, 0)
    };
    let from = map(libc::MAP_SHARED, fd.as_raw_fd());
    let to = map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let moved = from != libc::MAP_FAILED && to != libc::MAP_FAILED && {
        // SAFETY: two mappings of this function's own; the second is replaced.
        let at = unsafe { libc::mremap(from, PAGE_SIZE, PAGE_SIZE, flags, to) };
        at != libc::MAP_FAILED
    };
    for at in [from, to] {
        let is_there = at != libc::MAP_FAILED && !(moved && at == from);
        if is_there {
            // SAFETY: as above; what was moved is at `to`.
            unsafe { libc::munmap(at, PAGE_SIZE) };
        }
    }
    moved
}
