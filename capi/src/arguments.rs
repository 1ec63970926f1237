// SPDX-License-Identifier: MIT OR Apache-2.0
//! From C's arguments to Rust's: what can be seen to be wrong is refused. That a pointer
//! that is not null leads to what it should, nobody can see.

use std::{
    ffi::{CStr, OsStr},
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use libc::{c_char, c_int};
use xen_restrict::{Access, GuestId};

use crate::failure::{Failure, Outcome};

fn usable<T>(pointer: *const T, count: usize, what: &str) -> Outcome<()> {
    if pointer.is_null() {
        return Err(Failure::argument(format!("{what} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{what} is not aligned")));
    }
    let bytes = count.checked_mul(size_of::<T>());
    match bytes {
        Some(bytes) if bytes <= isize::MAX.cast_unsigned() => Ok(()),
        _ => Err(Failure::argument(format!(
            "{what} cannot have {count} elements"
        ))),
    }
}

/// # Safety
/// If it is not null, it leads to `count` elements that live for `'a`, and that nobody
/// changes meanwhile.
#[inline]
pub(crate) unsafe fn slice<'a, T>(from: *const T, count: usize, what: &str) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    usable(from, count, what)?;
    // SAFETY: not null, aligned, not too long; and by this function's contract.
    Ok(unsafe { std::slice::from_raw_parts(from, count) })
}

/// # Safety
/// As [`slice`], and nobody else looks at them meanwhile.
#[inline]
pub(crate) unsafe fn slice_mut<'a, T>(
    to: *mut T,
    count: usize,
    what: &str,
) -> Outcome<&'a mut [T]> {
    if count == 0 {
        return Ok(&mut []);
    }
    usable(to, count, what)?;
    // SAFETY: as above.
    Ok(unsafe { std::slice::from_raw_parts_mut(to, count) })
}

/// Where a result goes.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// If it is not null, a `T` can be written there until the call ends.
    #[inline]
    pub(crate) unsafe fn new(to: *mut T, what: &str) -> Outcome<Self> {
        usable(to, 1, what)?;
        Ok(Self(to))
    }

    #[inline]
    pub(crate) fn set(&self, value: T) {
        // SAFETY: by the promise made to `new`.
        unsafe { self.0.write(value) }
    }
}

impl<T> Out<*mut T> {
    /// Where a handle goes; NULL is there until one is.
    ///
    /// # Safety
    /// As [`Out::new`].
    pub(crate) unsafe fn none(to: *mut *mut T) -> Outcome<Self> {
        // SAFETY: by this function's contract.
        let out = unsafe { Self::new(to, "the place for the handle") }?;
        out.set(std::ptr::null_mut());
        Ok(out)
    }
}

/// # Safety
/// If it is not null, it leads to a string that ends with NUL, and lives for `'a`.
pub(crate) unsafe fn text<'a>(from: *const c_char, what: &str) -> Outcome<&'a str> {
    // SAFETY: by this function's contract.
    let text = unsafe { os_text(from, what) }?;
    text.to_str()
        .ok_or_else(|| Failure::argument(format!("{what} is not UTF-8")))
}

/// # Safety
/// As [`text`].
pub(crate) unsafe fn os_text<'a>(from: *const c_char, what: &str) -> Outcome<&'a OsStr> {
    usable(from, 1, what)?;
    // SAFETY: not null, and by this function's contract.
    let text = unsafe { CStr::from_ptr(from) };
    Ok(OsStr::from_bytes(text.to_bytes()))
}

/// Null is none.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn maybe_text<'a>(from: *const c_char, what: &str) -> Outcome<Option<&'a str>> {
    if from.is_null() {
        return Ok(None);
    }
    // SAFETY: by this function's contract.
    unsafe { text(from, what) }.map(Some)
}

/// Strings up to a null pointer; null is an empty list.
///
/// # Safety
/// If it is not null, it leads to pointers up to a null pointer, each as [`text`].
pub(crate) unsafe fn texts<'a>(list: *const *const c_char, what: &str) -> Outcome<Vec<&'a OsStr>> {
    /// More than any kernel takes.
    const MOST: usize = 1 << 20;
    let mut found = Vec::new();
    if list.is_null() {
        return Ok(found);
    }
    usable(list, 1, what)?;
    for at in 0..MOST {
        // SAFETY: by this function's contract there is one up to the null pointer.
        let place = unsafe { list.add(at) };
        // SAFETY: as above.
        let one = unsafe { *place };
        if one.is_null() {
            return Ok(found);
        }
        // SAFETY: by this function's contract.
        found.push(unsafe { os_text(one, what) }?);
    }
    Err(Failure::argument(format!("{what} does not end")))
}

/// What a later version may give a meaning to.
pub(crate) fn zero<T: Copy + Default + PartialEq>(reserved: &[T], what: &str) -> Outcome<()> {
    match reserved.iter().all(|one| *one == T::default()) {
        true => Ok(()),
        false => Err(Failure::argument(format!("{what} is not 0"))),
    }
}

