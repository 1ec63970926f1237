// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/evtchn` (Linux's `include/uapi/xen/evtchn.h`).
//!
//! Reading gives the pending ports, a u32 each, at most 1024 at once; writing
//! ports unmasks them.

use crate::Request;

/// Binds a virtual interrupt. Returns the port.
pub const BIND_VIRQ: Request<BindVirq> = Request::new(b'E', 0);
/// Binds to a port of another domain. Returns the local port.
pub const BIND_INTERDOMAIN: Request<BindInterdomain> = Request::new(b'E', 1);
/// Allocates a port for another domain to bind to. Returns it.
pub const BIND_UNBOUND_PORT: Request<BindUnboundPort> = Request::new(b'E', 2);
/// Unbinds a port that was bound on this handle.
pub const UNBIND: Request<Unbind> = Request::new(b'E', 3);
/// Sends an event through a port that was bound on this handle.
pub const NOTIFY: Request<Notify> = Request::new(b'E', 4);
/// Empties the ring of pending ports, and ends an overflow.
pub const RESET: Request<()> = Request::new(b'E', 5);
/// Restricts the handle to a domain, once and for good (Linux 4.11).
pub const RESTRICT_DOMID: Request<RestrictDomid> = Request::new(b'E', 6);
/// Takes over a local port that exists already (Linux 6.6). Not checked against
/// the restriction.
pub const BIND_STATIC: Request<BindStatic> = Request::new(b'E', 7);

abi! {
    /// `struct ioctl_evtchn_bind_virq`
    pub struct BindVirq: 4 {
        /// One of [`event_channel`](crate::event_channel)'s `VIRQ_*`, or another of Xen's.
        virq: u32 = 0,
    }

    /// `struct ioctl_evtchn_bind_interdomain`
    pub struct BindInterdomain: 8 {
        /// The other domain.
        remote_domain: u32 = 0,
        /// Its port.
        remote_port: u32 = 4,
    }

    /// `struct ioctl_evtchn_bind_unbound_port`
    pub struct BindUnboundPort: 4 {
        /// The domain that may bind to the port.
        remote_domain: u32 = 0,
    }

    /// `struct ioctl_evtchn_unbind`
    pub struct Unbind: 4 {
        /// The local port.
        port: u32 = 0,
    }

    /// `struct ioctl_evtchn_notify`
    pub struct Notify: 4 {
        /// The local port.
        port: u32 = 0,
    }

    /// `struct ioctl_evtchn_restrict_domid`
    pub struct RestrictDomid: 2 {
        /// The domain: 1 to 0x7FEF, or `EINVAL`. So not dom0.
        domid: u16 = 0,
    }

    /// `struct ioctl_evtchn_bind`
    pub struct BindStatic: 4 {
        /// The local port.
        port: u32 = 0,
    }
}

const _: () = assert!(RESET.number() == 0x4505 && BIND_INTERDOMAIN.number() == 0x0008_4501);
