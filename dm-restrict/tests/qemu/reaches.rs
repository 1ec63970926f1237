// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program in the place of QEMU cannot reach while it is root. It is tried without the
//! mechanism that stops it, too: it is there to be reached. Of two that do, each is tried alone.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            net::{SocketAddr, UnixListener},
            process::CommandExt as _,
        },
    },
    process::{Child, Command},
};

use nix::{
    pty::openpty,
    sys::stat::Mode,
    unistd::{mkfifo, ttyname},
};

use crate::{
    device::Loop,
    keeps::{ALL_FILES, ALL_TO_BE_OPENED, Elsewhere, Secret, keeping, keeping_with},
    stock::from_lab,
    support::{alone, scratch},
};

/// None of these is reached, though files could be opened.
fn is_refused(tried: &[String]) {
    let said = keeping_with(&tried.join(","), ALL_FILES, &[]);
    for what in tried {
        let (how, value) = what.split_once('=').unwrap();
        assert!(said.contains(&format!("{how} {value}: ")), "{what}: {said}");
    }
    assert!(!said.contains(": reached"), "{said}");
}

/// A process without any capability.
struct Nobody(Child);

impl Nobody {
    fn new() -> Self {
        let mut sleep = Command::new("sleep");
        let child = sleep.arg("1000").uid(65534).gid(65534).spawn().unwrap();
        Self(child)
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_root_directory_of_another_process() {
    let _alone = alone();
    let nobody = Nobody::new();
    let pid = nobody.0.id();
    let elsewhere = Elsewhere::new();
    let made = scratch("made");
    let file = made.to_string_lossy().trim_start_matches('/').to_owned();
    let tried = [
        format!("another-root=/proc/{pid}/root:{file}"),
        format!("another-root={}/{pid}/root:{file}", elsewhere.path("proc")),
        format!("another-root=/proc/1/root:{file}"),
        format!("another-root=/proc/self/root:{file}"),
    ];
    is_refused(&tried);
    assert!(!made.exists());
    // Without an own pid namespace, too.
    let said = keeping_with(
        &tried.join(","),
        "without = landlock\nwithout = pid-ns\n",
        &[],
    );
    assert!(said.contains("another-root ") && !said.contains(": reached"));
    assert!(!made.exists());

    let said = keeping_with(&tried[0], ALL_TO_BE_OPENED, &[]);
    assert!(said.contains(": reached"), "{said}");
    fs::remove_file(made).unwrap();
}

#[test]
fn devices() {
    let _alone = alone();
    let disk = Loop::new();
    let elsewhere = Elsewhere::new();
    let name = disk.device.file_name().unwrap().to_string_lossy();
    let mut tried = [
        "loop-control",
        "kmsg",
        "mem",
        "hvc0",
        "xen/evtchn",
        "xen/gntalloc",
        "xen/xenbus",
        &name,
    ]
    .map(|name| format!("opens={}", elsewhere.path(&format!("devtmpfs/{name}"))))
    .to_vec();
    tried.extend(["kmsg", "hvc0", "xen/xenbus", &name].map(|name| format!("opens=/dev/{name}")));
    tried.push(format!("opens={}", elsewhere.path("xenfs/xenbus")));
    is_refused(&tried);

    let said = keeping_with(&tried.join(","), ALL_TO_BE_OPENED, &[]);
    for there in [
        format!("opens {}: reached", disk.device.display()),
        "opens /dev/hvc0: reached".into(),
        "opens /dev/xen/xenbus: reached".into(),
    ] {
        assert!(said.contains(&there), "no {there}: {said}");
    }
}

/// Another guest's console, for example.
#[test]
fn terminals_of_others() {
    let _alone = alone();
    let pty = openpty(None, None).unwrap();
    let path = ttyname(&pty.slave).unwrap();
    let tried = format!("opens={}", path.display());
    is_refused(std::slice::from_ref(&tried));
    let said = keeping_with(&tried, ALL_TO_BE_OPENED, &[]);
    assert!(said.contains(": reached"), "{said}");
}

#[test]
fn files_of_dom0() {
    let _alone = alone();
    let secret = Secret::new();
    let pipe = scratch("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let [secret, pipe] = [&secret.0, &pipe].map(|path| path.display());
    let tried = [
        format!("reads={secret}"),
        format!("opens={pipe}"),
        format!("reads=/proc/self/root{secret}"),
    ];
    let said = keeping(&tried.join(","));
    assert_eq!(said.matches(": Permission denied").count(), 3, "{said}");
    let said = keeping_with(&tried.join(","), ALL_FILES, &[]);
    assert_eq!(said.matches(": reached").count(), 3, "{said}");
    // One is named.
    let said = keeping_with(&tried.join(","), &format!("read = {secret}\n"), &[]);
    assert_eq!(said.matches(": reached").count(), 2, "{said}");
    assert_eq!(said.matches(": Permission denied").count(), 1, "{said}");
}

#[test]
fn sockets_of_others() {
    let _alone = alone();
    let path = scratch("listens");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let name = SocketAddr::from_abstract_name("listens").unwrap();
    let by_name = UnixListener::bind_addr(&name).unwrap();
    by_name.set_nonblocking(true).unwrap();
    let tried = [
        format!("connects={}", path.display()),
        "connects-by-name=listens".into(),
    ];
    is_refused(&tried);
    // Its network is dom0's: there the name is to be found.
    let said = keeping_with(&tried.join(","), "without = root\nwithout = net-ns\n", &[]);
    assert!(
        said.contains("connects-by-name ") && !said.contains(": reached"),
        "{said}"
    );
    for listener in [listener, by_name] {
        let error = listener.accept().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn hypercalls() {
    let _alone = alone();
    // Memory is given to others, and taken from its own guest; the operations of
    // `domctl`, `sysctl` and `hvm_op`.
    let tried = [
        "12:6:0",
        "12:6:1",
        "12:1:GUEST",
        "36:1:0",
        "35:1:0",
        "34:1:0",
    ];
    let tried = tried.map(|what| format!("hypercall={what}"));
    is_refused(&tried);
    let said = keeping("hypercall=12:6:GUEST");
    assert!(said.contains(": reached"), "{said}");
}

#[test]
fn memory_of_dom0() {
    let _alone = alone();
    // By frames of the machine, all of them; a PVH dom0 does not get its own so.
    let is_pv = from_lab("XEN_LAB_DOM0") == "pv";
    let frames = if is_pv { 0x60000 } else { 0x8000 };
    let tried = format!("changes-itself-below={frames}");
    is_refused(std::slice::from_ref(&tried));
    // By a handle that it opens itself.
    for settings in ["without = root\n", "without = pid-ns\n"] {
        let said = keeping_with(&tried, settings, &[]);
        assert!(said.contains("changes-itself-below "), "{said}");
        assert_eq!(said.contains(": reached"), is_pv, "{said}");
    }
}
