// SPDX-License-Identifier: MIT OR Apache-2.0
//! Promises P1, P2, P3 and P5: one handle at a time.

use std::{
    os::{fd::AsFd, unix::process::CommandExt},
    process::Command,
};

use nix::errno::Errno;
use xen_restrict::{
    Access, Cause, Error, EventChannel, GrantDevice, GrantRef, Held, KernelHole, Port, PrivCmd,
    Resource,
};
use xen_sys::{evtchn, privcmd};

use crate::support::{
    Field, LabGuest, STATUS, a, alone, b, behind, fail_ioctl, may_bind, may_dm_op, number, raw,
    xen_resources,
};

fn leftovers(error: &Error) -> Vec<(Option<u16>, Held)> {
    let Cause::Leftovers(list) = &error.cause else {
        panic!("{error:#}");
    };
    let pairs = list
        .iter()
        .map(|l| (l.domain.map(u16::from), l.what.clone()));
    pairs.collect()
}

#[test]
fn a_restricted_privcmd_reaches_its_guest_and_no_other() {
    let privcmd = PrivCmd::open().unwrap();
    let (before, other) = (
        privcmd.guest(b()),
        privcmd.as_fd().try_clone_to_owned().unwrap(),
    );
    let privcmd = privcmd.restrict(a()).unwrap();
    assert_eq!(privcmd.restricted_to(), a());
    privcmd.guest().map(&[STATUS], Access::ReadWrite).unwrap();
    // A view made before, and a duplicate: the kernel refuses both.
    let refused = before.map(&[STATUS], Access::Read).unwrap_err();
    assert!(matches!(refused.cause, Cause::Restricted), "{refused:#}");
    let refused = before.create_ioreq_server(false).unwrap_err();
    assert!(matches!(refused.cause, Cause::Restricted), "{refused:#}");
    let refused = before.resource_frames(Resource::GrantTable).unwrap_err();
    assert!(matches!(refused.cause, Cause::Restricted), "{refused:#}");
    assert_eq!(may_dm_op(&other, b().get()), Err(Errno::EPERM));
    // Adopting the duplicate proves the same.
    let refused = PrivCmd::from_fd(other.try_clone().unwrap(), b()).unwrap_err();
    assert!(
        matches!(refused.cause, Cause::RestrictedElsewhere { .. }),
        "{refused:#}"
    );
    let adopted = PrivCmd::from_fd(other, a()).unwrap();
    adopted.guest().map(&[STATUS], Access::Read).unwrap();
}

#[test]
fn a_restricted_event_channel_reaches_its_guest_and_no_other() {
    let events = EventChannel::open().unwrap();
    let other = events.as_fd().try_clone_to_owned().unwrap();
    let shared = events.clone();
    let events = events.restrict(a()).unwrap();
    assert_eq!(may_bind(&events, b().get()), Errno::EACCES);
    for refused in [
        shared.bind_interdomain(b(), Port::new(1)).unwrap_err(),
        shared.bind_unbound_port(a()).unwrap_err(),
        shared.bind_virq(0).unwrap_err(),
    ] {
        assert!(matches!(refused.cause, Cause::Restricted), "{refused:#}");
    }
    let refused = EventChannel::from_fd(other.try_clone().unwrap(), b()).unwrap_err();
    assert!(
        matches!(refused.cause, Cause::RestrictedElsewhere { .. }),
        "{refused:#}"
    );
    let adopted = EventChannel::from_fd(other, a()).unwrap();
    assert_eq!(adopted.restricted_to(), a());
}

#[test]
fn a_child_inherits_the_restriction() {
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let fd = privcmd.as_fd().try_clone_to_owned().unwrap();
    let (own, other) = (a().get(), b().get());
    let mut child = Command::new("/bin/true");
    // SAFETY: the closure only makes system calls.
    unsafe {
        child.pre_exec(move || match (may_dm_op(&fd, own), may_dm_op(&fd, other)) {
            (Ok(0), Err(Errno::EPERM)) => Ok(()),
            _ => Err(Errno::EPROTO.into()),
        });
    }
    assert!(child.status().unwrap().success());
}

#[test]
fn an_unrestricted_handle_is_not_adopted() {
    let fd = PrivCmd::open()
        .unwrap()
        .as_fd()
        .try_clone_to_owned()
        .unwrap();
    let refused = PrivCmd::from_fd(fd, a()).unwrap_err();
    assert!(matches!(refused.cause, Cause::NotRestricted), "{refused:#}");
    let fd = EventChannel::open()
        .unwrap()
        .as_fd()
        .try_clone_to_owned()
        .unwrap();
    let refused = EventChannel::from_fd(fd, a()).unwrap_err();
    assert!(matches!(refused.cause, Cause::NotRestricted), "{refused:#}");
}

