// SPDX-License-Identifier: MIT OR Apache-2.0
//! A descriptor that this crate owns, known to the registry from before it
//! exists until it is closed.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
};
use xen_sys::{evtchn, privcmd};

use crate::{
    device::{Device, open_node, probe_privcmd},
    error::{Cause, Error, Result},
    holes::{self, KernelHole},
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
    /// Read-locked by every operation that names a domain while the handle is
    /// not restricted, write-locked by restriction: so nothing is under way
    /// when the ledger is looked at, and nothing ends after it.
    gate: RwLock<()>,
    ledger: Mutex<Ledger>,
    /// Readable once the handle is revoked; made for the first that waits.
    bell: OnceLock<EventFd>,
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
            gate: RwLock::default(),
            ledger: Mutex::default(),
            bell: OnceLock::new(),
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
        match self.state.restrict(guest)? {
            Outcome::Gone if self.state.restrictable() => {
                let error = Error::new("restrict", self.device(), Cause::Revoked);
                Err(error.for_guest(guest))
            }
            Outcome::Restricted | Outcome::Gone => Ok(()),
        }
    }

    /// Keeps a restriction waiting until the operation that follows is over, one
    /// that leaves nothing behind. Not to be taken twice by one thread.
    pub(crate) fn pass(&self) -> Option<RwLockReadGuard<'_, ()>> {
        // From then on the kernel itself refuses all but its own guest.
        let open = self.state.restricted().is_none();
        open.then(|| {
            self.state
                .gate
                .read()
                .unwrap_or_else(PoisonError::into_inner)
        })
    }

    /// Runs `create` and records what it made, as one step for `restrict`.
    pub(crate) fn record<T>(
        self: &Arc<Self>,
        domain: Option<GuestId>,
        create: impl FnOnce() -> Result<(T, Held)>,
    ) -> Result<(T, Ticket)> {
        // On a restricted handle too: what is made for its guest must be in the
        // ledger before somebody restricts the process to another.
        let _pass = self
            .state
            .gate
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let (thing, held) = create()?;
        let number = self.state.ledger().add(domain, held);
        let ticket = Ticket {
            handle: Arc::clone(self),
            number: Some(number),
        };
        Ok((thing, ticket))
    }

    /// A descriptor that becomes readable when the handle is revoked.
    pub(crate) fn bell(&self) -> Result<BorrowedFd<'_>, Errno> {
        let state = &self.state;
        if state.bell.get().is_none() {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            let bell = EventFd::from_value_and_flags(0, flags)?;
            state.bell.get_or_init(|| bell);
        }
        // Revoked before there was a bell to ring.
        if state.is_revoked() {
            state.ring();
        }
        state.bell.get().map(AsFd::as_fd).ok_or(Errno::EBADF)
    }

    /// An error of a call that the restriction does not decide.
    pub(crate) fn kernel_failed(&self, operation: &'static str, errno: Errno) -> Error {
        let cause = if self.state.is_revoked() {
            Cause::Revoked
        } else {
            Cause::errno(errno)
        };
        Error::new(operation, self.device(), cause)
    }

    /// An error of an ioctl about `guest`, read in the light of what happened
    /// to the handle.
    pub(crate) fn failed(
        &self,
        operation: &'static str,
        guest: Option<GuestId>,
        errno: Errno,
    ) -> Error {
        let restricted = self.state.restricted();
        let cause = match errno {
            _ if self.state.is_revoked() => Cause::Revoked,
            Errno::EACCES if restricted.is_some() => Cause::Restricted,
            // For its own guest it is Xen that says no.
            Errno::EPERM if restricted.is_some() && restricted != guest => Cause::Restricted,
            Errno::ESRCH => Cause::NoSuchDomain,
            other => Cause::errno(other),
        };
        let error = Error::new(operation, self.device(), cause);
        guest.into_iter().fold(error, Error::for_guest)
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

    /// As long as the registry is locked.
    pub(crate) fn holes(&self) -> Vec<KernelHole> {
        match self.is_revoked() {
            true => Vec::new(),
            false => {
                let domid = self.restricted().unwrap_or(GuestId::MAX);
                holes::of(self.device, self.fd(), domid.get())
            }
        }
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::SeqCst)
    }

    pub(crate) fn restricted(&self) -> Option<GuestId> {
        GuestId::new(self.restricted.load(Ordering::Acquire)).ok()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether Linux has a restriction for the device.
    fn restrictable(&self) -> bool {
        matches!(self.device, Device::PrivCmd | Device::EventChannel)
    }

    /// Restricts, or revokes where there is no restriction; on an error the
    /// handle is revoked.
    pub(crate) fn restrict(&self, guest: GuestId) -> Result<Outcome> {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.try_restrict(guest);
        // Again where it is revoked already: somebody may be halfway there.
        if !matches!(outcome, Ok(Outcome::Restricted)) {
            self.revoke();
        }
        outcome.map_err(|cause| Error::new("restrict", self.device, cause).for_guest(guest))
    }

    fn try_restrict(&self, guest: GuestId) -> Result<Outcome, Cause> {
        let revoked = self.is_revoked();
        let mut leftovers = self.ledger().foreign_to(guest);
        // Ports go with the file, mappings stay.
        leftovers.retain(|left| !(revoked && matches!(left.what, Held::Port(_))));
        if !leftovers.is_empty() {
            return Err(Cause::Leftovers(leftovers));
        }
        if revoked {
            return Ok(Outcome::Gone);
        }
        match (self.restrictable(), self.restricted()) {
            (true, _) => {}
            // Brokered: others cannot be named.
            (false, Some(to)) if to == guest => return Ok(Outcome::Restricted),
            (false, Some(to)) => return Err(Cause::RestrictedElsewhere { to: Some(to) }),
            (false, None) => return Ok(Outcome::Gone),
        }
        match self.restricted() {
            Some(to) if to == guest => {}
            Some(to) => return Err(Cause::RestrictedElsewhere { to: Some(to) }),
            None => self.request(guest).map_err(restrict_failed)?,
        }
        verify(self.device, self.fd(), guest)?;
        self.restricted.store(guest.get(), Ordering::Release);
        Ok(Outcome::Restricted)
    }

    fn request(&self, guest: GuestId) -> Result<(), Errno> {
        let mut to = evtchn::RestrictDomid { domid: guest.get() };
        match self.device {
            Device::EventChannel => ioctl::plain(self.fd(), evtchn::RESTRICT_DOMID, &mut to),
            _ => ioctl::plain(self.fd(), privcmd::RESTRICT, &mut to.domid),
        }
        .map(drop)
    }

    /// Puts /dev/null over the descriptor's number. What is mapped stays
    /// mapped; no request reaches the driver through this number again. The
    /// caller holds the `Handle`, or the registry's lock.
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
        registry::bury(self.number);
        self.ring();
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            // Full is rung as well.
            let _ = bell.write(1);
        }
    }
}

