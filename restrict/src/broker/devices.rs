// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the broker asks of the kernel, with the rights of dom0.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{read, write},
};
use xen_sys::{
    evtchn,
    gntdev::{self, GrantCopySegment, MapGrantRefEntry, UnmapNotifyAction},
};
use zerocopy::IntoBytes;

use super::message::MAX_GRANTS;
use crate::{
    device::{Device, open_node},
    error::{Cause, Error, Result},
    ids::GuestId,
    ioctl,
    mmap::{Access, Mmap},
};

/// Indices that can be given back while their pages are still mapped.
pub(super) const SLOTS: usize = 8;
/// How long an event takes at most that is on its way already.
const SETTLED: Duration = Duration::from_millis(20);
/// Dom0, where both ends of our own channels are.
const DOM0: u32 = 0;

/// The kernel, or a test.
pub(crate) trait Driver {
    /// Pages of the broker's own, unmapped when dropped.
    type Pages: std::fmt::Debug;
    fn map(&mut self, guest: GuestId, grants: &[u32]) -> Result<u64, Errno>;
    fn unmap(&mut self, index: u64, count: u32) -> Result<(), Errno>;
    /// Maps the one page of an index here.
    fn mmap(&mut self, index: u64, access: Access) -> Result<Self::Pages, Errno>;
    /// `index` has the offset of the byte in it.
    fn notify(&mut self, index: u64, action: UnmapNotifyAction, port: u32) -> Result<(), Errno>;
    /// # Safety
    /// Every local address is of memory that nobody borrows.
    unsafe fn copy(&mut self, segments: &mut [GrantCopySegment]) -> Result<(), Errno>;
    /// Sends an event by a port of the process: `ENOTCONN` where it is not.
    fn send(&self, port: u32) -> Result<(), Errno>;
    /// The port that tells of a slot's release.
    fn slot_port(&self, slot: usize) -> u32;
    /// Slots whose pages are gone, as a set of bits.
    fn released(&mut self) -> u32;
    /// The same, when there are any, or that time is over.
    fn wait_for_release(&mut self, most: Duration) -> u32;
}

/// The real ones.
#[derive(Debug)]
pub(crate) struct Devices {
    gntdev: OwnedFd,
    /// The process's own event channel handle, if it has one.
    events: Option<OwnedFd>,
    /// Ours: both ends of a channel for each slot.
    releases: OwnedFd,
    /// Where the driver sends, and where that arrives.
    channels: [Channel; SLOTS],
    request: Box<[u64]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    sends: u32,
    hears: u32,
}

impl Devices {
    /// `gntdev` is shared with the process; so is `events`.
    pub(crate) fn new(gntdev: OwnedFd, events: Option<OwnedFd>, guest: GuestId) -> Result<Self> {
        let failed = |errno| {
            let cause = Cause::errno(errno);
            Error::new("prepare the grant broker", Device::EventChannel, cause)
        };
        let releases = open_node(Device::EventChannel)?;
        let flags = FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK);
        fcntl(&releases, flags).map_err(failed)?;
        let mut channels = [Channel::default(); SLOTS];
        for channel in &mut channels {
            *channel = loopback(releases.as_fd()).map_err(failed)?;
        }
        // It needs no others: those that it has stay.
        let mut to = evtchn::RestrictDomid { domid: guest.get() };
        ioctl::plain(releases.as_fd(), evtchn::RESTRICT_DOMID, &mut to).map_err(failed)?;
        let bytes = gntdev::MapGrantRef::size_with(MAX_GRANTS).unwrap_or(0);
        let mut devices = Self {
            gntdev,
            events,
            releases,
            channels,
            request: vec![0; bytes.div_ceil(8)].into(),
        };
        // Binding made each of them pending.
        devices.wait_for_release(SETTLED);
        Ok(devices)
    }

    /// Readable when pages are gone.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.releases.as_fd()
    }
}

fn loopback(fd: BorrowedFd<'_>) -> Result<Channel, Errno> {
    let port = |answer| u32::try_from(answer).map_err(|_| Errno::EINVAL);
    let mut unbound = evtchn::BindUnboundPort {
        remote_domain: DOM0,
    };
    let hears = port(ioctl::plain(fd, evtchn::BIND_UNBOUND_PORT, &mut unbound)?)?;
    let mut bind = evtchn::BindInterdomain {
        remote_domain: DOM0,
        remote_port: hears,
    };
    let sends = port(ioctl::plain(fd, evtchn::BIND_INTERDOMAIN, &mut bind)?)?;
    Ok(Channel { sends, hears })
}

