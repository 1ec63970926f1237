// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets at which a QEMU listens, and for which it takes no descriptor: VNC's. It makes a
//! socket, removes what is at the path, and binds it there; where it is, nothing can be made. So
//! they were bound before, and it gets that one in the place of its own.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
    },
    path::PathBuf,
};

use super::connects::local;
use crate::confine::syscalls::by_number;

/// Those that are bound, by their paths.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Vec<(PathBuf, OwnedFd)>);

impl Listeners {
    pub(crate) fn new(all: Vec<(PathBuf, OwnedFd)>) -> Self {
        Self(all)
    }

    /// What a call binds a socket to, if it is one of them.
    pub(in crate::confine) fn bound(
        &self,
        caller: &File,
        call: &libc::seccomp_data,
    ) -> Option<BorrowedFd<'_>> {
        let path = local(caller, call)?;
        self.at(&path)
    }

    /// Whether a call removes one of them.
    pub(in crate::confine) fn is_removed(&self, caller: &File, call: &libc::seccomp_data) -> bool {
        let Some(address) = removes(call) else {
            return false;
        };
        let mut bytes = [0; size_of::<libc::sockaddr_un>()];
        let read: io::Result<usize> = caller.read_at(&mut bytes, address);
        let Ok(length) = read else { return false };
        let end = bytes[..length].iter().position(|byte| *byte == 0);
        end.is_some_and(|end| self.at(&bytes[..end]).is_some())
    }

    fn at(&self, path: &[u8]) -> Option<BorrowedFd<'_>> {
        let mut all = self.0.iter();
        let found = all.find(|(known, _)| known.as_os_str().as_bytes() == path)?;
        Some(found.1.as_fd())
    }
}

/// Whether a call binds a socket.
pub(in crate::confine) fn binds(call: &libc::seccomp_data) -> bool {
    by_number(call.nr).1 == Some("bind")
}

/// Where the path is of what a call removes.
pub(in crate::confine) fn removes(call: &libc::seccomp_data) -> Option<u64> {
    match by_number(call.nr).1 {
        Some("unlink") => Some(call.args[0]),
        Some("unlinkat") => Some(call.args[1]),
        _ => None,
    }
}