/// A structure that begins with its size, and may grow in later versions.
///
/// # Safety
/// All zeroes are a value of it, it has no padding, and its first field is `size: usize`.
pub(crate) unsafe trait Growing: Copy {
    /// Its size in the first version.
    const FIRST: usize;
}

/// What the caller's version of it says; the rest is 0. Fields of a later version have to
/// be 0, as this one could not heed them.
///
/// # Safety
/// If it is not null, it leads to as many bytes as its first field says.
pub(crate) unsafe fn growing<T: Growing>(from: *const T, what: &str) -> Outcome<T> {
    /// As of a page; more is no structure.
    const MOST: usize = 4096;
    usable(from, 1, what)?;
    // SAFETY: it begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    if size < T::FIRST || size > MOST {
        return Err(Failure::argument(format!(
            "{what} says that it has {size} bytes, not {}: set its size to sizeof",
            size_of::<T>()
        )));
    }
    let known = size.min(size_of::<T>());
    let rest = from.cast::<u8>().wrapping_add(known);
    // SAFETY: by this function's contract there are `size` bytes.
    let rest = unsafe { std::slice::from_raw_parts(rest, size - known) };
    if rest.iter().any(|byte| *byte != 0) {
        let text = format!("{what} is of a later version, and says what this one does not know");
        return Err(Failure::new(libc::E2BIG, text));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let to = value.as_mut_ptr().cast::<u8>();
    // SAFETY: both have that many bytes, and are apart.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), to, known) };
    // SAFETY: all bytes are initialized, and each is as the caller's or 0.
    Ok(unsafe { value.assume_init() })
}

/// Milliseconds; below 0 is without end.
pub(crate) fn timeout(milliseconds: i64) -> Duration {
    u64::try_from(milliseconds).map_or(Duration::MAX, Duration::from_millis)
}

pub(crate) fn guest(domid: u16) -> Outcome<GuestId> {
    Ok(GuestId::new(domid)?)
}

pub(crate) fn access(writable: c_int) -> Access {
    match writable {
        0 => Access::Read,
        _ => Access::ReadWrite,
    }
}

/// A count as a result.
pub(crate) fn count(number: usize) -> c_int {
    c_int::try_from(number).unwrap_or(c_int::MAX)
}

#[cfg(test)]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all")]
mod tests {
    use std::ptr;

    use super::*;

    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Small {
        size: usize,
        a: u64,
    }

    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Large {
        size: usize,
        a: u64,
        b: u64,
    }

    // SAFETY: numbers, without padding.
    unsafe impl Growing for Small {
        const FIRST: usize = 16;
    }
    // SAFETY: as above.
    unsafe impl Growing for Large {
        const FIRST: usize = 16;
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let some = [0_u32; 2];
        for count in [usize::MAX, usize::MAX / 4, isize::MAX as usize / 4 + 1] {
            // SAFETY: refused for its length.
            let refused = unsafe { slice(some.as_ptr(), count, "it") };
            assert_eq!(refused.unwrap_err().errno(), libc::EINVAL, "{count}");
        }
        // SAFETY: refused for being null, or not looked at.
        unsafe {
            assert!(slice::<u32>(ptr::null(), 1, "it").is_err());
            assert!(slice::<u32>(ptr::null(), 0, "it").unwrap().is_empty());
            assert!(slice_mut::<u32>(ptr::null_mut(), 1, "it").is_err());
            let odd = some.as_ptr().cast::<u8>().wrapping_add(1).cast::<u32>();
            assert!(slice(odd, 1, "it").is_err());
        }
    }

    #[test]
    fn a_structure_grows_on_either_side() {
        let mut caller = Large {
            size: size_of::<Large>(),
            a: 1,
            b: 0,
        };
        // SAFETY: as large as they say.
        unsafe {
            let taken = growing(ptr::from_ref(&caller).cast::<Small>(), "it").unwrap();
            assert_eq!((taken.size, taken.a), (24, 1));
            caller.b = 1;
            let error = growing(ptr::from_ref(&caller).cast::<Small>(), "it");
            assert_eq!(error.map(|_| ()).unwrap_err().errno(), libc::E2BIG);
            caller.size = 16;
            let taken = growing(&raw const caller, "it").unwrap();
            assert_eq!((taken.a, taken.b), (1, 0));
            for size in [0, 8, 15, 4097, usize::MAX] {
                caller.size = size;
                assert!(growing(&raw const caller, "it").is_err(), "{size}");
            }
        }
    }

    #[test]
    fn lists_of_texts_end_with_null() {
        let list = [c"a".as_ptr(), c"".as_ptr(), ptr::null()];
        // SAFETY: a list that ends.
        let found = unsafe { texts(list.as_ptr(), "it") }.unwrap();
        assert_eq!(found, ["a", ""]);
        // SAFETY: no list.
        assert!(unsafe { texts(ptr::null(), "it") }.unwrap().is_empty());
    }
}
