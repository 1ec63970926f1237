// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/evtchn`.

use std::os::fd::{AsFd, AsRawFd};

use libc::c_int;
use xen_restrict::{self as restrict, BoundPort, EventChannel, Restricted, Unrestricted};

use crate::{
    arguments::{self, Out},
    failure::{Failure, Outcome},
    guard::guard,
    handle::{Finish, give, hold},
    privcmd::{Restrictable, State, descriptor, holes, only},
    xr_evtchn, xr_port,
};

pub(crate) type Events = Restrictable<EventChannel<Unrestricted>, EventChannel<Restricted>>;

impl Finish for Events {}

pub(crate) struct Port(pub(crate) BoundPort);

impl Finish for Port {
    fn finish(self) -> Outcome<()> {
        Ok(self.0.close()?)
    }
}

/// The same on a handle of either state.
macro_rules! either {
    ($events:expr, $handle:ident => $use:expr) => {
        match $events.state()? {
            $crate::privcmd::State::Unrestricted($handle) => $use,
            $crate::privcmd::State::Restricted($handle) => $use,
        }
    };
}
pub(crate) use either;

fn needs_unrestricted() -> Failure {
    Failure::new(
        libc::EPERM,
        "the handle is restricted: it binds only to ports that its guest allocated",
    )
}

/// Opens /dev/xen/evtchn, unrestricted. `*out` is the caller's, to be closed by xr_close();
/// NULL after an error.
///
/// Returns 0.
/// Errors: EINVAL; ENODEV: this is not Xen; ENOENT: no such device node; EACCES; ENOTTY: the
/// node is not this device; EPERM: after xr_restrict_all(); EMFILE, ENOMEM.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_evtchn_open(out: *mut *mut xr_evtchn) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let handle = EventChannel::open()?;
        out.set(give(Events::unrestricted(handle))?);
        Ok(0)
    })
}

/// Takes over an evtchn descriptor that somebody else opened and restricted to `domid`, and
/// proves that it is; no probe can tell which ports are bound already. The descriptor is the
/// library's from the call on, also after an error, which closes it.
///
/// Returns 0.
/// Errors: as xr_privcmd_adopt().
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer; nobody else uses or closes `fd` from here on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_evtchn_adopt(fd: c_int, domid: u16, out: *mut *mut xr_evtchn) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let fd = unsafe { descriptor(fd) }?;
        // SAFETY: as above.
        let out = unsafe { Out::none(out) }?;
        let handle = EventChannel::from_fd(fd, arguments::guest(domid)?)?;
        out.set(give(Events::restricted(handle))?);
        Ok(0)
    })
}

/// Restricts the handle, and every duplicate of its descriptor, to one guest, for good, and
/// proves it. Ports of that guest stay bound. Again to the same guest is no error.
///
/// Returns 0: the kernel refuses to bind to any other domain.
/// Errors: as xr_privcmd_restrict(); EBUSY: ports of other domains are still bound.
/// Threads: any; waits for calls of other threads that name a domain.
/// Fork: usable; the parent's handle is restricted with it.
#[unsafe(no_mangle)]
pub extern "C" fn xr_evtchn_restrict(evtchn: *mut xr_evtchn, domid: u16) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        let guest = arguments::guest(domid)?;
        handle.restrict(
            guest,
            EventChannel::restrict,
            EventChannel::<Restricted>::restricted_to,
        )
    })
}

/// The guest that the handle is restricted to.
///
/// Returns its domid, or 0 for a handle that this library's xr_evtchn_restrict() or
/// xr_evtchn_adopt() has not proved to be restricted.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_evtchn_domid(evtchn: *const xr_evtchn) -> c_int {
    guard(|| {
        Ok(match hold(evtchn)?.state()? {
            State::Unrestricted(_) => 0,
            State::Restricted(handle) => handle.restricted_to().get().into(),
        })
    })
}

