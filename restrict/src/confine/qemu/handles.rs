// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event channels of a QEMU. It opens the device itself, and could bind ports of any domain
//! until it has restricted the handle, and keep them: so the supervisor opens it in its place, and
//! what QEMU gets is restricted to its guest already.
//!
//! The path is in QEMU's memory and can be another one by the time the kernel reads it. There is
//! nothing to gain by that: where QEMU is, the device is not ([`super::root`]).
//!
//! With privcmd that is not possible: Xen's library asks a new handle for an operation on no
//! domain, which one that is restricted refuses, and goes on without it.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use xen_sys::evtchn;

use crate::{
    EventChannel, GuestId,
    confine::{notify::low_half, syscalls::by_number},
};

/// How Xen's libraries open it, and hardly anybody else what is not to be made: a filter sees
/// flags, and no path.
pub(super) const FLAGS: u32 = (libc::O_RDWR | libc::O_CLOEXEC).cast_unsigned();

const DEVICE: &[u8] = b"/dev/xen/evtchn";
const BUFFERS: &[u8] = b"/dev/xen/hypercall";

/// Whether a call opens something as it is opened.
pub(in crate::confine) fn opens(call: &libc::seccomp_data) -> bool {
    by_number(call.nr).1 == Some("openat") && low_half(call.args[2]) == FLAGS
}

/// Whether it opens the device, by its caller's memory.
pub(in crate::confine) fn opens_events(caller: &File, call: &libc::seccomp_data) -> bool {
    opens(call) && path_at(caller, call.args[1]).is_ok_and(|path| path == DEVICE)
}

/// Whether it opens that of hypercall buffers: Xen's library goes on where there is none.
pub(in crate::confine) fn opens_buffers(caller: &File, call: &libc::seccomp_data) -> bool {
    opens(call) && path_at(caller, call.args[1]).is_ok_and(|path| path == BUFFERS)
}

/// As much as tells it from others.
fn path_at(caller: &File, address: u64) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 32];
    let length = caller.read_at(&mut bytes, address)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    match text.len() < length {
        true => Ok(text.to_vec()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A new handle.
pub(in crate::confine) fn open(guest: GuestId) -> io::Result<OwnedFd> {
    let handle = EventChannel::open().and_then(|handle| handle.restrict(guest));
    handle
        .map_err(io::Error::other)?
        .as_fd()
        .try_clone_to_owned()
}

/// The kernel restricts such a handle once: a second time it refuses.
pub(in crate::confine) fn restricts_events(call: &libc::seccomp_data) -> bool {
    by_number(call.nr).1 == Some("ioctl")
        && low_half(call.args[1]) == evtchn::RESTRICT_DOMID.number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_where_the_memory_ends() {
        let own = File::open("/proc/self/mem").unwrap();
        let read = |bytes: &[u8]| path_at(&own, bytes.as_ptr().addr() as u64);
        assert_eq!(read(b"/dev/xen/evtchn\0more").unwrap(), b"/dev/xen/evtchn");
        read(&[b'/'; 64]).unwrap_err();
        path_at(&own, 8).unwrap_err();
    }
}
