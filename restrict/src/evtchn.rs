// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/evtchn`: event channels, and their single-domid mode.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, RwLockReadGuard},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{read, write},
};
use xen_sys::{Request, evtchn};
use zerocopy::IntoBytes;

use crate::{
    device::Device,
    error::{Cause, Error, Result},
    handle::{Handle, Ticket},
    holes::{self, KernelHole},
    ids::{GuestId, Port},
    ioctl::{self, Plain},
    leftover::Held,
    privcmd::adopt,
    state::{Restricted, State, Unrestricted},
};

/// An event channel handle: a set of bound ports, and a queue of those that
/// have an event pending.
///
/// Cloning shares the handle, its ports and its queue. Reading blocks unless
/// [`set_nonblocking`](Self::set_nonblocking) says otherwise.
///
/// ```no_run
/// use xen_restrict::{EventChannel, GuestId, Port};
/// let events = EventChannel::open()?.restrict(GuestId::new(7)?)?;
/// let port = events.bind_interdomain(Port::new(3))?;
/// let mut queue = [Port::new(0); 64];
/// loop {
///     let pending = events.pending(&mut queue)?;
///     events.unmask(pending)?;
///     port.notify()?;
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A restricted handle cannot name another domain, nor bind an interrupt:
///
/// ```compile_fail,E0061
/// # use xen_restrict::{EventChannel, GuestId, Port, Restricted};
/// fn escape(events: &EventChannel<Restricted>, victim: GuestId) {
///     events.bind_interdomain(victim, Port::new(3));
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use xen_restrict::{EventChannel, Restricted};
/// fn escape(events: &EventChannel<Restricted>) {
///     events.bind_virq(0);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct EventChannel<S: State> {
    handle: Arc<Handle>,
    state: S,
}

impl EventChannel<Unrestricted> {
    /// Opens `/dev/xen/evtchn`.
    ///
    /// # Errors
    /// Each with its remedy: [`Cause::NotXen`], [`Cause::NodeMissing`],
    /// [`Cause::PermissionDenied`], [`Cause::WrongDevice`], and
    /// [`Cause::Latched`] after [`restrict_all`](crate::restrict_all).
    pub fn open() -> Result<Self> {
        Ok(Self {
            handle: Handle::open(Device::EventChannel)?,
            state: Unrestricted(()),
        })
    }

    /// Any file, which answers as it likes.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn over(fd: OwnedFd) -> Self {
        Self {
            handle: Handle::wrap(Device::EventChannel, fd, None),
            state: Unrestricted(()),
        }
    }

    /// Restricts the handle, and every duplicate of its descriptor, to `guest`
    /// for good, and proves it (Linux 4.11, `IOCTL_EVTCHN_RESTRICT_DOMID`).
    ///
    /// # Errors
    /// In each case the handle is revoked, as in
    /// [`PrivCmd::restrict`](crate::PrivCmd::restrict). [`Cause::Leftovers`]
    /// names the ports that are bound to other domains.
    pub fn restrict(self, guest: GuestId) -> Result<EventChannel<Restricted>> {
        self.handle.restrict(guest)?;
        Ok(EventChannel {
            handle: self.handle,
            state: Restricted { guest },
        })
    }

    /// Binds a local port to a port that `guest` allocated for this domain.
    ///
    /// The port comes with one event pending.
    ///
    /// # Errors
    /// [`Cause::NoSuchDomain`]; [`Cause::Kernel`] with `EINVAL` where the
    /// remote port is not there for us.
    pub fn bind_interdomain(&self, guest: GuestId, remote: Port) -> Result<BoundPort> {
        self.bind_guest(guest, remote)
    }

    /// Allocates a local port that `guest` may bind to.
    ///
    /// # Errors
    /// [`Cause::NoSuchDomain`], and the kernel's own.
    pub fn bind_unbound_port(&self, guest: GuestId) -> Result<BoundPort> {
        let mut argument = evtchn::BindUnboundPort {
            remote_domain: u32::from(guest.get()),
        };
        self.bind(
            Some(guest),
            "bind an unbound port",
            evtchn::BIND_UNBOUND_PORT,
            &mut argument,
        )
    }

    /// Binds a virtual interrupt of dom0 (`VIRQ_*` of Xen's `public/xen.h`).
    ///
    /// # Errors
    /// The kernel's own: `EINVAL` for a number that is none, `EEXIST` for one
    /// that is bound.
    pub fn bind_virq(&self, virq: u32) -> Result<BoundPort> {
        let mut argument = evtchn::BindVirq { virq };
        self.bind(
            None,
            "bind a virtual interrupt",
            evtchn::BIND_VIRQ,
            &mut argument,
        )
    }
}

