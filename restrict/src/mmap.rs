// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address space that unmaps itself.

use std::{num::NonZeroUsize, os::fd::BorrowedFd, ptr::NonNull};

use nix::{
    errno::Errno,
    sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap},
};

/// The size of Xen's pages, and of this kernel's.
pub const PAGE_SIZE: usize = 4096;

/// Whether a mapping can be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    Read,
    /// Reads and writes.
    ReadWrite,
}

impl Access {
    fn prot(self) -> ProtFlags {
        match self {
            Self::Read => ProtFlags::PROT_READ,
            Self::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        }
    }
}

/// Whole pages of this process's address space.
#[derive(Debug)]
pub(crate) struct Mmap {
    start: NonNull<u8>,
    pages: usize,
    access: Access,
}

// SAFETY: an address range belongs to the process, not to a thread.
unsafe impl Send for Mmap {}
// SAFETY: as above; what is in it is only accessed by volatile copies and atomics.
unsafe impl Sync for Mmap {}

impl Mmap {
    /// Maps `pages` of a device, from `offset` bytes on. Whether a forked child has them is
    /// the driver's to say: privcmd says no.
    pub(crate) fn of(
        fd: BorrowedFd<'_>,
        pages: usize,
        access: Access,
        offset: u64,
    ) -> Result<Self, Errno> {
        let length = length(pages)?;
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        // SAFETY: the kernel chooses a free range; what it maps is only ever
        // reached through this object.
        let start = unsafe {
            mmap(
                None,
                length,
                access.prot(),
                MapFlags::MAP_SHARED,
                fd,
                offset,
            )
        }?;
        Ok(Self {
            start: start.cast(),
            pages,
            access,
        })
    }

    /// Maps zeroed memory of this process's own, which a fork does not share.
    pub(crate) fn anonymous(pages: usize) -> Result<Self, Errno> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
        // SAFETY: the kernel chooses a free range.
        let start =
            unsafe { mmap_anonymous(None, length(pages)?, Access::ReadWrite.prot(), flags) }?;
        let map = Self {
            start: start.cast(),
            pages,
            access: Access::ReadWrite,
        };
        map.keep_from_children()
    }

    /// A child would hold the pages without the ledger that knows of them. The other
    /// drivers see to it themselves, but not for grants in a PVH dom0.
    pub(crate) fn keep_from_children(self) -> Result<Self, Errno> {
        // SAFETY: the range is this mapping's; no byte changes.
        unsafe { madvise(self.start.cast(), self.len(), MmapAdvise::MADV_DONTFORK) }?;
        Ok(self)
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn address(&self) -> u64 {
        self.start.addr().get() as u64
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    pub(crate) fn len(&self) -> usize {
        self.pages * PAGE_SIZE
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }
}

fn length(pages: usize) -> Result<NonZeroUsize, Errno> {
    let bytes = pages
        .checked_mul(PAGE_SIZE)
        .filter(|b| *b <= isize::MAX as usize);
    bytes.and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)
}

impl Drop for Mmap {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; nothing can reach it any more.
        let unmapped = unsafe { munmap(self.start.cast(), self.len()) };
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}