/// What became of a handle that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Restricted,
    /// /dev/null, now or before.
    Gone,
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
    number: Option<u64>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.handle.state.ledger().remove(number);
        }
    }
}

impl Ticket {
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}

impl Ticket {
    /// For a thing that could not be undone, and ends with the handle.
    pub(crate) fn keep_entry(mut self) {
        self.number = None;
    }

    /// For a thing that could not be undone, and outlives the handle: both stay,
    /// so that no restriction overlooks it.
    pub(crate) fn keep_handle(self) {
        std::mem::forget(self);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::mpsc, thread, time::Duration};

    use super::*;

    const A: GuestId = GuestId::MIN;
    const B: GuestId = GuestId::MAX;

    /// Any file will do for a device that is revoked rather than restricted.
    fn handle() -> Arc<Handle> {
        let file = || Ok(File::open("/dev/zero").unwrap().into());
        registry::admit(Device::GrantDevice, None, file).unwrap()
    }

    fn behind(handle: &Handle) -> String {
        let link = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
        std::fs::read_link(link).unwrap().display().to_string()
    }

    #[test]
    fn a_restriction_waits_for_what_is_under_way() {
        let handle = handle();
        let (begun, begin) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let working = Arc::clone(&handle);
        let worker = thread::spawn(move || {
            working
                .record(Some(B), || {
                    begun.send(()).unwrap();
                    ended.recv().unwrap();
                    assert_eq!(behind(&working), "/dev/zero");
                    Ok(((), Held::Grants(1)))
                })
                .unwrap()
        });
        begin.recv().unwrap();
        let restricting = Arc::clone(&handle);
        let restriction = thread::spawn(move || restricting.restrict(A));
        thread::sleep(Duration::from_millis(50));
        assert!(!restriction.is_finished());
        end.send(()).unwrap();
        let error = restriction.join().unwrap().unwrap_err();
        assert!(matches!(error.cause, Cause::Leftovers(_)), "{error:#}");
        drop(worker.join().unwrap());
    }

    #[test]
    fn whoever_finds_it_revoked_leaves_it_revoked() {
        for _ in 0..200 {
            let handle = handle();
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        handle.restrict(A).unwrap();
                        assert_eq!(behind(&handle), "/dev/null");
                    });
                }
            });
        }
    }

    #[test]
    fn a_leftover_is_told_again_until_it_is_gone() {
        let handle = handle();
        let (_, ticket) = handle
            .record(Some(B), || Ok(((), Held::Grants(2))))
            .unwrap();
        for _ in 0..2 {
            let error = handle.restrict(A).unwrap_err();
            assert!(matches!(error.cause, Cause::Leftovers(_)), "{error:#}");
            assert_eq!(behind(&handle), "/dev/null");
        }
        drop(ticket);
        handle.restrict(A).unwrap();
    }

    #[test]
    fn the_bell_rings_whoever_comes_first() {
        for early in [true, false] {
            let handle = handle();
            if early {
                handle.bell().unwrap();
            }
            handle.restrict(A).unwrap();
            let mut count = [0; 8];
            assert_eq!(nix::unistd::read(handle.bell().unwrap(), &mut count), Ok(8));
        }
    }
}
