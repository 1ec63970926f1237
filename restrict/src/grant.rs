// SPDX-License-Identifier: MIT OR Apache-2.0
//! What both grant devices share: Xen's status codes, and the notification of
//! the other side when pages go away.

use std::os::fd::AsFd;

use xen_sys::{
    Request,
    gntdev::{self, UnmapNotifyAction},
    grant_table,
};

use crate::{
    error::{Cause, Error, Result},
    evtchn::BoundPort,
    handle::Handle,
    ids::GuestId,
    ioctl,
    memory::{AccessError, SharedMemory},
    mmap::Access,
};

const OPERATION: &str = "set the unmap notification";

/// Xen's reason for refusing a grant operation (`GNTST_*` of Xen's
/// `public/grant_table.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (grant status {status})", what = self.what())]
pub struct GrantError {
    /// The status: negative.
    pub status: i16,
}

impl GrantError {
    pub(crate) fn check(status: i16) -> std::result::Result<(), Self> {
        if status == grant_table::GNTST_OKAY {
            Ok(())
        } else {
            Err(Self { status })
        }
    }

    fn what(self) -> &'static str {
        match self.status {
            grant_table::GNTST_BAD_DOMAIN => "Xen has no such domain, or it may not be named",
            grant_table::GNTST_BAD_GNTREF => "the guest has no such grant, or not for us",
            grant_table::GNTST_NO_DEVICE_SPACE => "Xen is out of mappings",
            grant_table::GNTST_PERMISSION_DENIED => {
                "permission denied: the grant is read-only, or for somebody else"
            }
            grant_table::GNTST_BAD_PAGE => "the granted page is not there any more",
            grant_table::GNTST_BAD_COPY_ARG => "the range leaves the granted page",
            grant_table::GNTST_EAGAIN => "the page is being paged in: try again",
            grant_table::GNTST_NO_SPACE => "Xen's grant table is full",
            _ => "Xen refused the grant",
        }
    }
}

/// What happens when shared pages are unmapped, also by the death of the
/// process.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnmapNotify<'p> {
    /// Byte of the mapping that becomes 0.
    pub clear_byte: Option<usize>,
    /// Port that sends an event, bound to the pages' guest. It is used even if
    /// it is unbound by then.
    pub send_event: Option<&'p BoundPort>,
}

impl UnmapNotify<'_> {
    /// Asks for it, for pages at `index` that are shared with `guest`.
    pub(crate) fn set(
        self,
        handle: &Handle,
        index: u64,
        memory: &SharedMemory,
        guest: GuestId,
        ask: impl FnOnce(&mut gntdev::UnmapNotify) -> Result<(), Cause>,
    ) -> Result<()> {
        let failed = |cause| Error::new(OPERATION, handle.device(), cause).for_guest(guest);
        let mut argument = self.request(index, memory, guest).map_err(failed)?;
        let _pass = handle.pass();
        // The port is what it says for as long as its handle is not revoked.
        let held = self.send_event.map(BoundPort::hold).transpose();
        let _held = held.map_err(failed)?;
        ask(&mut argument).map_err(failed)
    }

    /// Asks the driver.
    pub(crate) fn ask(
        handle: &Handle,
        request: Request<gntdev::UnmapNotify>,
        argument: &mut gntdev::UnmapNotify,
    ) -> Result<(), Cause> {
        ioctl::plain(handle.as_fd(), request, argument)
            .map(drop)
            .map_err(|errno| handle.failed(OPERATION, None, errno).cause)
    }

    fn request(
        self,
        index: u64,
        memory: &SharedMemory,
        guest: GuestId,
    ) -> Result<gntdev::UnmapNotify, Cause> {
        let mut action = UnmapNotifyAction::empty();
        if let Some(offset) = self.clear_byte {
            if memory.access() == Access::Read {
                return Err(AccessError::ReadOnly.into());
            }
            if offset >= memory.len() {
                return Err(AccessError::OutOfRange {
                    offset,
                    length: 1,
                    size: memory.len(),
                }
                .into());
            }
            action |= UnmapNotifyAction::CLEAR_BYTE;
        }
        if let Some(port) = self.send_event {
            // The driver keeps the port, past any restriction.
            if port.domain() != Some(guest) {
                return Err(Cause::Invalid {
                    what: format!("{} is not bound to {guest}", port.port()),
                    remedy: "notify the domain whose pages these are",
                });
            }
            action |= UnmapNotifyAction::SEND_EVENT;
        }
        Ok(gntdev::UnmapNotify {
            index: index + self.clear_byte.unwrap_or(0) as u64,
            action: action.bits(),
            event_channel_port: self.send_event.map_or(0, |port| port.port().get()),
        })
    }
}
