// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest of its own, which is the attacker's as well.

use std::{process::Command, thread, time::Duration};

use xen_restrict::{Access, GuestMemory, PrivCmd, Unrestricted};
use xen_sys::{event_channel::ALLOC_UNBOUND, hypercall::EVENT_CHANNEL_OP};

use crate::guest::{COMMAND, STATUS};

const MAGIC: u64 = 0x5845_4e4c_4142_0001;
const ARGUMENT: usize = 0x18;
const PORT_IO: u64 = 1;

pub(super) struct Guest {
    name: &'static str,
    pub(super) domid: String,
    privcmd: PrivCmd<Unrestricted>,
    status: GuestMemory,
}

impl Guest {
    pub(super) fn create(name: &'static str) -> Self {
        xl(&[
            "create",
            "-q",
            "/guest/guest.cfg",
            &format!("name=\"{name}\""),
        ]);
        let domid = xl(&["domid", name]);
        let privcmd = PrivCmd::open().expect("privcmd");
        let guest = privcmd.guest(domid.parse().expect("a domid"));
        let status = loop {
            let mapped = guest.map(&[STATUS], Access::ReadWrite);
            match mapped.map(|status| (status.get::<u64>(0).ok(), status)) {
                Ok((Some(MAGIC), status)) => break status,
                _ => thread::sleep(Duration::from_millis(50)),
            }
        };
        Self {
            name,
            domid,
            privcmd,
            status,
        }
    }

    /// Offers dom0 as many ports as it can; how many.
    pub(super) fn offer_ports(&self) -> u32 {
        let buffer = self.privcmd.hypercall_buffer(8).expect("a buffer");
        let arguments = [ALLOC_UNBOUND.into(), buffer.address(), 0, 0, 0];
        let domid: u16 = self.domid.parse().expect("a domid");
        let mut ports = 0;
        loop {
            // `struct evtchn_alloc_unbound`: dom, and remote_dom, which is dom0.
            buffer.memory().set(0, &u32::from(domid)).expect("mapped");
            // SAFETY: the operation takes these 8 bytes, and gives the guest a port.
            let made = unsafe { self.privcmd.hypercall(EVENT_CHANNEL_OP, arguments) };
            match made {
                Ok(_) => ports += 1,
                Err(_) => return ports,
            }
        }
    }

    /// Has its processor be busy, or not.
    pub(super) fn spins(&self, on: bool) {
        self.status.set(ARGUMENT, &0_u64).expect("mapped");
        let command = if on { PORT_IO } else { 0 };
        self.status.set(COMMAND, &command).expect("mapped");
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        xl(&["destroy", self.name]);
    }
}

fn xl(arguments: &[&str]) -> String {
    let output = Command::new("xl").args(arguments).output().expect("xl");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
