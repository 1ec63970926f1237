// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages shared with a guest or with Xen: copied in and out, never borrowed.

use std::{
    fmt,
    sync::atomic::{AtomicU8, Ordering},
};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    mmap::{Access, Mmap, PAGE_SIZE},
    shared,
};

/// Mapped pages that somebody else may change at any moment.
///
/// All access copies, so what was read does not change after it was checked.
/// A value of 1, 2, 4 or 8 bytes that is aligned to its size is read or written at one
/// moment; nothing promises that of others. Order is the caller's: `std::sync::atomic::fence`.
pub struct SharedMemory {
    map: Mmap,
    /// Error per page, `0` where mapped; empty when all are.
    errors: Box<[i32]>,
}

impl SharedMemory {
    pub(crate) fn whole(map: Mmap) -> Self {
        Self::with_errors(map, Box::default())
    }

    /// `errors` has an entry for each page, or none.
    pub(crate) fn with_errors(map: Mmap, errors: Box<[i32]>) -> Self {
        debug_assert!(errors.is_empty() || errors.len() == map.pages());
        Self { map, errors }
    }

    pub(crate) fn map(&self) -> &Mmap {
        &self.map
    }

    /// Size in bytes: a multiple of 4096, never 0.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Size in pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.map.pages()
    }

    /// Whether it can be written to.
    #[must_use]
    pub fn access(&self) -> Access {
        self.map.access()
    }

    /// The pages that could not be mapped, with the kernel's error for each.
    pub fn missing(&self) -> impl Iterator<Item = MissingPage> + '_ {
        let numbered = self.errors.iter().enumerate();
        numbered.filter_map(|(page, errno)| MissingPage::new(page, *errno))
    }

    /// Copies out of the memory, from `offset` bytes on.
    ///
    /// # Errors
    /// [`AccessError`] when a byte of the range is not mapped; then nothing
    /// was copied.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), AccessError> {
        self.check(offset, into.len())?;
        let from = self.map.start().as_ptr().wrapping_add(offset);
        // SAFETY: `check` proved that the range is mapped; `self` keeps it so.
        unsafe { shared::read(from, into) };
        Ok(())
    }

    /// Copies into the memory, from `offset` bytes on.
    ///
    /// # Errors
    /// As [`read`](Self::read), and [`AccessError::ReadOnly`].
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), AccessError> {
        if self.access() == Access::Read {
            return Err(AccessError::ReadOnly);
        }
        self.check(offset, from.len())?;
        let to = self.map.start().as_ptr().wrapping_add(offset);
        // SAFETY: `check` proved that the range is mapped, and it is writable.
        unsafe { shared::write(to, from) };
        Ok(())
    }

    /// Copies one value out.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn get<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, AccessError> {
        let mut value = T::new_zeroed();
        self.read(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies one value in.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn set<T: IntoBytes + Immutable>(
        &self,
        offset: usize,
        value: &T,
    ) -> Result<(), AccessError> {
        self.write(offset, value.as_bytes())
    }

    /// Sets bits of a byte in one step, for both sides; returns what it was.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn fetch_or(&self, offset: usize, bits: u8) -> Result<u8, AccessError> {
        Ok(self.byte(offset)?.fetch_or(bits, Ordering::SeqCst))
    }

    /// Keeps these bits of a byte only, in one step, for both sides; returns what it was.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn fetch_and(&self, offset: usize, bits: u8) -> Result<u8, AccessError> {
        Ok(self.byte(offset)?.fetch_and(bits, Ordering::SeqCst))
    }

    /// One that can be written.
    fn byte(&self, offset: usize) -> Result<&AtomicU8, AccessError> {
        if self.access() == Access::Read {
            return Err(AccessError::ReadOnly);
        }
        self.check(offset, 1)?;
        let at = self.map.start().as_ptr().wrapping_add(offset);
        // SAFETY: `check` proved that it is mapped; `self` keeps it so. All access here is
        // atomic, as is the other side's.
        Ok(unsafe { AtomicU8::from_ptr(at) })
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), AccessError> {
        let size = self.len();
        let end = offset.checked_add(length).filter(|end| *end <= size);
        let Some(end) = end else {
            return Err(AccessError::OutOfRange {
                offset,
                length,
                size,
            });
        };
        if self.errors.is_empty() || length == 0 {
            return Ok(());
        }
        let pages = offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE);
        let missing = pages
            .filter_map(|page| MissingPage::new(page, self.errors[page]))
            .next();
        missing.map_or(Ok(()), |page| Err(AccessError::Missing(page)))
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory")
            .field("pages", &self.pages())
            .field("access", &self.access())
            .field("missing", &self.missing().count())
            .finish()
    }
}

