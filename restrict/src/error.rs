// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong: which operation, on which device, for which domain, why,
//! and what to do about it.

use std::{error::Error as _, fmt, io};

use crate::{device::Device, ids::GuestId, leftover::Leftover};

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation. Match on [`cause`](Self::cause).
///
/// `Display` is one line without the cause, which is the error's
/// [`source`](std::error::Error::source); `{:#}` prints both.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// What was tried, in Xen's and Linux's words.
    pub operation: &'static str,
    /// On which device.
    pub device: Device,
    /// For which guest, where there is one.
    pub guest: Option<GuestId>,
    /// Why it failed.
    #[source]
    pub cause: Cause,
}

impl Error {
    pub(crate) fn new(operation: &'static str, device: Device, cause: Cause) -> Self {
        Self {
            operation,
            device,
            guest: None,
            cause,
        }
    }

    pub(crate) fn for_guest(self, guest: GuestId) -> Self {
        Self {
            guest: Some(guest),
            ..self
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.operation, self.device)?;
        if let Some(guest) = self.guest {
            write!(f, " for {guest}")?;
        }
        match self.source() {
            Some(cause) if f.alternate() => write!(f, ": {cause}"),
            _ => Ok(()),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error.cause {
            Cause::Kernel(e) => e.kind(),
            Cause::NodeMissing { .. } | Cause::NotXen | Cause::NoSuchDomain => {
                io::ErrorKind::NotFound
            }
            Cause::PermissionDenied | Cause::Restricted | Cause::Latched { .. } => {
                io::ErrorKind::PermissionDenied
            }
            Cause::WouldBlock => io::ErrorKind::WouldBlock,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Why an operation failed. Each message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// This kernel does not run on Xen.
    #[error(
        "this machine does not run on Xen (/sys/hypervisor/type does not say `xen`): \
         boot dom0 under Xen, or use `cargo lab` for an emulated one"
    )]
    NotXen,
    /// The device node is missing although this is Xen.
    #[error("no such device: load the kernel module, `modprobe {module}`, or mount devtmpfs")]
    NodeMissing {
        /// The module that makes the node.
        module: &'static str,
    },
    /// The caller may not open the node.
    #[error("permission denied: open the device as root, before privileges are dropped")]
    PermissionDenied,
    /// The descriptor is not the device it was taken for.
    #[error("the descriptor is {found}: pass one that was opened on this device")]
    WrongDevice {
        /// What the descriptor is instead.
        found: String,
    },
    /// The descriptor's number is not open.
    #[error("the descriptor is not open: keep it open until it is handed over")]
    NotOpen,
    /// The kernel has no restrict request.
    #[error("this kernel cannot restrict the device: Linux 4.11 or later is needed (`uname -r`)")]
    KernelTooOld,
    /// The handle was restricted by somebody else: since XSA-482 the kernel
    /// itself does that to every privcmd handle outside dom0.
    #[error(
        "the kernel gave a handle that is already restricted, as Linux does outside dom0 since \
         XSA-482: run in dom0, or boot with `xen_privcmd.unrestricted=1` if this domain is trusted"
    )]
    AlreadyRestricted,
    /// The handle is restricted to a domain other than the one asked for.
    #[error("the handle is restricted already, to another domain{}: open a fresh one in a process of \
             its own", restricted_to(.to))]
    RestrictedElsewhere {
        /// The domain, where it is known.
        to: Option<GuestId>,
    },
    /// An adopted handle is not restricted.
    #[error(
        "the handle is not restricted, and its past is unknown: restrict it where it was opened"
    )]
    NotRestricted,
    /// The kernel accepted the restriction, and a probe shows it is not in force.
    #[error(
        "the kernel accepted the restriction, but a probe for {probed} was not refused: the \
             handle was revoked; do not trust this kernel's restriction"
    )]
    NotInForce {
        /// The domain that should have been refused.
        probed: GuestId,
    },
    /// The handle still has ports or memory of another domain, which the
    /// kernel would leave usable.
    #[error("the handle still holds {}: close them first; the handle was revoked",
            crate::leftover::list(.0))]
    Leftovers(Vec<Leftover>),
    /// `restrict_all` ran in this process: no handle is opened any more.
    #[error("this process is restricted to {to}: open handles before `restrict_all`")]
    Latched {
        /// The domain of the process.
        to: GuestId,
    },
    /// The handle was revoked: a restriction failed, or the device has none.
    #[error("the handle was revoked by a restriction: open the device in an unrestricted process")]
    Revoked,
    /// Xen has no such domain (`ESRCH`).
    #[error("Xen has no such domain: it may have ended; `xl list` shows those that run")]
    NoSuchDomain,
    /// The restriction refused the operation (`EPERM` or `EACCES`).
    #[error("refused: the handle is restricted, and this goes beyond its own domain")]
    Restricted,
    /// A count is beyond what the driver or the ABI takes.
    #[error("{count} {what} in one call, at most {limit}: split the call{hint}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many were given.
        count: usize,
        /// How many the driver takes.
        limit: usize,
        /// Where the limit can be raised; may be empty.
        hint: &'static str,
    },
    /// An argument that can never work.
    #[error("{what}: {remedy}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What to give instead.
        remedy: &'static str,
    },
    /// More pages than the grant broker maps for this process at a time.
    #[error(
        "{pages} pages more than are mapped now: the grant broker maps {quota} at a time; unmap \
             others, or raise the launcher's --grants brokered=PAGES"
    )]
    Quota {
        /// How many were asked for.
        pages: usize,
        /// How many there can be.
        quota: u32,
    },
    /// The grant broker is gone, or another process has used the connection.
    #[error(
        "the grant broker does not answer: it ended, or closed a connection that another process \
             used, too"
    )]
    BrokerGone,
    /// Requests on a gntdev handle are not refused to this process.
    #[error(
        "requests on the device are not refused here, or it can be sent to where they are not, so \
             its handle can map every domain's grants: start this program with `--grants brokered`"
    )]
    NotBrokered,
    /// A range of a mapping that it does not have.
    #[error(transparent)]
    Access(#[from] crate::memory::AccessError),
    /// More events arrived than the ring holds (`EFBIG`); some are lost.
    #[error(
        "the event ring overflowed: call `reset`, unmask every port, and look at all their work"
    )]
    RingOverflow,
    /// No event is pending on a non-blocking handle.
    #[error("no event is pending: wait until the descriptor is readable")]
    WouldBlock,
    /// A read ended inside a port number.
    #[error("the kernel returned {0} bytes, not whole ports: this is no event channel device")]
    ShortRead(usize),
    /// Anything else, in the kernel's own word.
    #[error("{0}")]
    Kernel(io::Error),
}

impl Cause {
    pub(crate) fn errno(errno: nix::errno::Errno) -> Self {
        Self::Kernel(io::Error::from(errno))
    }

    /// The kernel's error number, where it is the cause.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Self::Kernel(e) => e.raw_os_error(),
            _ => None,
        }
    }
}

fn restricted_to(to: &Option<GuestId>) -> String {
    to.map(|guest| format!(", {guest}")).unwrap_or_default()
}
