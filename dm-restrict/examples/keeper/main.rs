// SPDX-License-Identifier: MIT OR Apache-2.0
//! For tests: a program in the place of QEMU that gives root up as QEMU does, and keeps
//! something of the time before, or tries to reach something in it. Its first argument says what
//! ([`keep`], [`reach`]); the others are
//! libxl's for QEMU. Where it is let go on, it says so, and ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod keep;
mod own_memory;
mod reach;
mod says;

use std::{env, ffi::CString};

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, chdir, chroot, setgid, setgroups, setuid},
};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (what, qemus) = arguments.split_first().unwrap();
    let call = Call::of(qemus);
    let connection = keep::keep(what, &call);

    // Where `root` is left out, the directory is the guest's user's, and closed to this root.
    if let Err(errno) = chroot(call.chroot.as_c_str()) {
        println!("it stays where it is: {errno}");
    }
    chdir("/").unwrap();
    setgroups(&[call.gid]).unwrap();
    setgid(call.gid).unwrap();
    setuid(call.uid).unwrap();
    // QEMU makes sure of it, and here it waits for the supervisor.
    assert_eq!(setuid(Uid::from_raw(0)), Err(Errno::EPERM));
    println!("it goes on with {what}");
    if let Some(connection) = connection {
        says::after(connection);
    }
}

/// What libxl says of guest and user.
pub(crate) struct Call {
    pub(crate) domid: u16,
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    chroot: CString,
}

impl Call {
    fn of(arguments: &[String]) -> Self {
        let value = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1)
        };
        // `-run-with user=U:G,chroot=PATH` from QEMU 9 on, and two options before.
        let run_with = |key: &str| {
            let mut values = arguments
                .windows(2)
                .filter(|pair| pair[0] == "-run-with")
                .flat_map(|pair| pair[1].split(','));
            values.find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
        };
        let user = run_with("user").or_else(|| value("-runas").map(String::as_str));
        let chroot = run_with("chroot").or_else(|| value("-chroot").map(String::as_str));
        let (uid, gid) = user.unwrap().split_once(':').unwrap();
        Self {
            domid: value("-xen-domid").unwrap().parse().unwrap(),
            uid: Uid::from_raw(uid.parse().unwrap()),
            gid: Gid::from_raw(gid.parse().unwrap()),
            chroot: CString::new(chroot.unwrap()).unwrap(),
        }
    }
}
