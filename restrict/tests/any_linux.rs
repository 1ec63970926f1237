// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds on every Linux, Xen or not: no descriptor is taken for what it is
//! not, and errors say what to do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    error::Error as _,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use xen_restrict::{
    Cause, Device, Error, EventChannel, GrantAllocator, GrantDevice, GuestId, PrivCmd, restrict_all,
};

fn guest() -> GuestId {
    GuestId::new(7).unwrap()
}

fn refusals(fd: OwnedFd) -> [Error; 2] {
    let other = fd.try_clone().unwrap();
    [
        PrivCmd::from_fd(fd, guest()).unwrap_err(),
        EventChannel::from_fd(other, guest()).unwrap_err(),
    ]
}

#[test]
fn other_files_are_not_adopted_and_are_named() {
    let (socket, _peer) = UnixStream::pair().unwrap();
    let (reader, _writer) = io::pipe().unwrap();
    let files: [(OwnedFd, &str); 5] = [
        (socket.into(), "a socket"),
        (reader.into(), "a pipe"),
        (
            File::open("/dev/null").unwrap().into(),
            "another character device (\"/dev/null\")",
        ),
        (File::open("/").unwrap().into(), "a directory"),
        (
            File::open("/proc/self/exe").unwrap().into(),
            "a regular file",
        ),
    ];
    for (file, what) in files {
        for error in refusals(file) {
            assert!(
                matches!(error.cause, Cause::WrongDevice { .. }),
                "{error:#}"
            );
            assert_eq!(error.guest, Some(guest()));
            let text = format!("{error:#}");
            assert!(
                text.contains(what) && text.contains(error.device.path()),
                "{text}"
            );
        }
    }
}

#[test]
fn a_refused_descriptor_is_closed() {
    let (reader, writer) = io::pipe().unwrap();
    PrivCmd::from_fd(reader.into(), guest()).unwrap_err();
    let error = io::Write::write(&mut &writer, b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_closed_descriptor_is_not_adopted_and_nothing_else_is_closed() {
    let file = File::open("/dev/null").unwrap();
    // Far above the numbers that other tests use meanwhile.
    // SAFETY: a duplicate of an open descriptor.
    let number = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 800) };
    // SAFETY: the number was just made, and belongs to nobody else.
    assert_eq!(unsafe { libc::close(number) }, 0);
    // SAFETY: a caller that breaks the rule is what is tested.
    let closed = unsafe { OwnedFd::from_raw_fd(number) };
    let error = PrivCmd::from_fd(closed, guest()).unwrap_err();
    assert!(matches!(error.cause, Cause::NotOpen), "{error:#}");
    assert!(format!("{error:#}").contains("keep it open"), "{error:#}");
}

#[test]
fn opening_says_whether_this_is_xen() {
    let errors = [
        (Device::PrivCmd, PrivCmd::open().err()),
        (Device::EventChannel, EventChannel::open().err()),
        (Device::GrantDevice, GrantDevice::open().err()),
        (Device::GrantAllocator, GrantAllocator::open().err()),
    ];
    let xen = fs::read_to_string("/sys/hypervisor/type").is_ok_and(|kind| kind.trim() == "xen");
    for (device, error) in errors {
        if xen {
            let not_xen = error.is_some_and(|e| matches!(e.cause, Cause::NotXen));
            assert!(!not_xen, "{device}");
        } else {
            let error = error.unwrap();
            assert!(matches!(error.cause, Cause::NotXen), "{error:#}");
            assert_eq!(error.to_string(), format!("open on {device}"));
            let cause = error.source().unwrap().to_string();
            assert!(cause.contains("cargo lab"), "{cause}");
            let error = io::Error::from(error);
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
    }
}

/// The latch does not depend on handles. In a process of its own, since it
/// stays.
#[test]
fn a_process_without_handles_is_restricted_too() {
    const CHILD: &str = "XEN_RESTRICT_TEST_LATCH";
    if std::env::var_os(CHILD).is_none() {
        let name = "a_process_without_handles_is_restricted_too";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    restrict_all(guest()).unwrap();
    let error = PrivCmd::open().unwrap_err();
    assert!(
        matches!(error.cause, Cause::Latched { to } if to == guest()),
        "{error:#}"
    );
    restrict_all(guest()).unwrap();
    let error = restrict_all(GuestId::MAX).unwrap_err();
    assert!(
        matches!(error.cause, Cause::RestrictedElsewhere { to: Some(_) }),
        "{error:#}"
    );
    assert!(format!("{error:#}").contains("domain 7"), "{error:#}");
}