impl Driver for Devices {
    type Pages = Mmap;

    fn map(&mut self, guest: GuestId, grants: &[u32]) -> Result<u64, Errno> {
        let head = gntdev::MapGrantRef {
            count: u32::try_from(grants.len()).map_err(|_| Errno::EINVAL)?,
            ..gntdev::MapGrantRef::default()
        };
        let bytes = self.request.as_mut_bytes();
        let (to, rest) = bytes
            .split_at_mut_checked(size_of_val(&head))
            .ok_or(Errno::EINVAL)?;
        to.copy_from_slice(head.as_bytes());
        let mut entries = rest.chunks_exact_mut(size_of::<MapGrantRefEntry>());
        for reference in grants {
            let entry = MapGrantRefEntry {
                domid: guest.get().into(),
                reference: *reference,
            };
            entries
                .next()
                .ok_or(Errno::EINVAL)?
                .copy_from_slice(entry.as_bytes());
        }
        let argument = self.request.as_mut_ptr().cast::<gntdev::MapGrantRef>();
        // SAFETY: head and all references are in `request`, whose size is that of the
        // longest; the driver writes `index` in the head.
        unsafe { ioctl::raw(self.gntdev.as_fd(), gntdev::MAP_GRANT_REF, argument) }?;
        // SAFETY: `request` begins with the head, and is aligned to 8.
        Ok(unsafe { (*argument).index })
    }

    fn unmap(&mut self, index: u64, count: u32) -> Result<(), Errno> {
        let mut unmap = gntdev::UnmapGrantRef {
            index,
            count,
            ..gntdev::UnmapGrantRef::default()
        };
        ioctl::plain(self.gntdev.as_fd(), gntdev::UNMAP_GRANT_REF, &mut unmap).map(drop)
    }

    fn mmap(&mut self, index: u64, access: Access) -> Result<Mmap, Errno> {
        Mmap::of(self.gntdev.as_fd(), 1, access, index)?.keep_from_children()
    }

    fn notify(&mut self, index: u64, action: UnmapNotifyAction, port: u32) -> Result<(), Errno> {
        let mut notify = gntdev::UnmapNotify {
            index,
            action: action.bits(),
            event_channel_port: port,
        };
        ioctl::plain(self.gntdev.as_fd(), gntdev::SET_UNMAP_NOTIFY, &mut notify).map(drop)
    }

    unsafe fn copy(&mut self, segments: &mut [GrantCopySegment]) -> Result<(), Errno> {
        let mut request = gntdev::GrantCopy {
            count: u32::try_from(segments.len()).map_err(|_| Errno::EINVAL)?,
            segments: segments.as_mut_ptr().expose_provenance() as u64,
            ..gntdev::GrantCopy::default()
        };
        // SAFETY: `count` live segments; their local addresses by this function's contract.
        unsafe { ioctl::raw(self.gntdev.as_fd(), gntdev::GRANT_COPY, &mut request) }.map(drop)
    }

    fn send(&self, port: u32) -> Result<(), Errno> {
        let events = self.events.as_ref().ok_or(Errno::ENOTCONN)?;
        ioctl::plain(events.as_fd(), evtchn::NOTIFY, &mut evtchn::Notify { port }).map(drop)
    }

    fn slot_port(&self, slot: usize) -> u32 {
        self.channels.get(slot).map_or(0, |channel| channel.sends)
    }

    fn released(&mut self) -> u32 {
        let mut slots = 0;
        // More than there are.
        let mut ports = [0_u32; 2 * SLOTS];
        let bytes = read(&self.releases, ports.as_mut_bytes()).unwrap_or(0);
        let arrived = ports.get(..bytes / 4).unwrap_or_default();
        for (slot, channel) in self.channels.iter().enumerate() {
            slots |= u32::from(arrived.contains(&channel.hears)) << slot;
        }
        if !arrived.is_empty() {
            // Each stays masked until it is written back.
            let _ = write(&self.releases, arrived.as_bytes());
        }
        slots
    }

    fn wait_for_release(&mut self, most: Duration) -> u32 {
        let mut fds = [PollFd::new(self.releases.as_fd(), PollFlags::POLLIN)];
        // A millisecond more, rather than none.
        let most = u16::try_from(most.as_millis() + 1).unwrap_or(u16::MAX);
        let _ = poll(&mut fds, PollTimeout::from(most));
        self.released()
    }
}

const _: () = assert!(SLOTS <= 32);
