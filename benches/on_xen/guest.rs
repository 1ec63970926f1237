// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest A's status page (docs/lab.md).

use std::{env, thread, time::Duration};

use xen_restrict::{Access, Gfn, GuestId, GuestMemory, PrivCmd};

pub(crate) const STATUS: Gfn = Gfn::new(0x200);
pub(crate) const COMMAND: usize = 0x10;
pub(crate) const PORT: usize = 0x90;
pub(crate) const FIRST_BULK: usize = 0xb0;
pub(crate) const BULK_GFN: usize = 0xc0;
const RING: u64 = 5;
/// `srv_live` of a vchan's control page.
const SERVER_LIVE: usize = 21;

pub(crate) fn domid() -> String {
    env::var("XEN_LAB_A").expect("run this by `cargo lab bench`")
}

pub(crate) struct Guest {
    status: GuestMemory,
    ring: GuestMemory,
}

impl Guest {
    pub(crate) fn new() -> Self {
        let id: GuestId = domid().parse().expect("a domid");
        let guest = PrivCmd::open().expect("privcmd").guest(id);
        let map = |gfn| guest.map(&[gfn], Access::ReadWrite).expect("its memory");
        let status = map(STATUS);
        let bulk = status.get(BULK_GFN).expect("mapped");
        Self {
            ring: map(Gfn::new(bulk)),
            status,
        }
    }

    pub(crate) fn word(&self, at: usize) -> String {
        self.status.get::<u64>(at).expect("mapped").to_string()
    }

    /// Its vchan server, until this ends.
    pub(crate) fn serve(&self) {
        self.ring.set(SERVER_LIVE, &0_u8).expect("mapped");
        self.status.set(COMMAND, &RING).expect("mapped");
        while self.ring.get::<u8>(SERVER_LIVE) != Ok(1) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.status.set(COMMAND, &0_u64);
    }
}
