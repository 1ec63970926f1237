// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connections of a QEMU that is root: to xenstored only, as it believes. At the other end is its
//! supervisor: what is in QEMU's memory, and which file a name leads to, can change after a look
//! at it.

use std::{fs::File, os::unix::fs::FileExt as _};

use crate::confine::{notify::low_half, syscalls::by_number};

/// By what names Xen's library knows its socket.
const NAMES: [&[u8]; 2] = [b"/run/xenstored/socket", b"/var/run/xenstored/socket"];

/// Whether a call connects a socket.
pub(in crate::confine) fn connects(call: &libc::seccomp_data) -> bool {
    by_number(call.nr).1 == Some("connect")
}

/// Whether it is to xenstored, by its caller's memory.
pub(in crate::confine) fn to_xenstored(caller: &File, call: &libc::seccomp_data) -> bool {
    let mut bytes = [0; size_of::<libc::sockaddr_un>()];
    let told = usize::try_from(low_half(call.args[2])).unwrap_or(0);
    let length = told.min(bytes.len());
    caller
        .read_at(&mut bytes[..length], call.args[1])
        .is_ok_and(|read| read == length && is_xenstored(&bytes[..length]))
}

/// Of a `struct sockaddr_un`.
fn is_xenstored(address: &[u8]) -> bool {
    let Some((family, path)) = address.split_first_chunk() else {
        return false;
    };
    let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
    i32::from(u16::from_ne_bytes(*family)) == libc::AF_UNIX && NAMES.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xenstored_is_known_by_its_names() {
        let unix = 1_u16.to_ne_bytes();
        let address = |path: &[u8]| [&unix, path].concat();
        assert!(is_xenstored(&address(b"/run/xenstored/socket\0more")));
        assert!(is_xenstored(&address(b"/var/run/xenstored/socket")));
        for other in [
            &b"/run/xenstored/socket_"[..],
            b"\0/run/xenstored/socket",
            b"/tmp/x",
            b"",
        ] {
            assert!(!is_xenstored(&address(other)), "{other:?}");
        }
        let inet = [&2_u16.to_ne_bytes(), &b"/run/xenstored/socket"[..]].concat();
        assert!(!is_xenstored(&inet) && !is_xenstored(&[1]));
    }
}