/// The handle's descriptor, for poll(2): readable while a port is pending. It stays the
/// library's: do not close it. A duplicate shares the restriction.
///
/// Returns the descriptor.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_evtchn_fd(evtchn: *const xr_evtchn) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        Ok(either!(handle, events => events.as_fd().as_raw_fd()))
    })
}

/// As xr_privcmd_kernel_holes().
///
/// Returns 0 or XR_HOLE_BIND_STATIC.
/// Errors: EINVAL, EBADF.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_evtchn_kernel_holes(evtchn: *const xr_evtchn) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        Ok(holes(either!(handle, events => events.kernel_holes())))
    })
}

/// Binds a local port to port `remote`, which the guest allocated for this domain. On a
/// restricted handle `domid` is its guest's or 0. The port comes with one event pending.
/// `*out` is the caller's, to be closed by xr_close().
///
/// Returns 0.
/// Errors: EINVAL: no such port for us; EPERM: the handle is restricted to another guest;
/// ESRCH: no such domain; ENXIO: revoked; EBADF, EMFILE, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_evtchn_bind_interdomain(
    evtchn: *mut xr_evtchn,
    domid: u16,
    remote: u32,
    out: *mut *mut xr_port,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let remote = restrict::Port::new(remote);
        let port = match hold(evtchn)?.state()? {
            State::Unrestricted(handle) => {
                handle.bind_interdomain(arguments::guest(domid)?, remote)?
            }
            State::Restricted(handle) => {
                only(domid, handle.restricted_to())?;
                handle.bind_interdomain(remote)?
            }
        };
        out.set(give(Port(port))?);
        Ok(0)
    })
}

/// Allocates a local port that a guest may bind to. `*out` is the caller's, to be closed by
/// xr_close().
///
/// Returns 0.
/// Errors: EPERM: the handle is restricted; ESRCH, ENXIO, EINVAL, EBADF, EMFILE, and the
/// kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_evtchn_bind_unbound(
    evtchn: *mut xr_evtchn,
    domid: u16,
    out: *mut *mut xr_port,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let port = match hold(evtchn)?.state()? {
            State::Unrestricted(handle) => handle.bind_unbound_port(arguments::guest(domid)?)?,
            State::Restricted(_) => return Err(needs_unrestricted()),
        };
        out.set(give(Port(port))?);
        Ok(0)
    })
}

/// Binds a virtual interrupt of dom0 (VIRQ_... of Xen's public/xen.h). `*out` is the
/// caller's, to be closed by xr_close().
///
/// Returns 0.
/// Errors: EPERM: the handle is restricted; EINVAL: no such interrupt; EEXIST: bound before;
/// ENXIO, EBADF, EMFILE, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_evtchn_bind_virq(
    evtchn: *mut xr_evtchn,
    virq: u32,
    out: *mut *mut xr_port,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let port = match hold(evtchn)?.state()? {
            State::Unrestricted(handle) => handle.bind_virq(virq)?,
            State::Restricted(_) => return Err(needs_unrestricted()),
        };
        out.set(give(Port(port))?);
        Ok(0)
    })
}

/// Takes up to `room` pending ports out of the queue, oldest first, in one system call. Each
/// stays masked, that is silent, until xr_evtchn_unmask(). Blocks until there is one, unless
/// the handle is non-blocking.
///
/// Returns how many; 0 only for a non-blocking handle, or without room.
/// Errors: EOVERFLOW: more events came than the queue holds, until xr_evtchn_reset(); ENXIO:
/// revoked; EIO, EINVAL, EBADF, and the kernel's own.
/// Threads: any; where several read one handle, make it non-blocking. A thread that is
/// blocked here while another revokes the handle stays so until an event comes:
/// xr_evtchn_wait() first, where that can be.
/// Fork: usable; parent and child take from one queue.
/// Pointers: `ports` has room for `room` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_evtchn_pending(
    evtchn: *mut xr_evtchn,
    ports: *mut u32,
    room: usize,
) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        // SAFETY: by this function's contract.
        let ports = unsafe { ports_mut(ports, room) }?;
        let pending = either!(handle, events => events.pending(ports)?);
        Ok(arguments::count(pending.len()))
    })
}

