// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles across exec, as a launcher hands them over.

use std::{
    env,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::process::CommandExt,
    },
    process::{Command, Output},
};

use xen_restrict::{Access, Cause, EventChannel, Handover, HandoverError, PrivCmd};

use crate::support::{Field, LabGuest, STATUS, a, b};

const CHILD: &str = "XEN_TEST_HANDOVER";

/// Runs a test of this file again with descriptors from 3 on.
fn launch(name: &str, fds: &[BorrowedFd<'_>], names: &str, domid: &str) -> Output {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
        .arg(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .env("LISTEN_FDS", fds.len().to_string())
        .env("LISTEN_FDNAMES", names)
        .env("XEN_RESTRICT_DOMID", domid);
    // SAFETY: the closure only makes system calls.
    unsafe { shell.pre_exec(move || arrange(&numbers)) };
    shell.output().unwrap()
}

/// Puts descriptors at 3, 4, ... of this process, which is about to exec.
fn arrange(numbers: &[i32]) -> std::io::Result<()> {
    let done = |result: i32| match result {
        -1 => Err(std::io::Error::last_os_error()),
        number => Ok(number),
    };
    // Out of each other's way first.
    let mut high = [0; 8];
    for (number, copy) in numbers.iter().zip(&mut high) {
        // SAFETY: a duplicate of an open descriptor.
        *copy = done(unsafe { libc::fcntl(*number, libc::F_DUPFD_CLOEXEC, 100) })?;
    }
    for (number, target) in high[..numbers.len()].iter().zip(3..) {
        // SAFETY: what was at the target is not needed after exec.
        done(unsafe { libc::dup2(*number, target) })?;
    }
    Ok(())
}

fn passed(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{error}"
    );
}

#[test]
fn restricted_handles_arrive_and_work() {
    if env::var_os(CHILD).is_some() {
        // SAFETY: this process was launched for it, and runs one test.
        let handover = unsafe { Handover::receive() }.unwrap();
        assert_eq!(handover.guest, a());
        assert_eq!(handover.others.len(), 1);
        assert_eq!(handover.others[0].0, "log");
        let guest = handover.privcmd.unwrap().guest();
        guest.map(&[STATUS], Access::Read).unwrap();
        let remote = LabGuest::new(a()).port(Field::Port2);
        handover.events.unwrap().bind_interdomain(remote).unwrap();
        // SAFETY: as above; it takes nothing a second time.
        let again = unsafe { Handover::receive() }.unwrap_err();
        assert!(matches!(again, HandoverError::Again), "{again}");
        return;
    }
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let log = std::io::stderr();
    let output = launch(
        "handover::restricted_handles_arrive_and_work",
        &[privcmd.as_fd(), log.as_fd(), events.as_fd()],
        "xen-privcmd:log:xen-evtchn",
        &u16::from(a()).to_string(),
    );
    passed(&output);
}

#[test]
fn an_unrestricted_handle_is_refused() {
    if env::var_os(CHILD).is_some() {
        // SAFETY: this process was launched for it, and runs one test.
        let error = unsafe { Handover::receive() }.unwrap_err();
        let HandoverError::Handle(error) = error else {
            panic!("{error}")
        };
        assert!(matches!(error.cause, Cause::NotRestricted), "{error:#}");
        return;
    }
    let privcmd = PrivCmd::open().unwrap();
    let name = "handover::an_unrestricted_handle_is_refused";
    passed(&launch(
        name,
        &[privcmd.as_fd()],
        "xen-privcmd",
        &u16::from(a()).to_string(),
    ));
}

#[test]
fn a_handle_of_another_guest_is_refused() {
    if env::var_os(CHILD).is_some() {
        // SAFETY: this process was launched for it, and runs one test.
        let error = unsafe { Handover::receive() }.unwrap_err();
        let HandoverError::Handle(error) = error else {
            panic!("{error}")
        };
        assert!(
            matches!(error.cause, Cause::RestrictedElsewhere { .. }),
            "{error:#}"
        );
        return;
    }
    let events = EventChannel::open().unwrap().restrict(b()).unwrap();
    let name = "handover::a_handle_of_another_guest_is_refused";
    passed(&launch(
        name,
        &[events.as_fd()],
        "xen-evtchn",
        &u16::from(a()).to_string(),
    ));
}
