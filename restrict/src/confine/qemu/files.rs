// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of dom0 that a QEMU can open while it is root: what programs are made of, and what it
//! was given. Of dom0's others it is not to know: what it has read, its guest may have later.

use std::path::PathBuf;

use super::devices::{BUFFERS, DEVICES, PRIVCMD, PTMX, TERMINALS};

/// With what is below.
const READ: [&str; 22] = [
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/qemu",
    // What its libraries look for as they are loaded.
    "/etc/gnutls",
    "/etc/pkcs11",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    // Its own processes.
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
];

/// To be read.
pub(crate) fn to_read() -> impl Iterator<Item = PathBuf> {
    READ.into_iter().map(PathBuf::from)
}

/// Devices. Where it is, there may be fewer.
pub(crate) fn to_write() -> impl Iterator<Item = PathBuf> {
    // The kernel asks of a pseudo terminal, by whatever it is opened.
    let all = DEVICES
        .into_iter()
        .chain([PRIVCMD, BUFFERS, PTMX, TERMINALS]);
    all.map(PathBuf::from)
}
