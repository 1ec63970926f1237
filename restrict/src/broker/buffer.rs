// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that the broker and its process share, for copies: a file in memory whose size
//! neither can change.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::fstat,
    },
};

use super::message::COPY_BYTES;
use crate::mmap::{Access, Mmap, PAGE_SIZE};

/// The file.
#[derive(Debug)]
pub(crate) struct Shared(OwnedFd);

impl Shared {
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"xen-grant-copy", flags)?);
        let failed = |error: std::io::Error| {
            error
                .raw_os_error()
                .map_or(Errno::UnknownErrno, Errno::from_raw)
        };
        file.set_len(COPY_BYTES as u64).map_err(failed)?;
        let sealed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(sealed))?;
        Ok(Self(file.into()))
    }

    /// What a broker handed over. `EINVAL` if it is of another size, or may become so.
    pub(crate) fn adopt(fd: OwnedFd) -> Result<Self, Errno> {
        let seals = SealFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GET_SEALS)?);
        let size = fstat(&fd)?.st_size;
        let fixed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        match seals.contains(fixed) && usize::try_from(size) == Ok(COPY_BYTES) {
            true => Ok(Self(fd)),
            false => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn map(&self) -> Result<Mmap, Errno> {
        Mmap::of(self.0.as_fd(), COPY_BYTES / PAGE_SIZE, Access::ReadWrite, 0)?.keep_from_children()
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_size_stays() {
        let shared = Shared::new().unwrap();
        let (one, other) = (shared.map().unwrap(), shared.map().unwrap());
        assert_eq!((one.len(), other.len()), (COPY_BYTES, COPY_BYTES));
        let file = File::from(shared.into_fd());
        for size in [0, COPY_BYTES as u64 / 2, 2 * COPY_BYTES as u64] {
            let error = file.set_len(size).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
        Shared::adopt(file.into()).unwrap();
    }

    #[test]
    fn what_can_change_is_not_adopted() {
        let file = File::from(memfd_create(c"x", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        file.set_len(COPY_BYTES as u64).unwrap();
        assert_eq!(Shared::adopt(file.into()).unwrap_err(), Errno::EINVAL);
        let null = File::open("/dev/null").unwrap();
        assert_eq!(Shared::adopt(null.into()).unwrap_err(), Errno::EINVAL);
    }
}
