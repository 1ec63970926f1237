// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tap device of dom0's network, made here as QEMU makes it: where QEMU is, there is none.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
};

use nix::errno::Errno;

const DEVICE: &str = "/dev/net/tun";
/// `TUNSETIFF` of Linux's `linux/if_tun.h`.
const SET_INTERFACE: libc::Ioctl = 0x4004_54ca;

/// Makes the device, or takes the one of that name.
pub(super) fn open(name: &OsStr) -> io::Result<File> {
    let bytes = name.as_bytes();
    let mut interface = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    };
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&b'%') {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in interface.ifr_name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    interface.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).unwrap_or_default();

    let tap = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    // SAFETY: the kernel reads and writes the struct, which lives.
    let made = unsafe { libc::ioctl(tap.as_raw_fd(), SET_INTERFACE, &raw mut interface) };
    Errno::result(made)?;
    Ok(tap)
}
