// SPDX-License-Identifier: MIT OR Apache-2.0
//! Promise P9: what a restricted handle still reaches is refused by number.

use std::{os::fd::AsFd, sync::mpsc, thread};

use nix::errno::Errno;
use xen_restrict::{
    Access, EventChannel, KernelHole, PrivCmd, Resource,
    confine::xen_requests::{Phase, enforce},
};
use xen_sys::{evtchn, gntdev, hypercall, privcmd};

use crate::support::{Field, LabGuest, STATUS, a, alone, open, raw};

alone! {
    fn unchecked_requests_are_refused_and_the_work_goes_on() {
        let remote = LabGuest::new(a()).port(Field::Port1);
        let privcmd = PrivCmd::open().unwrap();
        let unrestricted = open("/dev/xen/privcmd");
        let grants = open("/dev/xen/gntdev");
        let events = EventChannel::open().unwrap();
        let (go, wait) = mpsc::channel::<()>();
        let early = thread::spawn(move || {
            wait.recv().unwrap();
            raw(&unrestricted, privcmd::HYPERCALL, &mut version())
        });

        let mut left = privcmd.kernel_holes();
        left.retain(|hole| !hole.is_refused_by_filter());
        enforce(Phase::SetUp).unwrap();
        // Restricting is part of set-up.
        let privcmd = privcmd.restrict(a()).unwrap();
        let events = events.restrict(a()).unwrap();
        assert_eq!(events.kernel_holes(), []);
        let until_sealed = [&[KernelHole::MmapResource][..], &left].concat();
        assert_eq!(privcmd.kernel_holes(), until_sealed);
        let mut impossible = evtchn::BindStatic { port: u32::MAX };
        assert_eq!(raw(&events, evtchn::BIND_STATIC, &mut impossible), Err(Errno::EPERM));
        let mut nothing = gntdev::UnmapGrantRef::default();
        assert_eq!(raw(&grants, gntdev::UNMAP_GRANT_REF, &mut nothing), Err(Errno::EPERM));
        // A thread that was there before, on a handle that we do not know.
        go.send(()).unwrap();
        assert_eq!(early.join().unwrap(), Err(Errno::EPERM));

        let guest = privcmd.guest();
        let table = guest.map_resource(Resource::GrantTable, 0, 1, Access::Read).unwrap();
        enforce(Phase::Sealed).unwrap();
        let error = guest.map_resource(Resource::GrantTable, 0, 1, Access::Read).unwrap_err();
        assert_eq!(error.cause.raw_os_error(), Some(libc::EPERM), "{error:#}");
        assert_eq!(privcmd.kernel_holes(), left);
        table.get::<u64>(64).unwrap();
        guest.map(&[STATUS], Access::Read).unwrap();
        guest.create_ioreq_server(false).unwrap().close().unwrap();
        let port = events.bind_interdomain(remote).unwrap();
        port.notify().unwrap();
        port.close().unwrap();
        // A handle of before is adopted, by the restriction's own answers.
        let fd = events.as_fd().try_clone_to_owned().unwrap();
        EventChannel::from_fd(fd, a()).unwrap();
        let fd = privcmd.as_fd().try_clone_to_owned().unwrap();
        PrivCmd::from_fd(fd, a()).unwrap();
        // A fresh one cannot be restricted any more: it is closed, not kept.
        let error = PrivCmd::open().unwrap().restrict(a()).unwrap_err();
        assert_eq!(error.cause.raw_os_error(), Some(libc::EPERM), "{error:#}");
    }
}

fn version() -> privcmd::Hypercall {
    privcmd::Hypercall {
        op: hypercall::XEN_VERSION,
        ..Default::default()
    }
}
