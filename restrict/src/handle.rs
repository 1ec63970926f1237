// SPDX-License-Identifier: MIT OR Apache-2.0
//! A descriptor that this crate owns, known to the registry from before it
//! exists until it is closed.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

use nix::errno::Errno;
use xen_sys::{evtchn, privcmd};

use crate::{
    device::{Device, open_node, probe_privcmd},
    error::{Cause, Error, Result},
    ids::GuestId,
    ioctl,
    leftover::{Held, Ledger},
    registry,
};

/// An open file of one of the devices, shared by all objects that need it.
#[derive(Debug)]
pub(crate) struct Handle {
    fd: ManuallyDrop<OwnedFd>,
    state: Arc<HandleState>,
}

/// What the registry knows of a handle.
#[derive(Debug)]
pub(crate) struct HandleState {
    device: Device,
    number: RawFd,
    revoked: AtomicBool,
    /// The domid it is restricted to; 0 while it is not.
    restricted: AtomicU16,
    /// Locked while a port is bound or memory mapped, and while restricting: so
    /// nothing slips in between the look at the ledger and the restriction.
    ledger: Mutex<Ledger>,
}

impl Handle {
    /// Opens the device, unless the process is restricted already.
    pub(crate) fn open(device: Device) -> Result<Arc<Self>> {
        registry::admit(device, None, || open_node(device))
    }

    /// Takes over a descriptor that was proven to be restricted to `guest`.
    pub(crate) fn adopt(device: Device, fd: OwnedFd, guest: GuestId) -> Result<Arc<Self>> {
        registry::admit(device, Some(guest), || Ok(fd))
    }

    /// Only for the registry, which has to know of every handle.
    pub(crate) fn wrap(device: Device, fd: OwnedFd, restricted: Option<GuestId>) -> Arc<Self> {
        let state = HandleState {
            device,
            number: fd.as_raw_fd(),
            revoked: AtomicBool::new(false),
            restricted: AtomicU16::new(restricted.map_or(0, GuestId::get)),
            ledger: Mutex::default(),
        };
        Arc::new(Self {
            fd: ManuallyDrop::new(fd),
            state: Arc::new(state),
        })
    }

    pub(crate) fn state(&self) -> &Arc<HandleState> {
        &self.state
    }

    pub(crate) fn device(&self) -> Device {
        self.state.device
    }

    /// Restricts this handle, or revokes it.
    pub(crate) fn restrict(&self, guest: GuestId) -> Result<()> {
        self.state
            .restrict(guest)
            .inspect_err(|_| self.state.revoke())
    }

    /// Runs `create` and records what it made, as one step for `restrict`.
    pub(crate) fn record<T>(
        self: &Arc<Self>,
        domain: Option<GuestId>,
        create: impl FnOnce() -> Result<(T, Held)>,
    ) -> Result<(T, Ticket)> {
        let mut ledger = self.state.ledger();
        let (thing, held) = create()?;
        let number = ledger.add(domain, held);
        let ticket = Ticket {
            handle: Arc::clone(self),
            number,
        };
        Ok((thing, ticket))
    }

    /// An error of an ioctl, read in the light of what happened to the handle.
    pub(crate) fn failed(&self, operation: &'static str, errno: Errno) -> Error {
        let cause = match errno {
            _ if self.state.is_revoked() => Cause::Revoked,
            Errno::EPERM | Errno::EACCES if self.state.restricted().is_some() => Cause::Restricted,
            Errno::ESRCH => Cause::NoSuchDomain,
            other => Cause::errno(other),
        };
        Error::new(operation, self.device(), cause)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        registry::dismiss(&self.state, || {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.fd) }
        });
    }
}

impl HandleState {
    /// The descriptor, as long as the registry is locked: closing needs the lock.
    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `Handle` closes the number only after the registry forgot
        // this state; callers hold the registry's lock or the `Handle`.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }

