// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/gntdev`: mapping and copying pages that other domains granted.
//!
//! Linux has no restrict request for it, so restriction is revocation.

use std::{
    marker::PhantomData,
    ops::Deref,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use nix::errno::Errno;
use xen_sys::{
    Request,
    gntdev::{self, GrantCopyFlags, GrantCopyPtr},
    grant_table::GNTST_GENERAL_ERROR,
};
use zerocopy::IntoBytes;

use crate::{
    broker::{Client, Shared},
    device::{Device, is_misc_device, null_argument},
    error::{Cause, Error, Result},
    grant::{GrantError, UnmapNotify},
    guest_copy::GuestCopy,
    handle::{Handle, Ticket},
    ids::{GrantRef, GuestId},
    ioctl,
    leftover::Held,
    memory::{AccessError, SharedMemory},
    mmap::{Access, Mmap, PAGE_SIZE},
    state::{Restricted, Revoked, State, Unrestricted},
};

/// A gntdev handle.
///
/// ```no_run
/// use xen_restrict::{Access, GrantDevice, GrantRef, GuestId};
/// let guest = GuestId::new(7)?;
/// let grants = GrantDevice::open()?;
/// let ring = grants.map(guest, &[GrantRef::new(8)], Access::ReadWrite)?;
/// // Linux cannot restrict this device, so what is mapped is all there is.
/// let _revoked = grants.restrict(guest)?;
/// println!("{:#x}", ring.get::<u64>(0)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A revoked handle maps nothing:
///
/// ```compile_fail,E0599
/// # use xen_restrict::{Access, GrantDevice, GrantRef, GuestId, Revoked};
/// fn escape(grants: &GrantDevice<Revoked>, victim: GuestId) {
///     grants.map(victim, &[GrantRef::new(8)], Access::Read);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct GrantDevice<S: State> {
    handle: Arc<Handle>,
    /// Makes the requests, where this process may not.
    broker: Option<Arc<Client>>,
    state: S,
}

impl GrantDevice<Unrestricted> {
    /// Opens `/dev/xen/gntdev`.
    ///
    /// # Errors
    /// As [`EventChannel::open`](crate::EventChannel::open).
    pub fn open() -> Result<Self> {
        Ok(Self {
            handle: Handle::open(Device::GrantDevice)?,
            broker: None,
            state: Unrestricted(()),
        })
    }

    /// Revokes the handle: its number is /dev/null from then on. What is
    /// mapped from `guest` stays mapped.
    ///
    /// # Errors
    /// [`Cause::Leftovers`] when grants of other domains are still mapped; the
    /// handle is revoked in this case too.
    pub fn restrict(self, guest: GuestId) -> Result<GrantDevice<Revoked>> {
        self.handle.restrict(guest)?;
        Ok(GrantDevice {
            handle: self.handle,
            broker: None,
            state: Revoked(()),
        })
    }

    /// Maps pages that `guest` granted, in the order given.
    ///
    /// # Errors
    /// [`Cause::Invalid`] for no references; [`Cause::TooMany`] when the driver's
    /// limit is passed (module parameter `limit` of xen-gntdev, 65536 a call);
    /// [`Cause::Kernel`] with `EINVAL` when Xen refuses one of the grants: all
    /// are mapped, or none.
    pub fn map(&self, guest: GuestId, grants: &[GrantRef], access: Access) -> Result<MappedGrants> {
        const OPERATION: &str = "map grants";
        let failed = |errno| self.handle.failed(OPERATION, Some(guest), errno);
        let wrong = |cause| Error::new(OPERATION, Device::GrantDevice, cause).for_guest(guest);
        if grants.is_empty() {
            return Err(wrong(nothing()));
        }
        let entries: Vec<_> = grants
            .iter()
            .map(|grant| gntdev::MapGrantRefEntry {
                domid: u32::from(guest.get()),
                reference: grant.get(),
            })
            .collect();
        let bytes = gntdev::MapGrantRef::size_with(entries.len()).unwrap_or(0);
        let mut request = vec![0_u64; bytes.div_ceil(8)];
        let too_many = |limit| {
            wrong(Cause::TooMany {
                what: "grant references",
                count: grants.len(),
                limit,
                hint: ", or raise the parameter `limit` of xen-gntdev",
            })
        };
        if gntdev::MapGrantRef::encode(request.as_mut_bytes(), &entries).is_none() {
            return Err(too_many(u32::MAX as usize));
        }
        let ((memory, reserved), ticket) = self.handle.record(Some(guest), || {
            let argument = request.as_mut_ptr().cast::<gntdev::MapGrantRef>();
            // SAFETY: `request` holds the head and all the references that its
            // `count` names, and is no shorter than the number says; the driver
            // writes `index` in the head.
            unsafe { ioctl::raw(self.handle.as_fd(), gntdev::MAP_GRANT_REF, argument) }.map_err(
                |errno| match limit() {
                    limit if errno == Errno::EINVAL && grants.len() > limit => too_many(limit),
                    _ => failed(errno),
                },
            )?;
            let index =
                gntdev::MapGrantRef::decode(request.as_bytes()).map_or(0, |(head, _)| head.index);
            let reserved = Reserved {
                handle: Arc::clone(&self.handle),
                broker: None,
                index,
                count: grants.len(),
            };
            reserved.map(access).map_err(failed)
        })?;
        Ok(MappedGrants {
            memory,
            reserved,
            guest,
            _ticket: ticket,
        })
    }

