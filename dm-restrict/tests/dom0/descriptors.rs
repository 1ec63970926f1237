// SPDX-License-Identifier: MIT OR Apache-2.0
//! What may be handed over by `--fd`, and what is a power over dom0.

use std::{
    fs::{File, OpenOptions},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
};

use xen_restrict::{EventChannel, PrivCmd};

use crate::support::{Outcome, a, alone, b, nothing_is_left, outcome, run};

/// Starts a program that is handed `fd`.
fn handed(fd: OwnedFd) -> Outcome {
    const NUMBER: i32 = 100;
    let mut command = run(&a());
    command.args(["--fd", "it=100", "--", "/bin/busybox", "true"]);
    let raw = fd.as_raw_fd();
    let move_it = move || {
        // SAFETY: async-signal-safe; `raw` is open until the child is made.
        match unsafe { libc::dup2(raw, NUMBER) } {
            NUMBER => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(move_it) };
    outcome(&mut command)
}

fn device(path: &str) -> OwnedFd {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
        .into()
}

fn restricted(domid: &str) -> OwnedFd {
    use std::os::fd::AsFd as _;
    let handle = PrivCmd::open()
        .unwrap()
        .restrict(domid.parse().unwrap())
        .unwrap();
    handle.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn powers_over_dom0_are_refused() {
    let _alone = alone();
    let cases: Vec<(OwnedFd, &str)> = vec![
        (device("/dev/xen/privcmd"), "/dev/xen/privcmd"),
        (device("/dev/xen/evtchn"), "/dev/xen/evtchn"),
        (device("/dev/xen/gntdev"), "nothing restricts"),
        (device("/dev/xen/gntalloc"), "nothing restricts"),
        (device("/proc/xen/privcmd"), "xenfs"),
        (device("/proc/xen/xenbus"), "xenfs"),
        (device("/dev/xen/xenbus"), "device of Xen's"),
        (device("/dev/xen/xenbus_backend"), "device of Xen's"),
        (device("/dev/xen/hypercall"), "device of Xen's"),
        (
            UnixStream::connect("/run/xenstored/socket").unwrap().into(),
            "xenstored",
        ),
        (restricted(&b()), "/dev/xen/privcmd"),
        (File::open("/").unwrap().into(), "directory"),
        (File::open("/dev/mem").unwrap().into(), "it is a device"),
    ];
    for (fd, says) in cases {
        let outcome = handed(fd);
        assert_eq!(outcome.code, 125, "{says}: {outcome:?}");
        assert!(
            outcome.stderr.contains("it=100") && outcome.stderr.contains(says),
            "{says}: {outcome:?}"
        );
        nothing_is_left(&a());
    }
}

#[test]
fn what_is_restricted_to_the_guest_may_be_handed_over() {
    use std::os::fd::AsFd as _;
    let _alone = alone();
    let events = EventChannel::open()
        .unwrap()
        .restrict(a().parse().unwrap())
        .unwrap();
    for fd in [
        restricted(&a()),
        events.as_fd().try_clone_to_owned().unwrap(),
        File::open("/etc/passwd").unwrap().into(),
    ] {
        let outcome = handed(fd);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    nothing_is_left(&a());
}