    pub(crate) fn is(&self, other: &Arc<Self>) -> bool {
        std::ptr::eq(self, Arc::as_ptr(other))
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub(crate) fn restricted(&self) -> Option<GuestId> {
        GuestId::new(self.restricted.load(Ordering::Acquire)).ok()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The restriction of one device, or its revocation where it has none.
    /// On an error the caller revokes.
    pub(crate) fn restrict(&self, guest: GuestId) -> Result<()> {
        let failed = |cause| Error::new("restrict", self.device, cause).for_guest(guest);
        if self.is_revoked() {
            return match self.device {
                Device::GrantDevice | Device::GrantAllocator => Ok(()),
                Device::PrivCmd | Device::EventChannel => Err(failed(Cause::Revoked)),
            };
        }
        let ledger = self.ledger();
        match self.restricted() {
            Some(to) if to != guest => {
                return Err(failed(Cause::RestrictedElsewhere { to: Some(to) }));
            }
            Some(_) => return self.verify(guest).map_err(failed),
            None => {}
        }
        let leftovers = ledger.foreign_to(guest);
        if !leftovers.is_empty() {
            return Err(failed(Cause::Leftovers(leftovers)));
        }
        let accepted = match self.device {
            Device::PrivCmd => ioctl::plain(self.fd(), privcmd::RESTRICT, &mut guest.get()),
            Device::EventChannel => {
                let mut to = evtchn::RestrictDomid { domid: guest.get() };
                ioctl::plain(self.fd(), evtchn::RESTRICT_DOMID, &mut to)
            }
            Device::GrantDevice | Device::GrantAllocator => {
                self.revoke();
                return Ok(());
            }
        };
        accepted.map_err(|errno| failed(restrict_failed(errno)))?;
        self.verify(guest).map_err(failed)?;
        self.restricted.store(guest.get(), Ordering::Release);
        Ok(())
    }

    fn verify(&self, guest: GuestId) -> Result<(), Cause> {
        verify(self.device, self.fd(), guest)
    }

    /// Puts /dev/null over the descriptor's number. What is mapped stays
    /// mapped; no request reaches the driver through this number again.
    pub(crate) fn revoke(&self) {
        if !self.revoked.swap(true, Ordering::AcqRel) {
            registry::bury(self.number);
        }
    }
}

fn restrict_failed(errno: Errno) -> Cause {
    match errno {
        Errno::ENOTTY | Errno::ENOSYS => Cause::KernelTooOld,
        // privcmd EINVAL, evtchn EACCES: restricted before, to somebody else.
        Errno::EINVAL | Errno::EACCES => Cause::RestrictedElsewhere { to: None },
        other => Cause::errno(other),
    }
}

/// Proves that a handle may act on `guest` and not on another domain.
pub(crate) fn verify(device: Device, fd: BorrowedFd<'_>, guest: GuestId) -> Result<(), Cause> {
    let probed = guest.another();
    let allowed = |id| match device {
        Device::PrivCmd => match probe_privcmd(fd, id) {
            Ok(()) => Ok(true),
            Err(Errno::EPERM) => Ok(false),
            Err(other) => Err(Cause::errno(other)),
        },
        _ => probe_evtchn(fd, id),
    };
    match (allowed(guest)?, allowed(probed)?) {
        (true, false) => Ok(()),
        (true, true) => Err(Cause::NotInForce { probed }),
        (false, _) => Err(Cause::RestrictedElsewhere { to: None }),
    }
}

/// Asks whether an evtchn handle may bind to `guest`, with a remote port that
/// cannot exist: refused by the driver, or by Xen for the port's sake.
pub(crate) fn probe_evtchn(fd: BorrowedFd<'_>, guest: GuestId) -> Result<bool, Cause> {
    let mut impossible = evtchn::BindInterdomain {
        remote_domain: u32::from(guest.get()),
        remote_port: u32::MAX,
    };
    match ioctl::plain(fd, evtchn::BIND_INTERDOMAIN, &mut impossible) {
        Err(Errno::EACCES) => Ok(false),
        Err(Errno::EINVAL | Errno::ESRCH) => Ok(true),
        Err(other) => Err(Cause::errno(other)),
        Ok(port) => {
            let port = u32::try_from(port).unwrap_or(u32::MAX);
            let _ = ioctl::plain(fd, evtchn::UNBIND, &mut evtchn::Unbind { port });
            Ok(true)
        }
    }
}

/// An entry of the ledger; dropping takes it out. It keeps the handle open, so
/// that `restrict_all` knows of all that is held.
#[derive(Debug)]
pub(crate) struct Ticket {
    handle: Arc<Handle>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.handle.state.ledger().remove(self.number);
    }
}

impl Ticket {
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}
