// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be wrong with a host, a descriptor or a domain, on a real Xen, and
//! that nothing is left behind.

use std::{fs, os::fd::OwnedFd};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Uid, chroot, setuid},
};
use xen_restrict::{
    Access, Cause, Device, Error, EventChannel, GrantAllocator, GrantDevice, Port, PrivCmd,
    Resource, restrict_all,
};
use xen_sys::privcmd;

use crate::support::{STATUS, ShortLived, a, alone, b, fail_ioctl, open, raw, xen_resources};

fn open_all() -> [(Device, Error); 4] {
    [
        (Device::PrivCmd, PrivCmd::open().unwrap_err()),
        (Device::EventChannel, EventChannel::open().unwrap_err()),
        (Device::GrantDevice, GrantDevice::open().unwrap_err()),
        (Device::GrantAllocator, GrantAllocator::open().unwrap_err()),
    ]
}

/// Mounts in this process alone.
fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
}

alone! {
    fn a_missing_node_names_the_module() {
        own_mounts();
        let none = None::<&str>;
        mount(Some("tmpfs"), "/dev/xen", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for (device, error) in open_all() {
            assert!(matches!(error.cause, Cause::NodeMissing { .. }), "{error:#}");
            let text = format!("{error:#}");
            assert!(text.contains(device.path()) && text.contains(device.module()), "{text}");
        }
        assert_eq!(xen_resources().0, [""; 0]);
    }
}

alone! {
    fn another_device_under_the_name_is_found_out() {
        own_mounts();
        let before = xen_resources();
        let none = None::<&str>;
        let pairs = [
            ("/dev/null", "/dev/xen/privcmd"),
            ("/dev/xen/gntdev", "/dev/xen/evtchn"),
            ("/dev/xen/gntalloc", "/dev/xen/gntdev"),
            ("/dev/xen/evtchn", "/dev/xen/gntalloc"),
        ];
        // From the last on, so that each source is still what it says.
        let sources = pairs.map(|(source, _)| {
            let copy = format!("/tmp/{}", source.replace('/', "-"));
            fs::write(&copy, "").unwrap();
            mount(Some(source), copy.as_str(), none, MsFlags::MS_BIND, none).unwrap();
            copy
        });
        for (source, (_, target)) in sources.iter().zip(pairs) {
            mount(Some(source.as_str()), target, none, MsFlags::MS_BIND, none).unwrap();
        }
        for (_, error) in open_all() {
            assert!(matches!(error.cause, Cause::WrongDevice { .. }), "{error:#}");
        }
        assert_eq!(xen_resources(), before);
    }
}

alone! {
    fn a_user_without_permission_is_told() {
        setuid(Uid::from_raw(65_534)).unwrap();
        for (_, error) in open_all() {
            assert!(matches!(error.cause, Cause::PermissionDenied), "{error:#}");
            assert!(format!("{error:#}").contains("as root"), "{error:#}");
        }
    }
}

alone! {
    fn a_kernel_without_restriction_is_told() {
        fail_ioctl(privcmd::DM_OP.number(), libc::ENOTTY);
        let error = PrivCmd::open().unwrap_err();
        assert!(matches!(error.cause, Cause::KernelTooOld), "{error:#}");
        assert!(format!("{error:#}").contains("4.11"), "{error:#}");
        assert_eq!(xen_resources().0, [""; 0]);
    }
}

alone! {
    fn a_handle_that_comes_restricted_is_told() {
        fail_ioctl(privcmd::DM_OP.number(), libc::EPERM);
        let error = PrivCmd::open().unwrap_err();
        assert!(matches!(error.cause, Cause::AlreadyRestricted), "{error:#}");
        assert!(format!("{error:#}").contains("XSA-482"), "{error:#}");
        assert_eq!(xen_resources().0, [""; 0]);
    }
}

alone! {
    fn a_root_without_dev_null_is_no_obstacle() {
        let fd = open("/dev/xen/privcmd");
        assert_eq!(raw(&fd, privcmd::RESTRICT, &mut a().get()), Ok(0));
        fs::create_dir_all("/tmp/empty").unwrap();
        chroot("/tmp/empty").unwrap();
        let privcmd = PrivCmd::from_fd(fd, a()).unwrap();
        privcmd.guest().map(&[STATUS], Access::Read).unwrap();
        // What is put over the number is as inert.
        let shared = privcmd.clone();
        restrict_all(b()).unwrap_err();
        let error = shared.guest().map(&[STATUS], Access::Read).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
    }
}

#[test]
fn descriptors_of_other_files_are_not_adopted() {
    for path in [
        "/dev/null",
        "/dev/xen/gntdev",
        "/dev/xen/evtchn",
        "/proc/xen/privcmd",
    ] {
        let error = PrivCmd::from_fd(open(path), a()).unwrap_err();
        assert!(
            matches!(error.cause, Cause::WrongDevice { .. }),
            "{path}: {error:#}"
        );
    }
    for path in [
        "/dev/null",
        "/dev/xen/gntalloc",
        "/dev/xen/privcmd",
        "/proc/xen/privcmd",
    ] {
        let error = EventChannel::from_fd(open(path), a()).unwrap_err();
        assert!(
            matches!(error.cause, Cause::WrongDevice { .. }),
            "{path}: {error:#}"
        );
    }
    let (reader, _writer) = std::io::pipe().unwrap();
    let error = EventChannel::from_fd(OwnedFd::from(reader), a()).unwrap_err();
    assert!(format!("{error:#}").contains("a pipe"), "{error:#}");
}

#[test]
fn a_guest_that_dies_in_between_is_told() {
    let (guest, id) = ShortLived::create("dies");
    let privcmd = PrivCmd::open().unwrap().restrict(id).unwrap();
    let events = EventChannel::open().unwrap().restrict(id).unwrap();
    let view = privcmd.guest();
    let memory = view.map(&[STATUS], Access::Read).unwrap();
    let server = view.create_ioreq_server(false).unwrap();
    drop(guest);
    let last: u64 = memory.get(0).unwrap();
    assert_eq!(
        last, 0x5845_4e4c_4142_0001,
        "what is mapped stays until it is dropped"
    );
    drop(memory);
    // Xen lets the domain go when nothing of it is mapped any more.
    crate::support::eventually("the domain is gone", || {
        let error = view.create_ioreq_server(false).unwrap_err();
        matches!(error.cause, Cause::NoSuchDomain)
    });
    for error in [
        view.map(&[STATUS], Access::Read).unwrap_err(),
        view.map_resource(Resource::GrantTable, 0, 1, Access::Read)
            .unwrap_err(),
        view.nr_vcpus().unwrap_err(),
        events.bind_interdomain(Port::new(1)).unwrap_err(),
        server.close().unwrap_err(),
    ] {
        assert!(matches!(error.cause, Cause::NoSuchDomain), "{error:#}");
        assert_eq!(error.guest, Some(id), "{error:#}");
        assert!(format!("{error:#}").contains("xl list"), "{error:#}");
    }
}
