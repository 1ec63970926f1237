// SPDX-License-Identifier: MIT OR Apache-2.0
//! One guest, seen through a privcmd handle: its memory and its resources.
//! `dm_op.rs` has the device model's operations, `ioreq.rs` its servers.

use std::{cell::Cell, ops::Deref, os::fd::AsFd, sync::Arc};

use nix::errno::Errno;
use xen_sys::{memory, privcmd};

use crate::{
    error::{Cause, Error, Result},
    handle::{Handle, Ticket},
    ids::{Gfn, GuestId, IoreqServerId},
    ioctl,
    leftover::Held,
    memory::SharedMemory,
    mmap::{Access, Mmap},
};

/// The operations of a privcmd handle on one guest.
///
/// No operation takes a domid. On an unrestricted handle the guest is chosen by
/// [`PrivCmd::guest`](crate::PrivCmd::guest); on a restricted one there is no
/// choice.
#[derive(Clone, Debug)]
pub struct Guest {
    pub(crate) handle: Arc<Handle>,
    pub(crate) id: GuestId,
}

/// So many pages' errors are on the stack.
const FEW: usize = 64;
/// Room for so many is kept by a thread: 256 KiB, for 256 MiB of guest memory.
const KEPT: usize = 1 << 16;

thread_local! {
    static ERRORS: Cell<Vec<i32>> = const { Cell::new(Vec::new()) };
}

/// Room for so many pages' errors, all 0. Up to [`KEPT`] it is allocated once for a thread.
pub(crate) fn with_errors<T>(pages: usize, fill: impl FnOnce(&mut [i32]) -> T) -> T {
    if let Some(few) = [0; FEW].get_mut(..pages) {
        return fill(few);
    }
    let mut errors = ERRORS.try_with(Cell::take).unwrap_or_default();
    errors.clear();
    errors.resize(pages, 0);
    let filled = fill(&mut errors);
    if errors.capacity() <= KEPT {
        // A thread that ends has no room to keep it.
        let _ = ERRORS.try_with(|kept| kept.set(errors));
    }
    filled
}

impl Guest {
    pub(crate) fn new(handle: Arc<Handle>, id: GuestId) -> Self {
        Self { handle, id }
    }

    /// Its domid.
    #[must_use]
    pub fn id(&self) -> GuestId {
        self.id
    }

    pub(crate) fn failed(&self, operation: &'static str, errno: Errno) -> Error {
        self.handle.failed(operation, Some(self.id), errno)
    }

    pub(crate) fn wrong(&self, operation: &'static str, cause: Cause) -> Error {
        Error::new(operation, self.handle.device(), cause).for_guest(self.id)
    }

    /// Maps pages of the guest's memory, in the order given
    /// (`IOCTL_PRIVCMD_MMAPBATCH_V2`).
    ///
    /// The mapping is there even if some pages, or all, are not:
    /// [`SharedMemory::missing`] lists them. It does not survive into a forked
    /// child.
    ///
    /// # Errors
    /// [`Cause::Invalid`] for no pages, [`Cause::TooMany`] for more than
    /// `i32::MAX`, [`Cause::Restricted`], [`Cause::NoSuchDomain`], and the
    /// kernel's own. No mapping is left behind.
    pub fn map(&self, gfns: &[Gfn], access: Access) -> Result<GuestMemory> {
        const OPERATION: &str = "map guest memory";
        if gfns.is_empty() {
            let what = "no guest frames to map".into();
            let remedy = "name at least one";
            return Err(self.wrong(OPERATION, Cause::Invalid { what, remedy }));
        }
        let num = i32::try_from(gfns.len()).map_err(|_| {
            let cause = Cause::TooMany {
                what: "guest frames",
                count: gfns.len(),
                limit: i32::MAX as usize,
                hint: "",
            };
            self.wrong(OPERATION, cause)
        })?;
        let ((map, errors), ticket) = self.handle.record(Some(self.id), || {
            let map = Mmap::of(self.handle.as_fd(), gfns.len(), access, 0)
                .map_err(|e| self.failed(OPERATION, e))?;
            let errors: Box<[i32]> = with_errors(gfns.len(), |errors| {
                self.map_batch(num.cast_unsigned(), map.address(), gfns, errors)
                    .map_err(|e| self.failed(OPERATION, e))?;
                // Xen tells of a domain that is gone page by page.
                if errors.iter().all(|e| *e == -libc::ESRCH) {
                    return Err(self.failed(OPERATION, Errno::ESRCH));
                }
                Ok(match errors.iter().all(|e| *e == 0) {
                    true => Box::default(),
                    false => Box::from(&*errors),
                })
            })?;
            Ok(((map, errors), Held::Memory(gfns.len())))
        })?;
        Ok(GuestMemory {
            again: if errors.is_empty() { &[] } else { gfns }.into(),
            memory: SharedMemory::with_errors(map, errors),
            guest: self.clone(),
            _ticket: ticket,
        })
    }

    /// Maps at `address`; leaves an error for each page that is not there.
    fn map_batch(
        &self,
        num: u32,
        address: u64,
        gfns: &[Gfn],
        errors: &mut [i32],
    ) -> Result<(), Errno> {
        debug_assert!(gfns.len() == num as usize && errors.len() == num as usize);
        let mut batch = privcmd::MmapBatchV2 {
            num,
            dom: self.id.get(),
            addr: address,
            arr: gfns.as_ptr().addr() as u64,
            err: errors.as_mut_ptr().addr() as u64,
            ..privcmd::MmapBatchV2::default()
        };
        errors.as_mut_ptr().expose_provenance();
        gfns.as_ptr().expose_provenance();
        // SAFETY: `arr` and `err` are live slices of `num` elements, which the
        // driver reads and writes; `addr` is a fresh VMA of `num` pages.
        match unsafe { ioctl::raw(self.handle.as_fd(), privcmd::MMAPBATCH_V2, &mut batch) } {
            // Some page is paged out; `errors` says which.
            Err(Errno::ENOENT) => Ok(()),
            other => other.map(drop),
        }
    }