    /// Copies between granted pages and local memory, in one system call.
    ///
    /// Each segment has a [`status`](CopySegment::status) of its own
    /// afterwards: one that Xen refuses does not stop the others.
    ///
    /// # Errors
    /// The kernel's own; then no status is meaningful, and some segments may
    /// have been copied.
    pub fn copy(&self, segments: &mut [CopySegment<'_>]) -> Result<()> {
        const OPERATION: &str = "copy grants";
        let count = u32::try_from(segments.len()).map_err(|_| {
            let cause = Cause::TooMany {
                what: "segments",
                count: segments.len(),
                limit: u32::MAX as usize,
                hint: "",
            };
            Error::new(OPERATION, Device::GrantDevice, cause)
        })?;
        for segment in &mut *segments {
            // Until the driver says otherwise.
            segment.raw.status = GNTST_GENERAL_ERROR;
        }
        let _pass = self.handle.pass();
        let mut request = gntdev::GrantCopy {
            count,
            segments: segments.as_mut_ptr().expose_provenance() as u64,
            ..gntdev::GrantCopy::default()
        };
        // SAFETY: `segments` points to `count` live segments; each was made
        // from a slice that it borrows, mutably where it is the destination.
        unsafe { ioctl::raw(self.handle.as_fd(), gntdev::GRANT_COPY, &mut request) }
            .map(drop)
            .map_err(|e| self.handle.failed(OPERATION, None, e))
    }
}

impl GrantDevice<Restricted> {
    /// Takes a handle that a launcher shares with its grant broker, and the two ways to
    /// that.
    pub(crate) fn brokered(
        device: OwnedFd,
        socket: OwnedFd,
        copies: OwnedFd,
        guest: GuestId,
    ) -> Result<Self> {
        let failed = |cause| Error::new("adopt", Device::GrantDevice, cause).for_guest(guest);
        requests_are_refused(device.as_fd()).map_err(failed)?;
        let copies = Shared::adopt(copies).map_err(|errno| failed(Cause::errno(errno)))?;
        let client = Client::connect(socket, &copies, guest).map_err(failed)?;
        Ok(Self {
            handle: Handle::adopt(Device::GrantDevice, device, guest)?,
            broker: Some(Arc::new(client)),
            state: Restricted { guest },
        })
    }

    /// The only guest whose grants it maps.
    #[must_use]
    pub fn guest(&self) -> GuestId {
        self.state.guest
    }

    /// Pages that can be mapped at a time: of the launcher's `--grants`.
    #[must_use]
    pub fn quota(&self) -> u32 {
        self.broker.as_ref().map_or(0, |broker| broker.quota())
    }