/// # Safety
/// As [`arguments::slice_mut`].
pub(crate) unsafe fn ports_mut<'a>(
    ports: *mut u32,
    room: usize,
) -> Outcome<&'a mut [restrict::Port]> {
    // A port is a number and nothing else (`repr(transparent)`).
    // SAFETY: by this function's contract.
    unsafe { arguments::slice_mut(ports.cast::<restrict::Port>(), room, "ports") }
}

/// # Safety
/// As [`arguments::slice`].
pub(crate) unsafe fn ports<'a>(ports: *const u32, count: usize) -> Outcome<&'a [restrict::Port]> {
    // SAFETY: by this function's contract, and as above.
    unsafe { arguments::slice(ports.cast::<restrict::Port>(), count, "ports") }
}

/// Lets ports raise events again, all in one system call (1024 a call). Ports that are not
/// bound here are skipped.
///
/// Returns 0.
/// Errors: ENXIO: revoked; EINVAL, EBADF, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `ports` leads to `count` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_evtchn_unmask(
    evtchn: *mut xr_evtchn,
    ports: *const u32,
    count: usize,
) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        // SAFETY: by this function's contract.
        let ports = unsafe { self::ports(ports, count) }?;
        either!(handle, events => events.unmask(ports)?);
        Ok(0)
    })
}

/// Waits until a port is pending, `milliseconds` at most; without end if that is below 0.
///
/// Returns 1 if there is one, else 0.
/// Errors: EOVERFLOW, ENXIO: as xr_evtchn_pending(), and it wakes for either; EINVAL, EBADF,
/// and the kernel's own.
/// Threads: any.
/// Fork: usable.
#[unsafe(no_mangle)]
pub extern "C" fn xr_evtchn_wait(evtchn: *mut xr_evtchn, milliseconds: i64) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        let timeout = arguments::timeout(milliseconds);
        Ok(either!(handle, events => events.wait(timeout)?).into())
    })
}

/// Empties the queue, after EOVERFLOW. Ports stay bound; those that were in the queue stay
/// masked, so unmask every port.
///
/// Returns 0.
/// Errors: ENXIO: revoked; EINVAL, EBADF, and the kernel's own.
/// Threads: any.
/// Fork: usable; it is the parent's queue, too.
#[unsafe(no_mangle)]
pub extern "C" fn xr_evtchn_reset(evtchn: *mut xr_evtchn) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        either!(handle, events => events.reset()?);
        Ok(0)
    })
}

/// Whether xr_evtchn_pending() returns 0 instead of blocking. All duplicates of the
/// descriptor share it.
///
/// Returns 0.
/// Errors: EINVAL, EBADF, ENXIO, and the kernel's own.
/// Threads: any.
/// Fork: usable; it is the parent's, too.
#[unsafe(no_mangle)]
pub extern "C" fn xr_evtchn_set_nonblocking(evtchn: *mut xr_evtchn, nonblocking: c_int) -> c_int {
    guard(|| {
        let handle = hold(evtchn)?;
        either!(handle, events => events.set_nonblocking(nonblocking != 0)?);
        Ok(0)
    })
}

/// The local port's number, as xr_evtchn_pending() tells it.
///
/// Returns 0, and the number in `*number`.
/// Errors: EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `number` leads to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_port_number(port: *const xr_port, number: *mut u32) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let number = unsafe { Out::new(number, "number") }?;
        number.set(hold(port)?.0.port().get());
        Ok(0)
    })
}

/// Sends an event to the other side.
///
/// Returns 0.
/// Errors: ENXIO: revoked; EINVAL, EBADF, ECHILD, and the kernel's own.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_port_notify(port: *mut xr_port) -> c_int {
    guard(|| {
        hold(port)?.0.notify()?;
        Ok(0)
    })
}
