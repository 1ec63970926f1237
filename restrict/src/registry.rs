// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every handle of this process, and the latch.
//!
//! Opening, closing and `restrict_all` exclude each other: a handle is in the
//! list before anybody can use it, and until its number is closed.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use crate::{
    device::Device,
    error::{Cause, Error, Result},
    handle::{Handle, HandleState},
    holes::KernelHole,
    ids::GuestId,
};

#[derive(Debug, Default)]
struct Registry {
    latch: Option<GuestId>,
    handles: Vec<Arc<HandleState>>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    latch: None,
    handles: Vec::new(),
});

/// What is put over a revoked number, opened with the first handle: revoking
/// must not fail for want of a descriptor or of a /dev.
static GRAVE: OnceLock<OwnedFd> = OnceLock::new();

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a handle and lists it, unless the process is restricted.
pub(crate) fn admit(
    device: Device,
    restricted: Option<GuestId>,
    fd: impl FnOnce() -> Result<OwnedFd>,
) -> Result<Arc<Handle>> {
    registry().admit(device, restricted, fd)
}

impl Registry {
    fn admit(
        &mut self,
        device: Device,
        restricted: Option<GuestId>,
        fd: impl FnOnce() -> Result<OwnedFd>,
    ) -> Result<Arc<Handle>> {
        let failed = |cause| match restricted {
            Some(guest) => Error::new("adopt", device, cause).for_guest(guest),
            None => Error::new("open", device, cause),
        };
        if let Some(to) = self.latch
            && restricted != Some(to)
        {
            return Err(failed(Cause::Latched { to }));
        }
        if GRAVE.get().is_none() {
            let inert = inert().map_err(|e| failed(Cause::Kernel(e)))?;
            GRAVE.get_or_init(|| inert);
        }
        let handle = Handle::wrap(device, fd()?, restricted);
        self.handles.push(Arc::clone(handle.state()));
        Ok(handle)
    }

    fn restrict_all(&mut self, guest: GuestId) -> Result<()> {
        match self.latch {
            Some(to) if to != guest => {
                let cause = Cause::RestrictedElsewhere { to: Some(to) };
                return Err(Error::new("restrict_all", Device::PrivCmd, cause).for_guest(guest));
            }
            _ => self.latch = Some(guest),
        }
        // Every one, also after an error.
        let mut first = Ok(());
        for handle in &self.handles {
            first = first.and(handle.restrict(guest).map(drop));
        }
        first
    }
}

/// /dev/null; in a root without one, a pipe that nobody writes to. Both are at
/// their end, and know no ioctl.
fn inert() -> io::Result<OwnedFd> {
    match File::options().read(true).write(true).open("/dev/null") {
        Ok(null) => Ok(null.into()),
        Err(_) => io::pipe().map(|(reader, _)| reader.into()),
    }
}

/// Forgets a handle and closes it.
pub(crate) fn dismiss(state: &Arc<HandleState>, close: impl FnOnce()) {
    let mut registry = registry();
    registry.handles.retain(|other| !other.is(state));
    close();
}

/// Replaces an open number by the inert file, in one step for other threads.
pub(crate) fn bury(number: RawFd) {
    let Some(inert) = GRAVE.get() else {
        std::process::abort() // A handle without `admit`: cannot be.
    };
    loop {
        // SAFETY: both numbers are open and ours; `number` stays open.
        match unsafe { libc::dup3(inert.as_raw_fd(), number, libc::O_CLOEXEC) } {
            -1 if matches!(
                io::Error::last_os_error().raw_os_error(),
                Some(libc::EINTR | libc::EBUSY)
            ) => {}
            // Only a filter on dup3 can do this. The promise is that no usable
            // unrestricted descriptor is left, and there is one.
            -1 => std::process::abort(),
            _ => return,
        }
    }
}

/// Restricts every handle that this crate opened in this process to one guest,
/// and opens no more.
///
/// privcmd and evtchn handles are restricted and verified; gntdev and gntalloc
/// handles are revoked: Linux cannot restrict them. Handles that are restricted
/// to `guest` already are verified again. Afterwards `restrict` on a handle is
/// the way to the type that says so.
///
/// Other threads may open, use and drop handles meanwhile: each open happens
/// before and is covered, or after and fails with [`Cause::Latched`]; each
/// operation on a domain ends before, or meets the restriction. A thread that
/// is blocked in [`EventChannel::pending`](crate::EventChannel::pending) of a
/// handle that is revoked stays there until an event arrives.
///
/// Descriptors that the caller duplicated out of a handle, and those that a
/// child inherited, share a restriction but not a revocation: they are the
/// caller's to close. An ioreq server of a revoked handle cannot be destroyed
/// any more; it goes with its guest.
///
/// What is returned is not held by the kernel's word: what it leaves unchecked on these
/// handles, as long as no filter refuses it. Each is named once; see
/// [`confine::xen_requests::enforce`](crate::confine::xen_requests::enforce).
///
/// ```no_run
/// use xen_restrict::{GuestId, confine::xen_requests::{Phase, enforce}, restrict_all};
///
/// let open = restrict_all(GuestId::new(7)?)?;
/// if open.iter().any(|hole| hole.is_refused_by_filter()) {
///     enforce(Phase::SetUp)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first error; by then every handle that is not restricted to `guest` is
/// revoked. The latch holds in any case, except where the process was
/// restricted to another guest before: then nothing changes.
pub fn restrict_all(guest: GuestId) -> Result<Vec<KernelHole>> {
    let mut registry = registry();
    registry.restrict_all(guest)?;
    let mut holes = Vec::new();
    for hole in registry.handles.iter().flat_map(|handle| handle.holes()) {
        if !holes.contains(&hole) {
            holes.push(hole);
        }
    }
    Ok(holes)
}

#[cfg(test)]
mod machine;
