// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest that the handle is restricted to. The lab's own A has to outlive the campaign.

use std::{
    env,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use xen_restrict::{Access, Gfn, GuestId, PrivCmd};

pub(crate) struct Victim {
    name: String,
    id: GuestId,
}

impl Victim {
    pub(crate) fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("victim-{number}");
        let folder = env::var("XEN_LAB_GUEST").expect("run with `cargo lab test`");
        let config = format!("{folder}/guest.cfg");
        let named = format!("name=\"{name}\"");
        // Whatever ends it: it is not started again, nor kept.
        let ends = ["on_watchdog=\"destroy\"", "on_soft_reset=\"destroy\""];
        xl(&["create", "-q", &config, &named, ends[0], ends[1]]);
        let id = xl(&["domid", &name]).trim().parse().unwrap();
        if number % 2 == 1 {
            work(id);
        }
        Self { name, id }
    }

    pub(crate) fn id(&self) -> GuestId {
        self.id
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = Command::new("xl").args(["destroy", &self.name]).output();
    }
}

/// Has the guest access a port all the time: of Xen, or of a server that claims it.
fn work(id: GuestId) {
    const MAGIC: u64 = 0x5845_4e4c_4142_0001;
    let privcmd = PrivCmd::open().unwrap().restrict(id).unwrap();
    let status = privcmd.guest().map(&[Gfn::new(0x200)], Access::ReadWrite);
    let status = status.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while status.get(0) != Ok(MAGIC) {
        assert!(Instant::now() < deadline, "guest {id:?} does not start");
        thread::sleep(Duration::from_millis(2));
    }
    status.set(0x18, &0_u64).unwrap();
    status.set(0x10, &1_u64).unwrap();
}

pub(crate) fn xl(arguments: &[&str]) -> String {
    run("xl", arguments)
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