impl EventChannel<Restricted> {
    /// Takes over a descriptor that somebody else opened and restricted.
    ///
    /// Proves that it is evtchn and may bind to `guest` and not to others. No
    /// probe can tell which ports are bound already.
    ///
    /// # Errors
    /// As [`PrivCmd::from_fd`](crate::PrivCmd::from_fd).
    pub fn from_fd(fd: OwnedFd, guest: GuestId) -> Result<Self> {
        Ok(Self {
            handle: adopt(Device::EventChannel, fd, guest)?,
            state: Restricted { guest },
        })
    }

    /// Binds a local port to a port that the guest allocated for this domain.
    ///
    /// The port comes with one event pending.
    ///
    /// # Errors
    /// As on an unrestricted handle.
    pub fn bind_interdomain(&self, remote: Port) -> Result<BoundPort> {
        self.bind_guest(self.state.guest, remote)
    }

    /// The guest that the handle is restricted to.
    #[must_use]
    pub fn restricted_to(&self) -> GuestId {
        self.state.guest
    }
}

impl<S: State> EventChannel<S> {
    /// The kernel refuses a `guest` that is not the handle's own.
    pub(crate) fn bind_guest(&self, guest: GuestId, remote: Port) -> Result<BoundPort> {
        let mut argument = evtchn::BindInterdomain {
            remote_domain: u32::from(guest.get()),
            remote_port: remote.get(),
        };
        self.bind(
            Some(guest),
            "bind an interdomain port",
            evtchn::BIND_INTERDOMAIN,
            &mut argument,
        )
    }

    fn bind<T: Plain>(
        &self,
        guest: Option<GuestId>,
        operation: &'static str,
        request: Request<T>,
        argument: &mut T,
    ) -> Result<BoundPort> {
        let (port, ticket) = self.handle.record(guest, || {
            let port = ioctl::plain(self.handle.as_fd(), request, argument)
                .map_err(|errno| self.handle.failed(operation, guest, errno))?;
            let port = Port::new(port.cast_unsigned());
            Ok((port, Held::Port(port)))
        })?;
        Ok(BoundPort {
            port,
            domain: guest,
            ticket: Some(ticket),
        })
    }

