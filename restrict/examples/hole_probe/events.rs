// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports of dom0 that are not this process's.

use xen_sys::evtchn;

use crate::{Given, raw, tell};

/// Takes ports, sends an event through each, and lets go of them.
pub(crate) fn take_ports(given: &Given, ports: &[u32]) {
    take(given, ports);
    for &port in ports {
        let mut unbind = evtchn::Unbind { port };
        let answer = raw(&given.events, evtchn::UNBIND, &mut unbind);
        tell(&format!("UNBIND {port}"), answer);
    }
}

/// The same, but its end lets go of them.
pub(crate) fn take_ports_and_let_go(given: &Given, ports: &[u32]) {
    take(given, ports);
}

fn take(given: &Given, ports: &[u32]) {
    for &port in ports {
        let mut bind = evtchn::BindStatic { port };
        let answer = raw(&given.events, evtchn::BIND_STATIC, &mut bind);
        tell(&format!("BIND_STATIC {port}"), answer);
        let mut notify = evtchn::Notify { port };
        let answer = raw(&given.events, evtchn::NOTIFY, &mut notify);
        tell(&format!("NOTIFY {port}"), answer);
    }
}
