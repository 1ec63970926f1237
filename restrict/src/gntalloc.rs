// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/gntalloc`: granting own pages to other domains. It has no
//! single-domid mode: a process that restricts itself loses it.

use std::{
    ops::Deref,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use xen_sys::gntalloc;
use zerocopy::IntoBytes;

use crate::{
    device::Device,
    error::{Cause, Error, Result},
    grant::UnmapNotify,
    handle::{Handle, Ticket},
    ids::{GrantRef, GuestId},
    ioctl,
    leftover::Held,
    memory::SharedMemory,
    mmap::{Access, Mmap},
};

/// A gntalloc handle. [`restrict_all`](crate::restrict_all) revokes it.
#[derive(Clone, Debug)]
pub struct GrantAllocator {
    handle: Arc<Handle>,
}

impl GrantAllocator {
    /// Opens `/dev/xen/gntalloc`.
    ///
    /// # Errors
    /// As [`EventChannel::open`](crate::EventChannel::open).
    pub fn open() -> Result<Self> {
        Ok(Self {
            handle: Handle::open(Device::GrantAllocator)?,
        })
    }

    /// Allocates zeroed pages and grants them to `guest`; `access` is what the
    /// guest may do.
    ///
    /// # Errors
    /// [`Cause::Invalid`] for no pages; [`Cause::TooMany`] for more than
    /// 65535; [`Cause::Kernel`] with `ENOSPC` when the driver's limit is passed
    /// (module parameter `limit` of xen-gntalloc, 1024 pages in all).
    pub fn grant(&self, guest: GuestId, pages: usize, access: Access) -> Result<GrantedPages> {
        const OPERATION: &str = "grant pages";
        let failed = |errno| self.handle.failed(OPERATION, Some(guest), errno);
        let wrong = |cause| Error::new(OPERATION, Device::GrantAllocator, cause).for_guest(guest);
        if pages == 0 {
            return Err(wrong(Cause::Invalid {
                what: "no pages to grant".into(),
                remedy: "ask for at least one",
            }));
        }
        let count = u16::try_from(pages).map_err(|_| {
            wrong(Cause::TooMany {
                what: "pages",
                count: pages,
                limit: usize::from(u16::MAX),
                hint: ", and raise the parameter `limit` of xen-gntalloc",
            })
        })?;
        let flags = match access {
            Access::Read => gntalloc::AllocFlags::empty(),
            Access::ReadWrite => gntalloc::AllocFlags::WRITABLE,
        };
        let bytes = gntalloc::AllocGref::size_with(pages).unwrap_or(0);
        let mut request = vec![0_u64; bytes.div_ceil(8)];
        let bytes = request.as_mut_bytes();
        let encoded = gntalloc::AllocGref::encode(bytes, guest.get(), flags, count.into());
        debug_assert!(encoded.is_some(), "sized for it");
        let ((memory, reserved, refs), ticket) = self.handle.record(Some(guest), || {
            let argument = request.as_mut_ptr().cast::<gntalloc::AllocGref>();
            // SAFETY: `request` holds the head and room for the `count`
            // references that the driver writes behind it, and is no shorter
            // than the number says.
            unsafe { ioctl::raw(self.handle.as_fd(), gntalloc::ALLOC_GREF, argument) }
                .map_err(failed)?;
            let (index, refs) = match gntalloc::AllocGref::decode(request.as_bytes()) {
                Some((head, refs)) => (
                    head.index,
                    refs.iter().copied().map(GrantRef::new).collect(),
                ),
                None => (0, Vec::new()),
            };
            let reserved = Reserved {
                handle: Arc::clone(&self.handle),
                index,
                count: u32::from(count),
            };
            let map = Mmap::of(self.handle.as_fd(), pages, Access::ReadWrite, index)
                .and_then(Mmap::keep_from_children);
            let memory = SharedMemory::whole(map.map_err(failed)?);
            Ok(((memory, reserved, refs), Held::GrantedPages(pages)))
        })?;
        Ok(GrantedPages {
            memory,
            reserved,
            guest,
            refs,
            _ticket: ticket,
        })
    }
}

/// Whoever gets a duplicate of it can grant pages to every domain.
impl AsFd for GrantAllocator {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The driver's index of granted pages, given back when dropped.
#[derive(Debug)]
struct Reserved {
    handle: Arc<Handle>,
    index: u64,
    count: u32,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut free = gntalloc::DeallocGref {
            index: self.index,
            count: self.count,
            ..gntalloc::DeallocGref::default()
        };
        // On a revoked handle the driver cleans up with the last mapping.
        let _ = ioctl::plain(self.handle.as_fd(), gntalloc::DEALLOC_GREF, &mut free);
    }
}

/// Pages of ours that a guest may map. Dropping takes the grant back, as soon
/// as the guest has unmapped them.
#[derive(Debug)]
pub struct GrantedPages {
    // The order matters: pages, index, ledger.
    memory: SharedMemory,
    reserved: Reserved,
    guest: GuestId,
    refs: Vec<GrantRef>,
    _ticket: Ticket,
}

impl GrantedPages {
    /// The grant references to tell the guest, one a page.
    #[must_use]
    pub fn refs(&self) -> &[GrantRef] {
        &self.refs
    }

    /// Tells the other side when the pages are unmapped here, however that
    /// happens.
    ///
    /// # Errors
    /// [`Cause::Access`] for a byte outside the pages, [`Cause::Revoked`], and
    /// the kernel's own.
    pub fn notify_on_unmap(&self, notify: UnmapNotify<'_>) -> Result<()> {
        let Reserved { handle, index, .. } = &self.reserved;
        let request = gntalloc::SET_UNMAP_NOTIFY;
        notify.set(handle, *index, &self.memory, self.guest, |argument| {
            UnmapNotify::ask(handle, request, argument)
        })
    }
}

impl Deref for GrantedPages {
    type Target = SharedMemory;
    fn deref(&self) -> &SharedMemory {
        &self.memory
    }
}
