// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `event_channel_op` hypercall (Xen's `public/event_channel.h`): what the
//! other side of a device model does. Dom0's side is [`evtchn`](crate::evtchn).

/// `EVTCHNOP_bind_interdomain`
pub const BIND_INTERDOMAIN: u32 = 0;
/// `EVTCHNOP_close`
pub const CLOSE: u32 = 3;
/// `EVTCHNOP_send`
pub const SEND: u32 = 4;
/// `EVTCHNOP_alloc_unbound`
pub const ALLOC_UNBOUND: u32 = 6;
/// `EVTCHNOP_unmask`
pub const UNMASK: u32 = 9;

/// `VIRQ_TIMER`: of a vcpu.
pub const VIRQ_TIMER: u32 = 0;
/// `VIRQ_DEBUG`: of a vcpu.
pub const VIRQ_DEBUG: u32 = 1;
/// `VIRQ_CONSOLE`: input on Xen's console.
pub const VIRQ_CONSOLE: u32 = 2;
/// `VIRQ_DOM_EXC`: a domain has died, or shut down.
pub const VIRQ_DOM_EXC: u32 = 3;

abi! {
    /// `struct evtchn_bind_interdomain`
    pub struct BindInterdomain: 12 {
        /// In: the other domain.
        remote_dom: u16 = 0,
        /// Zero.
        pad: u16 = 2,
        /// In: its port.
        remote_port: u32 = 4,
        /// Out: our port.
        local_port: u32 = 8,
    }

    /// `struct evtchn_close`
    pub struct Close: 4 {
        /// Our port.
        port: u32 = 0,
    }

    /// `struct evtchn_send`
    pub struct Send: 4 {
        /// Our port.
        port: u32 = 0,
    }

    /// `struct evtchn_unmask`
    pub struct Unmask: 4 {
        /// Our port.
        port: u32 = 0,
    }

    /// `struct evtchn_alloc_unbound`
    pub struct AllocUnbound: 8 {
        /// In: the domain that gets the port, [`SELF`](crate::domid::SELF) for
        /// the caller.
        dom: u16 = 0,
        /// In: the domain that may bind to it.
        remote_dom: u16 = 2,
        /// Out: the port.
        port: u32 = 4,
    }
}