    /// Maps pages that the guest granted, in the order given: one question to the broker,
    /// and an mmap. The pages are the guest's; using them asks nobody.
    ///
    /// # Errors
    /// As those of an unrestricted handle, and [`Cause::Quota`], [`Cause::BrokerGone`];
    /// [`Cause::TooMany`] for more than 4096.
    pub fn map(&self, grants: &[GrantRef], access: Access) -> Result<MappedGrants> {
        const OPERATION: &str = "map grants";
        let guest = self.state.guest;
        let wrong = |cause| Error::new(OPERATION, Device::GrantDevice, cause).for_guest(guest);
        let broker = self.broker.as_ref().ok_or_else(|| wrong(Cause::Revoked))?;
        if grants.is_empty() {
            return Err(wrong(nothing()));
        }
        let ((memory, reserved), ticket) = self.handle.record(Some(guest), || {
            let reserved = Reserved {
                handle: Arc::clone(&self.handle),
                broker: Some(Arc::clone(broker)),
                index: broker.map(grants).map_err(wrong)?,
                count: grants.len(),
            };
            let failed = |errno| self.handle.failed(OPERATION, Some(guest), errno);
            reserved.map(access).map_err(failed)
        })?;
        Ok(MappedGrants {
            memory,
            reserved,
            guest,
            _ticket: ticket,
        })
    }

    /// Copies between granted pages and local memory, through memory that the broker
    /// shares: one question for 256 copies or 1 MiB.
    ///
    /// Each copy has a [`status`](GuestCopy::status) of its own afterwards: one that Xen
    /// refuses does not stop the others.
    ///
    /// # Errors
    /// The kernel's own, and [`Cause::BrokerGone`]; then no status is meaningful, and some
    /// may have been copied.
    pub fn copy(&self, copies: &mut [GuestCopy<'_>]) -> Result<()> {
        let guest = self.state.guest;
        let wrong = |cause| Error::new("copy grants", Device::GrantDevice, cause).for_guest(guest);
        let broker = self.broker.as_ref().ok_or_else(|| wrong(Cause::Revoked))?;
        broker.copy(copies).map_err(wrong)
    }
}

/// The boundary, where there is no restriction: each request of the device's type is
/// refused by a filter, whatever the driver would say to a null argument.
fn requests_are_refused(fd: BorrowedFd<'_>) -> Result<(), Cause> {
    is_misc_device(fd)?;
    let refused = |nr| {
        let mut sizes = (0..=24).step_by(4).chain([0x3fff]);
        sizes.all(|size| {
            let number = Request::<()>::with_size(b'G', nr, size).number();
            null_argument(fd, number) == Errno::EPERM
        })
    };
    // Nor can it be sent to a process where they are not.
    // SAFETY: a descriptor that is never open, and no message.
    let sent = unsafe { libc::sendmsg(-1, std::ptr::null(), 0) };
    let stays = Errno::result(sent) == Err(Errno::EPERM);
    match stays && (0..=u8::MAX).all(refused) {
        true => Ok(()),
        false => Err(Cause::NotBrokered),
    }
}

fn nothing() -> Cause {
    Cause::Invalid {
        what: "no grant references to map".into(),
        remedy: "name at least one",
    }
}

/// How many references the driver takes in one call.
fn limit() -> usize {
    let limit = std::fs::read_to_string("/sys/module/xen_gntdev/parameters/limit");
    let limit = limit.ok().and_then(|text| text.trim().parse().ok());
    limit.unwrap_or(65_536)
}

/// For a broker: whoever gets a duplicate of it can map every domain's grants.
impl<S: State> AsFd for GrantDevice<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// An index of the driver's, given back when dropped.
#[derive(Debug)]
struct Reserved {
    handle: Arc<Handle>,
    broker: Option<Arc<Client>>,
    index: u64,
    count: usize,
}

impl Reserved {
    fn map(self, access: Access) -> Result<((SharedMemory, Self), Held), Errno> {
        let map =
            Mmap::of(self.handle.as_fd(), self.count, access, self.index)?.keep_from_children()?;
        let held = Held::Grants(self.count);
        Ok(((SharedMemory::whole(map), self), held))
    }