/// The kernel says yes to `DOMID_INVALID` and restricts nothing: `GuestId`
/// cannot say it, and adopting such a handle is refused.
#[test]
fn a_handle_restricted_to_the_invalid_domid_is_not_adopted() {
    let privcmd = PrivCmd::open().unwrap();
    let mut invalid = xen_sys::domid::INVALID;
    assert_eq!(raw(&privcmd, privcmd::RESTRICT, &mut invalid), Ok(0));
    let fd = privcmd.as_fd().try_clone_to_owned().unwrap();
    let refused = PrivCmd::from_fd(fd, a()).unwrap_err();
    assert!(matches!(refused.cause, Cause::NotRestricted), "{refused:#}");
}

alone! {
    fn a_kernel_that_only_says_yes_is_found_out() {
        let handles = (PrivCmd::open().unwrap(), EventChannel::open().unwrap());
        let (privcmd, events) = (handles.0.clone(), handles.1.clone());
        fail_ioctl(privcmd::RESTRICT.number(), 0);
        fail_ioctl(evtchn::RESTRICT_DOMID.number(), 0);
        let error = handles.0.restrict(a()).unwrap_err();
        assert!(matches!(error.cause, Cause::NotInForce { .. }), "{error:#}");
        assert_eq!(behind(number(&privcmd)), "/dev/null");
        let error = handles.1.restrict(a()).unwrap_err();
        assert!(matches!(error.cause, Cause::NotInForce { .. }), "{error:#}");
        assert_eq!(behind(number(&events)), "/dev/null");
        // What shares the handle learns that it is gone.
        let error = privcmd.guest(a()).map(&[STATUS], Access::Read).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
        let error = events.pending(&mut [Port::new(0)]).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
        let error = events.wait(std::time::Duration::ZERO).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
        let error = events.unmask(&[Port::new(1)]).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
        let error = privcmd.restrict(a()).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
    }
}

alone! {
    fn a_refused_restriction_leaves_nothing_open() {
        for errno in [libc::EPERM, libc::EINVAL, libc::ENOTTY] {
            let before = xen_resources();
            std::thread::spawn(move || {
                fail_ioctl(privcmd::RESTRICT.number(), errno);
                fail_ioctl(evtchn::RESTRICT_DOMID.number(), errno);
                let handles = (PrivCmd::open().unwrap(), EventChannel::open().unwrap());
                let shared = handles.clone();
                let error = handles.0.restrict(a()).unwrap_err();
                match errno {
                    libc::ENOTTY => assert!(matches!(error.cause, Cause::KernelTooOld)),
                    libc::EINVAL => {
                        assert!(matches!(error.cause, Cause::RestrictedElsewhere { to: None }));
                    }
                    _ => assert_eq!(error.cause.raw_os_error(), Some(errno)),
                }
                handles.1.restrict(a()).unwrap_err();
                assert_eq!(behind(number(&shared.0)), "/dev/null");
                assert_eq!(behind(number(&shared.1)), "/dev/null");
            })
            .join()
            .unwrap();
            assert_eq!(xen_resources(), before);
        }
    }
}

alone! {
    fn memory_of_another_guest_is_a_leftover() {
        let privcmd = PrivCmd::open().unwrap();
        let own = privcmd.guest(a()).map(&[STATUS], Access::Read).unwrap();
        let foreign = privcmd.guest(b()).map(&[STATUS; 3], Access::Read).unwrap();
        let table = privcmd.guest(b()).map_resource(Resource::GrantTable, 0, 1, Access::Read).unwrap();
        let descriptor = number(&privcmd);
        let error = privcmd.restrict(a()).unwrap_err();
        let b = Some(b().get());
        assert_eq!(leftovers(&error), [(b, Held::Memory(3)), (b, Held::Resource(1))]);
        assert_eq!(behind(descriptor), "/dev/null");
        drop((own, foreign, table));
        assert_eq!(behind(descriptor), "closed");
    }
}

