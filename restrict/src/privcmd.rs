// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/privcmd`: hypercalls, `dm_op` and mappings, and its single-domid
//! mode.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use crate::{
    device::{Device, identify},
    error::{Cause, Error, Result},
    guest::Guest,
    handle::{Handle, verify},
    holes::{self, KernelHole},
    ids::GuestId,
    state::{Restricted, State, Unrestricted},
};

/// A privcmd handle.
///
/// Cloning shares the handle. What is mapped or created through it keeps the
/// handle open.
///
/// ```no_run
/// use xen_restrict::{Access, Gfn, GuestId, PrivCmd};
/// let privcmd = PrivCmd::open()?;
/// // From here on the kernel refuses whatever is not about domain 7.
/// let privcmd = privcmd.restrict(GuestId::new(7)?)?;
/// let memory = privcmd.guest().map(&[Gfn::new(0x200)], Access::Read)?;
/// println!("{:#x}", memory.get::<u64>(0)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A restricted handle cannot name another domain:
///
/// ```compile_fail,E0061
/// # use xen_restrict::{GuestId, PrivCmd, Restricted};
/// fn escape(privcmd: &PrivCmd<Restricted>, victim: GuestId) {
///     privcmd.guest(victim);
/// }
/// ```
///
/// nor issue a hypercall:
///
/// ```compile_fail,E0599
/// # use xen_restrict::{PrivCmd, Restricted};
/// fn escape(privcmd: &PrivCmd<Restricted>) {
///     unsafe { privcmd.hypercall(17, [0; 5]) };
/// }
/// ```
#[derive(Clone, Debug)]
pub struct PrivCmd<S: State> {
    handle: Arc<Handle>,
    state: S,
}

impl PrivCmd<Unrestricted> {
    /// Opens `/dev/xen/privcmd`. Needs root in dom0.
    ///
    /// # Errors
    /// Each with its remedy: [`Cause::NotXen`], [`Cause::NodeMissing`],
    /// [`Cause::PermissionDenied`], [`Cause::WrongDevice`],
    /// [`Cause::KernelTooOld`], [`Cause::Latched`] after
    /// [`restrict_all`](crate::restrict_all), and
    /// [`Cause::AlreadyRestricted`] where the kernel restricts every handle.
    pub fn open() -> Result<Self> {
        Ok(Self {
            handle: Handle::open(Device::PrivCmd)?,
            state: Unrestricted(()),
        })
    }

    /// Restricts the handle, and every duplicate of its descriptor, to `guest`
    /// for good, and proves it (Linux 4.11, `IOCTL_PRIVCMD_RESTRICT`).
    ///
    /// # Errors
    /// In each case the handle is revoked: its number, shared by its clones
    /// and by what was made from it, is /dev/null from then on. Duplicates of
    /// the descriptor that the caller made are the caller's to close.
    /// [`Cause::Leftovers`] names memory of other domains that is still
    /// mapped, [`Cause::NotInForce`] a kernel that accepts without restricting.
    pub fn restrict(self, guest: GuestId) -> Result<PrivCmd<Restricted>> {
        self.handle.restrict(guest)?;
        Ok(PrivCmd {
            handle: self.handle,
            state: Restricted { guest },
        })
    }

    /// The operations on one guest.
    #[must_use]
    pub fn guest(&self, id: GuestId) -> Guest {
        Guest::new(Arc::clone(&self.handle), id)
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl PrivCmd<Restricted> {
    /// Takes over a descriptor that somebody else opened and restricted.
    ///
    /// Proves that it is privcmd and may act on `guest` and not on others.
    /// One that is not restricted is refused, not restricted here: what is
    /// mapped through it is unknown. Of a restricted one, too, no probe can tell
    /// what was mapped before: trust who hands it over for that.
    ///
    /// # Errors
    /// [`Cause::NotOpen`], [`Cause::WrongDevice`], [`Cause::NotRestricted`],
    /// [`Cause::RestrictedElsewhere`], [`Cause::Latched`] to another guest. In
    /// each case the descriptor is closed.
    pub fn from_fd(fd: OwnedFd, guest: GuestId) -> Result<Self> {
        Ok(Self {
            handle: adopt(Device::PrivCmd, fd, guest)?,
            state: Restricted { guest },
        })
    }

    /// The operations on the guest that the handle is restricted to.
    #[must_use]
    pub fn guest(&self) -> Guest {
        Guest::new(Arc::clone(&self.handle), self.state.guest)
    }

    /// The guest that the handle is restricted to.
    #[must_use]
    pub fn restricted_to(&self) -> GuestId {
        self.state.guest
    }
}

impl<S: State> PrivCmd<S> {
    /// What this kernel does not check on a restricted handle ([`KernelHole`]), and no filter
    /// of this process refuses: a restricted handle is held to one domain only where one
    /// does ([`confine::xen_requests`](crate::confine::xen_requests)). What no filter can
    /// refuse stays named. Harmless to ask.
    #[must_use]
    pub fn kernel_holes(&self) -> Vec<KernelHole> {
        let domid = self.handle.state().restricted().unwrap_or(GuestId::MAX);
        holes::of(Device::PrivCmd, self.handle.as_fd(), domid.get())
    }
}

/// Duplicates made of this descriptor share the restriction.
impl<S: State> AsFd for PrivCmd<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Proves device and restriction before the descriptor becomes a handle.
pub(crate) fn adopt(device: Device, fd: OwnedFd, guest: GuestId) -> Result<Arc<Handle>> {
    let failed = |cause| Error::new("adopt", device, cause).for_guest(guest);
    match identify(device, fd.as_fd()).and_then(|()| verify(device, fd.as_fd(), guest)) {
        Ok(()) => Handle::adopt(device, fd, guest),
        Err(Cause::NotInForce { .. }) => Err(failed(Cause::NotRestricted)),
        Err(cause) => {
            if matches!(cause, Cause::NotOpen) {
                // Nothing to close, and closing would hit whoever gets the number.
                let _ = std::os::fd::IntoRawFd::into_raw_fd(fd);
            }
            Err(failed(cause))
        }
    }
}
