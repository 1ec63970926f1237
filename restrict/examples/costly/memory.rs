// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of its own, and of the kernel's for its own.

use std::{
    fs::{self, File},
    io::Write as _,
    num::NonZeroUsize,
    os::fd::{AsRawFd as _, BorrowedFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::{
        memfd::{MFdFlags, memfd_create},
        mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous},
        signal::{SigHandler, Signal, signal},
    },
};

use crate::{Taken, until_refused};

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;
/// So much has a page of page table.
const TABLE: usize = 2 * MIB;

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

/// Maps so many bytes that nobody has touched.
pub(crate) fn mapped(bytes: usize, protection: ProtFlags) -> nix::Result<*mut u8> {
    let length = NonZeroUsize::new(bytes).ok_or(Errno::EINVAL)?;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { mmap_anonymous(None, length, protection, flags) }?;
    Ok(at.as_ptr().cast())
}

pub(crate) fn anonymous(most: u64) -> Taken {
    until_refused(most, |_| {
        let at = mapped(MIB, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)?;
        for page in (0..MIB).step_by(PAGE) {
            // SAFETY: within the mapping, which may be written.
            unsafe { at.wrapping_add(page).write_volatile(1) };
        }
        Ok(())
    })
}

/// As a display is kept by QEMU.
pub(crate) fn files(most: u64) -> Taken {
    written(most, || {
        Ok(memfd_create(c"costly", MFdFlags::MFD_CLOEXEC)?.into())
    })
}

/// In what `--tmp` gives.
pub(crate) fn tmp(most: u64) -> Taken {
    let mut number = 0;
    written(most, || {
        number += 1;
        File::create(format!("/tmp/{number}")).map_err(|error| errno(&error))
    })
}

/// What a launcher may have named to be written to.
const NAMED: &str = "/run/costly";

/// In the first directory, from its root on, where it may. It need not be able to list these.
pub(crate) fn disk(most: u64) -> Taken {
    let (mut refusal, mut number) = (None, 0);
    let mut todo = vec![PathBuf::from(NAMED), PathBuf::from("/")];
    while let Some(place) = todo.pop() {
        let mut next = || {
            number += 1;
            File::create(place.join(format!("costly-{number}"))).map_err(|error| errno(&error))
        };
        match next() {
            Ok(_) => return written(most, next),
            Err(errno) => refusal = refusal.or(Some(errno)),
        }
        let entries = fs::read_dir(&place).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        todo.extend(folders.map(|entry| entry.path()));
    }
    Taken(0, refusal)
}

/// Writes to files as long as they may become, until there is no other one, or no room.
fn written(most: u64, mut next: impl FnMut() -> nix::Result<File>) -> Taken {
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.expect("a signal");
    let (mut files, mut bytes) = (Vec::new(), 0_u64);
    while bytes >> 20 < most {
        match files.last_mut().map(|file| File::write(file, &[7; 4096])) {
            Some(Ok(wrote)) => bytes += wrote as u64,
            Some(Err(error)) if errno(&error) != Errno::EFBIG => {
                return Taken(bytes >> 20, Some(errno(&error)));
            }
            _ => match next() {
                Ok(file) => files.push(file),
                Err(errno) => return Taken(bytes >> 20, Some(errno)),
            },
        }
    }
    std::mem::forget(files);
    Taken(bytes >> 20, None)
}

/// One page is read in each two MiB: all of them the kernel's one page of zeros.
pub(crate) fn page_tables(most: u64) -> Taken {
    let Taken(tables, refusal) = until_refused(most / 4, |_| {
        let at = mapped(TABLE, ProtFlags::PROT_READ)?;
        let whole = std::ptr::NonNull::new(at.cast()).ok_or(Errno::EINVAL)?;
        // SAFETY: advice about the mapping just made.
        unsafe { madvise(whole, TABLE, MmapAdvise::MADV_NOHUGEPAGE) }?;
        // SAFETY: within the mapping, which may be read.
        unsafe { at.wrapping_add(TABLE / 2).read_volatile() };
        Ok(())
    });
    Taken(tables * 4, refusal)
}

/// A length that a pipe or socket took.
pub(crate) fn filled(fd: BorrowedFd<'_>, block: &[u8]) -> u64 {
    let mut bytes = 0;
    loop {
        // SAFETY: reads the block, which lives.
        let wrote = unsafe { libc::write(fd.as_raw_fd(), block.as_ptr().cast(), block.len()) };
        match u64::try_from(wrote) {
            Ok(wrote) if wrote > 0 => bytes += wrote,
            _ => return bytes,
        }
    }
}