alone! {
    fn what_was_closed_is_no_leftover() {
        let privcmd = PrivCmd::open().unwrap();
        let own = privcmd.guest(a()).map(&[STATUS], Access::Read).unwrap();
        drop(privcmd.guest(b()).map(&[STATUS], Access::Read).unwrap());
        privcmd.restrict(a()).unwrap();
        own.get::<u64>(0).unwrap();

        let events = EventChannel::open().unwrap();
        let port = events.bind_unbound_port(b()).unwrap();
        port.close().unwrap();
        events.restrict(a()).unwrap();
    }
}

alone! {
    fn ports_of_another_guest_and_interrupts_are_leftovers() {
        let events = EventChannel::open().unwrap();
        let own = events.bind_unbound_port(a()).unwrap();
        let foreign = events.bind_unbound_port(b()).unwrap();
        // VIRQ_DEBUG: bound by nobody else.
        let virq = events.bind_virq(1).unwrap();
        let descriptor = number(&events);
        let error = events.restrict(a()).unwrap_err();
        let expected = [
            (Some(b().get()), Held::Port(foreign.port())),
            (None, Held::Port(virq.port())),
        ];
        assert_eq!(leftovers(&error), expected);
        assert!(error.to_string().contains("restrict"), "{error}");
        assert!(format!("{error:#}").contains("close them first"), "{error:#}");
        assert_eq!(behind(descriptor), "/dev/null");
        drop(own);
    }
}

alone! {
    fn grants_of_another_guest_are_leftovers_and_own_ones_stay() {
        let guest = LabGuest::new(b());
        let grants = GrantDevice::open().unwrap();
        let reference = GrantRef::new(guest.get(Field::FirstWritable).try_into().unwrap());
        let foreign = grants.map(b(), &[reference], Access::Read).unwrap();
        let descriptor = number(&grants);
        let error = grants.restrict(a()).unwrap_err();
        assert_eq!(leftovers(&error), [(Some(b().get()), Held::Grants(1))]);
        assert_eq!(behind(descriptor), "/dev/null");
        drop(foreign);

        let grants = GrantDevice::open().unwrap();
        let guest = LabGuest::new(a());
        let reference = GrantRef::new(guest.get(Field::FirstWritable).try_into().unwrap());
        let own = grants.map(a(), &[reference], Access::Read).unwrap();
        let shared = grants.clone();
        let revoked = grants.restrict(a()).unwrap();
        assert_eq!(behind(number(&revoked)), "/dev/null");
        assert_eq!(own.get::<u64>(0).unwrap(), u64::from(a().get()) << 48);
        let error = shared.map(a(), &[reference], Access::Read).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
    }
}

alone! {
    fn an_ioreq_server_of_another_guest_is_a_leftover() {
        let privcmd = PrivCmd::open().unwrap();
        let own = privcmd.guest(a()).create_ioreq_server(false).unwrap();
        let foreign = privcmd.guest(b()).create_ioreq_server(false).unwrap();
        foreign.close().unwrap();
        privcmd.restrict(a()).unwrap();
        own.close().unwrap();

        let privcmd = PrivCmd::open().unwrap();
        let foreign = privcmd.guest(b()).create_ioreq_server(false).unwrap();
        let error = privcmd.restrict(a()).unwrap_err();
        assert_eq!(leftovers(&error), [(Some(b().get()), Held::IoreqServer(foreign.id()))]);
        // It could not be destroyed; another handle can.
        drop(foreign);
    }
}

#[test]
fn holes_of_the_kernel_are_the_ones_that_its_answers_show() {
    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let mut impossible = evtchn::BindStatic { port: u32::MAX };
    let answer = raw(&events, evtchn::BIND_STATIC, &mut impossible).unwrap_err();
    let expected: &[KernelHole] = match answer {
        Errno::ENOSYS => &[],
        _ => &[KernelHole::BindStatic],
    };
    assert_eq!(events.kernel_holes(), expected);
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let pv = std::env::var("XEN_LAB_DOM0").unwrap() == "pv";
    // Debian's kernels have no CONFIG_XEN_PRIVCMD_EVENTFD.
    let expected: Vec<_> = [
        (true, KernelHole::MmapResource),
        (pv, KernelHole::Mmap),
        (version >= (6, 12), KernelHole::PcidevGetGsi),
        (true, KernelHole::MmapBatch),
        (version != (6, 12), KernelHole::DmOp),
        (true, KernelHole::MovedMapping),
    ]
    .into_iter()
    .filter_map(|(there, hole)| there.then_some(hole))
    .collect();
    assert_eq!(privcmd.kernel_holes(), expected, "{version:?}");
}
