// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel offers on a restricted handle without a check, and no filter refuses. How
//! each is told apart: by an answer that has no effect.

use std::{
    fmt, mem,
    os::fd::{AsRawFd as _, BorrowedFd, RawFd},
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
    /// A privcmd mapping that is split, by `munmap` of a part for one: what is mapped is freed
    /// twice (CVE-2026-31787, mended in 2026).
    SplitMapping,
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
    /// list of them.
    DmOp,
}

impl KernelHole {
    /// Whether the filter of a sealed program closes it
    /// ([`confine::xen_requests`](crate::confine::xen_requests)). The others are in what a
    /// device model needs for its work, and wait for a kernel without them.
    #[must_use]
    pub const fn is_refused_by_filter(self) -> bool {
        !matches!(self, Self::MmapBatch | Self::DmOp | Self::SplitMapping)
    }
}

impl fmt::Display for KernelHole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BindStatic => "IOCTL_EVTCHN_BIND_STATIC",
            Self::MmapResource => "IOCTL_PRIVCMD_MMAP_RESOURCE",
            Self::Mmap => "IOCTL_PRIVCMD_MMAP",
            Self::MovedMapping => "mremap of privcmd",
            Self::SplitMapping => "a split mapping of privcmd",
            Self::Irqfd => "IOCTL_PRIVCMD_IRQFD",
            Self::Ioeventfd => "IOCTL_PRIVCMD_IOEVENTFD",
            Self::PcidevGetGsi => "IOCTL_PRIVCMD_PCIDEV_GET_GSI",
            Self::MmapBatch => "IOCTL_PRIVCMD_MMAPBATCH_V2",
            Self::DmOp => "IOCTL_PRIVCMD_DM_OP",
        })
    }
}

/// privcmd's, each by its request.
const REQUESTS: [(u32, KernelHole); 6] = [
    (privcmd::MMAP_RESOURCE.number(), KernelHole::MmapResource),
    (privcmd::MMAP.number(), KernelHole::Mmap),
    (privcmd::IRQFD.number(), KernelHole::Irqfd),
    (privcmd::IOEVENTFD.number(), KernelHole::Ioeventfd),
    (privcmd::PCIDEV_GET_GSI.number(), KernelHole::PcidevGetGsi),
    (privcmd::MMAPBATCH_V2.number(), KernelHole::MmapBatch),
];

/// Of a handle that may act on `domid`, which need not be there.
pub(crate) fn of(device: Device, fd: BorrowedFd<'_>, domid: u16) -> Vec<KernelHole> {
    let mut holes = Vec::new();
    match device {
        Device::PrivCmd => {
            // One that is there misses its argument first of all; MMAP in a dom0 that is not
            // PV does not get so far.
            let there = |(number, _): &(u32, _)| null_argument(fd, *number) == Errno::EFAULT;
            holes.extend(REQUESTS.into_iter().filter(there).map(|(_, hole)| hole));
            if pins_what_is_empty(fd, domid) {
                holes.push(KernelHole::DmOp);
            }
            if can_move(fd) {
                holes.push(KernelHole::MovedMapping);
            }
            if can_split(fd) {
                holes.push(KernelHole::SplitMapping);
            }
        }
        Device::EventChannel => {
            // A port that cannot be: ENOMEM where the request is there.
            let mut impossible = evtchn::BindStatic { port: u32::MAX };
            match ioctl::plain(fd, evtchn::BIND_STATIC, &mut impossible) {
                // EPERM: a filter refuses it; EACCES: a kernel that looks at the restriction.
                Err(
                    Errno::ENOSYS | Errno::EPERM | Errno::EACCES | Errno::EBADF | Errno::ENOTTY,
                ) => {}
                _ => holes.push(KernelHole::BindStatic),
            }
        }
        Device::GrantDevice | Device::GrantAllocator => {}
    }
    holes
}

/// Without room to ask, as under a low limit on address space, a hole is taken to be open.
const CANNOT_TELL: bool = true;