    /// It came from a request whose count is a u32.
    fn pages(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(u32::MAX)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(broker) = &self.broker {
            broker.unmap(self.index, self.pages());
            return;
        }
        let mut unmap = gntdev::UnmapGrantRef {
            index: self.index,
            count: self.pages(),
            ..gntdev::UnmapGrantRef::default()
        };
        // On a revoked handle the driver cleans up with the last mapping.
        let _ = ioctl::plain(self.handle.as_fd(), gntdev::UNMAP_GRANT_REF, &mut unmap);
    }
}

/// Granted pages, mapped. Dropping unmaps them and gives the grants back.
#[derive(Debug)]
pub struct MappedGrants {
    // The order matters: pages, index, ledger.
    memory: SharedMemory,
    reserved: Reserved,
    guest: GuestId,
    _ticket: Ticket,
}

impl MappedGrants {
    /// Tells the other side when the pages are unmapped, however that happens:
    /// also when this process dies.
    ///
    /// # Errors
    /// [`Cause::Access`] for a byte outside the pages or in a read-only
    /// mapping, [`Cause::Revoked`], and the kernel's own.
    pub fn notify_on_unmap(&self, notify: UnmapNotify<'_>) -> Result<()> {
        let Reserved { handle, index, .. } = &self.reserved;
        notify.set(
            handle,
            *index,
            &self.memory,
            self.guest,
            |argument| match &self.reserved.broker {
                Some(broker) => broker.notify(*index, self.reserved.pages(), argument),
                None => UnmapNotify::ask(handle, gntdev::SET_UNMAP_NOTIFY, argument),
            },
        )
    }
}

impl Deref for MappedGrants {
    type Target = SharedMemory;
    fn deref(&self) -> &SharedMemory {
        &self.memory
    }
}

/// One copy between a granted page and local memory, or between two granted
/// pages: at most a page, and not across a granted page's end.
#[derive(Debug)]
#[repr(transparent)]
pub struct CopySegment<'a> {
    raw: gntdev::GrantCopySegment,
    local: PhantomData<&'a mut [u8]>,
}

/// A place in a page that a guest granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantedByte {
    /// The guest.
    pub guest: GuestId,
    /// Its grant of the page.
    pub grant: GrantRef,
    /// Offset in the page, 0 to 4095.
    pub offset: u16,
}

impl<'a> CopySegment<'a> {
    /// Copies granted memory into local memory.
    ///
    /// # Errors
    /// [`AccessError::OutOfRange`] where the granted page ends before `into`.
    pub fn read(from: GrantedByte, into: &'a mut [u8]) -> Result<Self, AccessError> {
        let local = GrantCopyPtr::local(into.as_mut_ptr().expose_provenance() as u64);
        let flags = GrantCopyFlags::SOURCE_GREF;
        Self::new(from.pointer(into.len())?, local, into.len(), flags)
    }

    /// Copies local memory into granted memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn write(to: GrantedByte, from: &'a [u8]) -> Result<Self, AccessError> {
        let local = GrantCopyPtr::local(from.as_ptr().expose_provenance() as u64);
        let flags = GrantCopyFlags::DEST_GREF;
        Self::new(local, to.pointer(from.len())?, from.len(), flags)
    }

    /// Copies `length` bytes from one granted page to another.
    ///
    /// # Errors
    /// As [`read`](Self::read), for either page.
    pub fn between(
        from: GrantedByte,
        to: GrantedByte,
        length: usize,
    ) -> Result<CopySegment<'static>, AccessError> {
        let flags = GrantCopyFlags::SOURCE_GREF | GrantCopyFlags::DEST_GREF;
        CopySegment::new(from.pointer(length)?, to.pointer(length)?, length, flags)
    }

    fn new(
        source: GrantCopyPtr,
        dest: GrantCopyPtr,
        length: usize,
        flags: GrantCopyFlags,
    ) -> Result<Self, AccessError> {
        let len = u16::try_from(length).map_err(|_| outside(0, length))?;
        Ok(Self {
            raw: gntdev::GrantCopySegment {
                source,
                dest,
                len,
                flags: flags.bits(),
                status: GNTST_GENERAL_ERROR,
                ..gntdev::GrantCopySegment::default()
            },
            local: PhantomData,
        })
    }

    /// What Xen said of this segment in the last copy.
    ///
    /// # Errors
    /// [`GrantError`], Xen's own reason; a general error before any copy.
    pub fn status(&self) -> Result<(), GrantError> {
        GrantError::check(self.raw.status)
    }
}

impl GrantedByte {
    fn pointer(self, length: usize) -> Result<GrantCopyPtr, AccessError> {
        let offset = usize::from(self.offset);
        if offset.saturating_add(length) > PAGE_SIZE {
            return Err(outside(offset, length));
        }
        Ok(GrantCopyPtr::foreign(
            self.grant.get(),
            self.offset,
            self.guest.get(),
        ))
    }
}

fn outside(offset: usize, length: usize) -> AccessError {
    AccessError::OutOfRange {
        offset,
        length,
        size: PAGE_SIZE,
    }
}
