// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels from dom0 to itself, which the library has no word for: they are no
//! guest's.

use std::{
    fs::{File, OpenOptions},
    os::fd::{AsFd, AsRawFd as _},
};

use xen_sys::evtchn::{
    BIND_INTERDOMAIN, BIND_UNBOUND_PORT, BindInterdomain, BindUnboundPort, NOTIFY, Notify,
};

fn request<T>(fd: &impl AsFd, number: u32, argument: &mut T) -> u32 {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the number and its own argument.
    let answer = unsafe { libc::ioctl(fd, number.into(), std::ptr::from_mut(argument)) };
    u32::try_from(answer).unwrap_or_else(|_| panic!("{}", std::io::Error::last_os_error()))
}

/// A port that dom0 may bind to.
pub(crate) fn unbound(fd: &impl AsFd) -> u32 {
    let mut argument = BindUnboundPort { remote_domain: 0 };
    request(fd, BIND_UNBOUND_PORT.number(), &mut argument)
}

/// The other ends.
pub(crate) struct Sender {
    events: File,
    ports: Vec<u32>,
}

impl Sender {
    pub(crate) fn to(ports: impl Iterator<Item = u32>) -> Self {
        let mut options = OpenOptions::new();
        let events = options.read(true).write(true).open("/dev/xen/evtchn");
        let events = events.expect("evtchn");
        let bind = |remote_port| {
            let mut argument = BindInterdomain {
                remote_domain: 0,
                remote_port,
            };
            request(&events, BIND_INTERDOMAIN.number(), &mut argument)
        };
        let ports = ports.map(bind).collect();
        Self { events, ports }
    }

    /// An event by each.
    pub(crate) fn send(&self) {
        for port in &self.ports {
            let mut argument = Notify { port: *port };
            request(&self.events, NOTIFY.number(), &mut argument);
        }
    }
}