/// Whether a page is pinned for an empty buffer. There is one page, with none behind it, and
/// the list has room for it, because the other buffers need two: then the driver finds that
/// it has one page too many. Xen is not asked.
fn pins_what_is_empty(fd: BorrowedFd<'_>, domid: u16) -> bool {
    const USED: usize = 4;
    let Some(pages) = Pages::reserve(2 * USED - 1) else {
        return CANNOT_TELL;
    };
    let skipped = pages_before_one_table(pages.at.addr(), USED);
    let first = pages.at.wrapping_byte_add(skipped * PAGE_SIZE);
    let buffer = |page: usize, size: usize| privcmd::DmOpBuf {
        uptr: first.addr() as u64 + (page * PAGE_SIZE) as u64,
        size: size as u64,
    };
    // SAFETY: a page of this function's own.
    let made = unsafe { libc::mprotect(first, PAGE_SIZE, libc::PROT_READ | libc::PROT_WRITE) };
    if made != 0 {
        return CANNOT_TELL;
    }
    // SAFETY: as above. What is not there yet would not be pinned by the fast way.
    unsafe { first.cast::<u8>().write_volatile(0) };
    // The others are not to be had: without the hole, too, the driver goes no further.
    let mut buffers = [buffer(0, 0), buffer(2, PAGE_SIZE), buffer(3, PAGE_SIZE)];
    let mut op = privcmd::DmOp {
        dom: domid,
        num: 3,
        ubufs: buffers.as_mut_ptr().expose_provenance() as u64,
        ..Default::default()
    };
    // SAFETY: as many buffers as it says; in none is anything that somebody uses.
    let answer = unsafe { ioctl::raw(fd, privcmd::DM_OP, &mut op) };
    answer == Err(Errno::ENOSPC)
}

/// How many pages to pass over from `address` on, so that the next `used` are described by one
/// page table: where one ends, the driver would read on in whatever is behind it.
fn pages_before_one_table(address: usize, used: usize) -> usize {
    const ENTRIES: usize = PAGE_SIZE / size_of::<u64>();
    let left = ENTRIES - address / PAGE_SIZE % ENTRIES;
    if left < used { left } else { 0 }
}

/// Whether a mapping of privcmd can be moved: one in which nothing is that could be freed.
fn can_move(fd: BorrowedFd<'_>) -> bool {
    let (Some(from), Some(to)) = (Pages::of(fd, 1), Pages::reserve(1)) else {
        return CANNOT_TELL;
    };
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: mappings of this function's own, of one page each.
    let at = unsafe { libc::mremap(from.at, PAGE_SIZE, PAGE_SIZE, flags, to.at) };
    let answer = Errno::last();
    if at != libc::MAP_FAILED {
        // It is where the other was, and goes with that.
        mem::forget(from);
        return true;
    }
    if !matches!(answer, Errno::EPERM | Errno::ENOSYS) {
        // Not a filter but the kernel, which unmaps the destination first and fails then:
        // another thread may have something there by now.
        mem::forget(to);
    }
    false
}

/// Whether a mapping of privcmd can be split: one in which nothing is that could be freed.
fn can_split(fd: BorrowedFd<'_>) -> bool {
    let Some(both) = Pages::of(fd, 2) else {
        return CANNOT_TELL;
    };
    // SAFETY: the first page of this function's own.
    unsafe { libc::mprotect(both.at, PAGE_SIZE, libc::PROT_READ) == 0 }
}

/// Address space that goes with the value.
struct Pages {
    at: *mut libc::c_void,
    pages: usize,
}

impl Pages {
    /// Nothing can be done with it.
    fn reserve(pages: usize) -> Option<Self> {
        Self::map(pages, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// Into which nothing is mapped.
    fn of(fd: BorrowedFd<'_>, pages: usize) -> Option<Self> {
        Self::map(pages, libc::MAP_SHARED, fd.as_raw_fd())
    }

    fn map(pages: usize, flags: libc::c_int, fd: RawFd) -> Option<Self> {
        let (length, prot) = (pages * PAGE_SIZE, libc::PROT_NONE);
        // SAFETY: at a free place.
        let at = unsafe { libc::mmap(ptr::null_mut(), length, prot, flags, fd, 0) };
        (at != libc::MAP_FAILED).then_some(Self { at, pages })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this value's own, and nothing refers to it.
        unsafe { libc::munmap(self.at, self.pages * PAGE_SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_described_by_one_table() {
        for used in 1..=4 {
            for page in 0..2048 {
                let first = page + pages_before_one_table(page * PAGE_SIZE, used);
                assert_eq!(first / 512, (first + used - 1) / 512, "{page}, {used}");
                assert!(first < page + used, "{page}, {used}");
            }
        }
    }
}