    /// Takes the pending ports out of the queue, oldest first, at most as many
    /// as `into` holds (the driver returns 1024 at once). Each stays masked,
    /// that is silent, until [`unmask`](Self::unmask).
    ///
    /// Blocks until there is one; on a non-blocking handle returns an empty
    /// slice when there is none. A thread that is blocked here while the handle
    /// is revoked stays so until an event arrives: where that can happen,
    /// [`wait`](Self::wait) first.
    ///
    /// # Errors
    /// [`Cause::RingOverflow`] until [`reset`](Self::reset),
    /// [`Cause::Revoked`], [`Cause::ShortRead`], and the kernel's own.
    pub fn pending<'a>(&self, into: &'a mut [Port]) -> Result<&'a [Port]> {
        const OPERATION: &str = "read pending ports";
        if into.is_empty() {
            return Ok(&[]);
        }
        let bytes = loop {
            match read(self.handle.as_fd(), into.as_mut_bytes()) {
                // /dev/null is at its end; or the read began before.
                Ok(_) if self.handle.state().is_revoked() => {
                    return Err(self.error(OPERATION, Cause::Revoked));
                }
                Ok(bytes) if bytes == 0 || bytes % size_of::<Port>() != 0 => {
                    return Err(self.error(OPERATION, Cause::ShortRead(bytes)));
                }
                Ok(bytes) => break bytes,
                Err(Errno::EAGAIN) => break 0,
                Err(Errno::EINTR) => {}
                Err(Errno::EFBIG) => return Err(self.error(OPERATION, Cause::RingOverflow)),
                Err(errno) => return Err(self.handle.kernel_failed(OPERATION, errno)),
            }
        };
        Ok(&into[..bytes / size_of::<Port>()])
    }

    /// Lets ports raise events again, all in one system call (1024 a call).
    /// Ports that are not bound here are skipped.
    ///
    /// # Errors
    /// [`Cause::Revoked`], and the kernel's own.
    pub fn unmask(&self, ports: &[Port]) -> Result<()> {
        let mut bytes = ports.as_bytes();
        while !bytes.is_empty() {
            match write(self.handle.as_fd(), bytes) {
                Ok(0) => return Err(self.error("unmask ports", Cause::ShortRead(0))),
                Ok(_) if self.handle.state().is_revoked() => {
                    return Err(self.error("unmask ports", Cause::Revoked));
                }
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.handle.kernel_failed("unmask ports", errno)),
            }
        }
        Ok(())
    }

    /// Waits until a port is pending, at most `timeout`; `false` when none is.
    ///
    /// # Errors
    /// [`Cause::RingOverflow`], [`Cause::Revoked`], and the kernel's own.
    pub fn wait(&self, timeout: Duration) -> Result<bool> {
        const OPERATION: &str = "wait for a port";
        let failed = |errno| self.handle.kernel_failed(OPERATION, errno);
        let deadline = Instant::now().checked_add(timeout);
        // Where there can be no bell, a revocation is seen with the next event.
        let own = self.handle.as_fd();
        let bell = self.handle.bell().unwrap_or(own);
        let mut fds = [own, bell].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
            match poll(&mut fds, limit(left)) {
                Ok(0) if left.is_some_and(|d| d > LONGEST) => {}
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        if self.handle.state().is_revoked() {
            return Err(self.error(OPERATION, Cause::Revoked));
        }
        let flags = fds[0].revents().unwrap_or(PollFlags::empty());
        if flags.contains(PollFlags::POLLIN) {
            Ok(true)
        } else if flags.contains(PollFlags::POLLERR) {
            // Alone, the driver raises it when the ring overflowed.
            Err(self.error(OPERATION, Cause::RingOverflow))
        } else {
            Err(failed(Errno::EBADF))
        }
    }

    /// Empties the queue, after an overflow (`IOCTL_EVTCHN_RESET`). Ports stay
    /// bound; those that were in the queue stay masked, so unmask every port.
    ///
    /// # Errors
    /// [`Cause::Revoked`], and the kernel's own.
    pub fn reset(&self) -> Result<()> {
        let reset = ioctl::bare(self.handle.as_fd(), evtchn::RESET);
        reset
            .map(drop)
            .map_err(|e| self.handle.failed("reset the queue", None, e))
    }

    /// Whether [`pending`](Self::pending) returns instead of blocking. All
    /// duplicates of the descriptor share it.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        let failed = |errno| self.handle.kernel_failed("set O_NONBLOCK", errno);
        let flags = fcntl(self.handle.as_fd(), FcntlArg::F_GETFL).map_err(failed)?;
        let mut flags = OFlag::from_bits_retain(flags);
        flags.set(OFlag::O_NONBLOCK, nonblocking);
        fcntl(self.handle.as_fd(), FcntlArg::F_SETFL(flags)).map_err(failed)?;
        Ok(())
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn is_revoked(&self) -> bool {
        self.handle.state().is_revoked()
    }

    /// Readable once the handle is revoked.
    #[cfg(feature = "tokio")]
    pub(crate) fn bell(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.handle.bell()
    }

    /// Requests that this kernel has and does not check against a restriction
    /// ([`KernelHole`]): a restricted handle is held to one domain only where a
    /// filter refuses these ([`confine::xen_requests`](crate::confine::xen_requests)),
    /// and then they are not named. Harmless to ask.
    #[must_use]
    pub fn kernel_holes(&self) -> Vec<KernelHole> {
        holes::of(Device::EventChannel, self.handle.as_fd(), 0)
    }

    fn error(&self, operation: &'static str, cause: Cause) -> Error {
        Error::new(operation, self.handle.device(), cause)
    }
}