/// A page of a mapping that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingPage {
    /// Index of the page in the mapping.
    pub page: usize,
    /// The kernel's error number, positive, as in `errno(3)`.
    pub errno: i32,
}

impl MissingPage {
    fn new(page: usize, errno: i32) -> Option<Self> {
        let errno = errno.checked_neg()?;
        (errno != 0).then_some(Self { page, errno })
    }

    /// Whether the page is paged out by Xen, so that a later try can succeed.
    #[must_use]
    pub fn is_paged_out(self) -> bool {
        self.errno == libc::ENOENT
    }
}

impl fmt::Display for MissingPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = std::io::Error::from_raw_os_error(self.errno);
        write!(f, "page {} is not mapped ({why})", self.page)
    }
}

/// An access to shared memory that was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The range ends behind the mapping.
    #[error("{length} bytes at offset {offset} of a mapping of {size} bytes: stay inside it")]
    OutOfRange {
        /// First byte asked for.
        offset: usize,
        /// Bytes asked for.
        length: usize,
        /// Bytes there are.
        size: usize,
    },
    /// A page of the range could not be mapped.
    #[error("{0}: look at `missing` before use")]
    Missing(MissingPage),
    /// A write to a mapping made for reading.
    #[error("the mapping is read-only: map it with `Access::ReadWrite`")]
    ReadOnly,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_byte_are_changed_in_place() {
        let memory = pages(&[0]);
        memory.set(7, &0b0101_u8).unwrap();
        assert_eq!(memory.fetch_or(7, 0b0010), Ok(0b0101));
        assert_eq!(memory.fetch_and(7, !0b0001), Ok(0b0111));
        assert_eq!(memory.get::<u8>(7), Ok(0b0110));
        assert!(memory.fetch_or(PAGE_SIZE, 1).is_err());
    }

    fn pages(errors: &[i32]) -> SharedMemory {
        let map = Mmap::anonymous(errors.len()).unwrap();
        SharedMemory::with_errors(map, errors.into())
    }

    #[test]
    fn what_is_written_is_read() {
        let memory = pages(&[0, 0]);
        memory.set(4090, &0x1122_3344_5566_7788_u64).unwrap();
        assert_eq!(memory.get::<u64>(4090).unwrap(), 0x1122_3344_5566_7788);
        let mut byte = [0];
        memory.read(4090, &mut byte).unwrap();
        assert_eq!(byte, [0x88]);
    }

    #[test]
    fn nothing_outside_is_touched() {
        let memory = pages(&[0]);
        for (offset, length) in [(4096, 1), (4095, 2), (0, 4097), (usize::MAX, 2)] {
            let mut buffer = vec![0; length];
            let error = memory.read(offset, &mut buffer).unwrap_err();
            assert!(matches!(error, AccessError::OutOfRange { .. }), "{error}");
            assert_eq!(memory.write(offset, &buffer), Err(error));
        }
        memory.read(4096, &mut []).unwrap();
    }

    #[test]
    fn a_missing_page_is_named_and_its_neighbours_work() {
        let memory = pages(&[0, -libc::EINVAL, 0]);
        assert_eq!(memory.missing().count(), 1);
        for (offset, length) in [(4095, 2), (4096, 1), (8191, 1), (0, 3 * 4096)] {
            let error = memory.read(offset, &mut vec![0; length]).unwrap_err();
            let AccessError::Missing(page) = error else {
                panic!("{error}")
            };
            assert_eq!((page.page, page.errno), (1, libc::EINVAL));
        }
        memory.write(0, &[1; 4096]).unwrap();
        memory.write(8192, &[1; 4096]).unwrap();
    }
}