    /// How many frames a resource has (Linux 5.12, Xen 4.15; before, how many one
    /// call maps, whether or not there is such a domain).
    ///
    /// # Errors
    /// [`Cause::Restricted`], [`Cause::NoSuchDomain`], and the kernel's own.
    pub fn resource_frames(&self, resource: Resource) -> Result<u64> {
        let _pass = self.handle.pass();
        let mut request = self.resource_request(resource);
        // SAFETY: address and count are 0: the driver asks Xen for the size
        // and writes `num`.
        unsafe { ioctl::raw(self.handle.as_fd(), privcmd::MMAP_RESOURCE, &mut request) }
            .map_err(|e| self.failed("size a resource", e))?;
        Ok(request.num)
    }

    /// Maps `frames` frames of a resource from `first` on
    /// (`IOCTL_PRIVCMD_MMAP_RESOURCE`, Linux 4.18).
    ///
    /// # Errors
    /// [`Cause::Restricted`], [`Cause::NoSuchDomain`], [`Cause::Kernel`] with
    /// `EINVAL` for frames that the resource does not have. No mapping is left
    /// behind.
    pub fn map_resource(
        &self,
        resource: Resource,
        first: u32,
        frames: u32,
        access: Access,
    ) -> Result<ResourceMapping> {
        const OPERATION: &str = "map a resource";
        let (map, ticket) = self.handle.record(Some(self.id), || {
            let map = Mmap::of(self.handle.as_fd(), frames as usize, access, 0)
                .map_err(|e| self.failed(OPERATION, e))?;
            let mut request = privcmd::MmapResource {
                idx: first,
                num: u64::from(frames),
                addr: map.address(),
                ..self.resource_request(resource)
            };
            // SAFETY: `addr` is a fresh VMA of exactly `num` pages: the driver
            // does not compare the two.
            unsafe { ioctl::raw(self.handle.as_fd(), privcmd::MMAP_RESOURCE, &mut request) }
                .map_err(|e| self.failed(OPERATION, e))?;
            Ok((map, Held::Resource(frames as usize)))
        })?;
        Ok(ResourceMapping {
            memory: SharedMemory::whole(map),
            _ticket: ticket,
        })
    }

    fn resource_request(&self, resource: Resource) -> privcmd::MmapResource {
        let (type_, id) = match resource {
            Resource::IoreqServer(server) => {
                (memory::RESOURCE_IOREQ_SERVER, u32::from(server.get()))
            }
            Resource::GrantTable => (memory::RESOURCE_GRANT_TABLE, memory::GRANT_TABLE_ID_SHARED),
            Resource::VmTrace { vcpu } => (memory::RESOURCE_VMTRACE_BUF, vcpu),
        };
        privcmd::MmapResource {
            dom: self.id.get(),
            type_,
            id,
            ..privcmd::MmapResource::default()
        }
    }
}

/// What can be mapped of a guest besides its memory
/// (`XENMEM_acquire_resource`, Xen's `public/memory.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// An ioreq server's pages: frame 0 buffered, frames from 1 on per vcpu.
    IoreqServer(IoreqServerId),
    /// The guest's grant table.
    GrantTable,
    /// The trace buffer of one vcpu (Xen 4.15, Intel).
    VmTrace {
        /// The vcpu.
        vcpu: u32,
    },
}

/// A guest's memory, mapped. Dropping unmaps.
#[derive(Debug)]
pub struct GuestMemory {
    memory: SharedMemory,
    /// All frames, when some are missing.
    again: Box<[Gfn]>,
    guest: Guest,
    _ticket: Ticket,
}

impl GuestMemory {
    /// When pages are missing, maps all anew, and returns how many are missing
    /// then. Xen may have paged them out
    /// ([`MissingPage::is_paged_out`](crate::MissingPage::is_paged_out)), or the
    /// guest may have got memory there since; it may have lost other pages.
    ///
    /// # Errors
    /// As [`Guest::map`]; the mapping is as useful as before.
    pub fn retry(&mut self) -> Result<usize> {
        if let Some(again) = self.again()? {
            *self = again;
        }
        Ok(self.missing().count())
    }

    /// Another mapping of the same, when pages are missing in this one: as
    /// [`retry`](Self::retry), for who shares it and cannot change it.
    ///
    /// # Errors
    /// As [`Guest::map`].
    pub fn again(&self) -> Result<Option<Self>> {
        // Not in place: where the kernel's own memory is translated (a PVH
        // dom0), it does not fill holes, or fills them with the wrong page.
        let missing = !self.again.is_empty();
        let again = missing.then(|| self.guest.map(&self.again, self.access()));
        again.transpose()
    }
}

impl Deref for GuestMemory {
    type Target = SharedMemory;
    fn deref(&self) -> &SharedMemory {
        &self.memory
    }
}

/// A guest's resource, mapped. Dropping unmaps.
#[derive(Debug)]
pub struct ResourceMapping {
    memory: SharedMemory,
    _ticket: Ticket,
}

impl Deref for ResourceMapping {
    type Target = SharedMemory;
    fn deref(&self) -> &SharedMemory {
        &self.memory
    }
}