/// For `poll(2)` and its like. Duplicates made of it share the restriction.
impl<S: State> AsFd for EventChannel<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The longest that `poll` waits at once.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// What is left, rounded up, so that waiting does not turn into spinning.
fn limit(left: Option<Duration>) -> PollTimeout {
    let millis = left.map(|left| left.as_micros().div_ceil(1000));
    millis.map_or(PollTimeout::NONE, |millis| {
        PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
    })
}

/// A local port of an event channel handle. Dropping unbinds it.
#[derive(Debug)]
pub struct BoundPort {
    port: Port,
    domain: Option<GuestId>,
    /// Gone once the port is unbound.
    ticket: Option<Ticket>,
}

impl BoundPort {
    /// The local port, as [`EventChannel::pending`] returns it.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// The domain on the other side; `None` for a virtual interrupt.
    #[must_use]
    pub fn domain(&self) -> Option<GuestId> {
        self.domain
    }

    /// Sends an event to the other side.
    ///
    /// # Errors
    /// [`Cause::Revoked`], and the kernel's own.
    pub fn notify(&self) -> Result<()> {
        let port = self.port.get();
        self.request("notify", |fd| {
            ioctl::plain(fd, evtchn::NOTIFY, &mut evtchn::Notify { port })
        })
    }

    /// Unbinds, as dropping does, and reports.
    ///
    /// # Errors
    /// [`Cause::Revoked`], and the kernel's own. The port is given up anyway.
    pub fn close(mut self) -> Result<()> {
        self.unbind()
    }

    /// Keeps a restriction of the port's handle waiting; none where it is
    /// revoked, and the port is somebody else's by now.
    pub(crate) fn hold(&self) -> Result<Option<RwLockReadGuard<'_, ()>>, Cause> {
        match &self.ticket {
            Some(ticket) if !ticket.handle().state().is_revoked() => Ok(ticket.handle().pass()),
            _ => Err(Cause::Revoked),
        }
    }

    fn request(
        &self,
        operation: &'static str,
        request: impl FnOnce(BorrowedFd<'_>) -> Result<i32, Errno>,
    ) -> Result<()> {
        let Some(ticket) = &self.ticket else {
            return Ok(());
        };
        let handle = ticket.handle();
        let done = request(handle.as_fd()).map(drop);
        done.map_err(|errno| handle.failed(operation, self.domain, errno))
    }

    fn unbind(&mut self) -> Result<()> {
        let port = self.port.get();
        let unbound = self.request("unbind a port", |fd| {
            ioctl::plain(fd, evtchn::UNBIND, &mut evtchn::Unbind { port })
        });
        if let Some(ticket) = self.ticket.take()
            && unbound
                .as_ref()
                .is_err_and(|e| !matches!(e.cause, Cause::Revoked))
        {
            // Still bound: no restriction may overlook it.
            ticket.keep_entry();
        }
        unbound
    }
}

impl Drop for BoundPort {
    fn drop(&mut self) {
        let _ = self.unbind();
    }
}
