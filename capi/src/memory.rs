// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mapped pages: copied out and in, never lent.

use std::ops::Deref;

use libc::{c_int, c_void};
use xen_restrict::{
    GrantedPages, GuestMemory, MappedGrants, ResourceMapping, SharedMemory, UnmapNotify,
};

use crate::{
    arguments::{self, Out},
    failure::Failure,
    guard::guard,
    handle::{Finish, give, hold},
    xr_memory, xr_port,
};

pub(crate) enum Memory {
    Guest(GuestMemory),
    Resource(ResourceMapping),
    Mapped(MappedGrants),
    Granted(GrantedPages),
    /// Of this process's own, for fuzzing.
    #[cfg(any(test, feature = "fuzzing"))]
    Own(SharedMemory),
}

impl Finish for Memory {}

impl Deref for Memory {
    type Target = SharedMemory;

    #[inline]
    fn deref(&self) -> &SharedMemory {
        match self {
            Self::Guest(memory) => memory,
            Self::Resource(memory) => memory,
            Self::Mapped(memory) => memory,
            Self::Granted(memory) => memory,
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Own(memory) => memory,
        }
    }
}

/// A page of a mapping that is not there.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct xr_missing_page {
    /// Its index in the mapping.
    pub page: usize,
    /// The kernel's reason, as in errno(3): ENOENT for one that Xen has paged out.
    pub errnum: c_int,
    /// 0.
    pub reserved: c_int,
}

/// The size of a mapping.
///
/// Returns 0, and the bytes in `*bytes`: a multiple of 4096, never 0.
/// Errors: EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `bytes` leads to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_memory_size(memory: *const xr_memory, bytes: *mut usize) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let bytes = unsafe { Out::new(bytes, "bytes") }?;
        bytes.set(hold(memory)?.len());
        Ok(0)
    })
}

/// The pages of a mapping that are not there; the first `room` of them are written to
/// `pages`.
///
/// Returns how many there are.
/// Errors: EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `pages` has room for `room`; it may be NULL where that is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_memory_missing(
    memory: *const xr_memory,
    pages: *mut xr_missing_page,
    room: usize,
) -> c_int {
    guard(|| {
        let memory = hold(memory)?;
        // SAFETY: by this function's contract.
        let pages = unsafe { arguments::slice_mut(pages, room, "pages") }?;
        for (to, missing) in pages.iter_mut().zip(memory.missing()) {
            *to = xr_missing_page {
                page: missing.page,
                errnum: missing.errno,
                reserved: 0,
            };
        }
        Ok(arguments::count(memory.missing().count()))
    })
}

/// Maps all pages of a mapping anew, where some are missing: Xen may have paged them in, or
/// the guest got memory there. The mapping itself stays as it is, with whoever uses it. `*out`
/// is the caller's, to be closed by xr_close(). It is not there in a forked child.
///
/// Returns how many pages are missing in `*out`.
/// Errors: EINVAL: not of xr_guest_map(), or nothing is missing; E2BIG, EPERM, ESRCH, ENXIO,
/// EBADF, ECHILD, EMFILE, and the kernel's own: as xr_guest_map().
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_memory_retry(
    memory: *const xr_memory,
    out: *mut *mut xr_memory,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let memory = hold(memory)?;
        let Memory::Guest(memory) = &*memory else {
            return Err(Failure::argument(
                "the memory was not mapped by xr_guest_map()",
            ));
        };
        let again = memory.again()?;
        let again = again.ok_or_else(|| Failure::argument("no page is missing"))?;
        let missing = arguments::count(again.missing().count());
        out.set(give(Memory::Guest(again))?);
        Ok(missing)
    })
}

/// Copies `length` bytes out of the mapping, from byte `offset` on. 1, 2, 4 or 8 bytes at an
/// offset that is a multiple of that are read at one moment; others need not be. What was
/// read does not change: check the copy, not the mapping. No length is no error.
///
/// Returns 0.
/// Errors: ERANGE: beyond the mapping; EFAULT: a page is not there; EINVAL, EBADF, ECHILD.
/// Nothing was copied then.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `into` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_memory_read(
    memory: *const xr_memory,
    offset: usize,
    into: *mut c_void,
    length: usize,
) -> c_int {
    guard(|| {
        let memory = hold(memory)?;
        // SAFETY: by this function's contract.
        let into = unsafe { arguments::slice_mut(into.cast::<u8>(), length, "into") }?;
        memory.read(offset, into)?;
        Ok(0)
    })
}

/// Copies `length` bytes into the mapping, from byte `offset` on; as xr_memory_read().
///
/// Returns 0.
/// Errors: EROFS: mapped for reading only; ERANGE, EFAULT, EINVAL, EBADF, ECHILD. Nothing was
/// copied then.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `from` leads to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_memory_write(
    memory: *mut xr_memory,
    offset: usize,
    from: *const c_void,
    length: usize,
) -> c_int {
    guard(|| {
        let memory = hold(memory)?;
        // SAFETY: by this function's contract.
        let from = unsafe { arguments::slice(from.cast::<u8>(), length, "from") }?;
        memory.write(offset, from)?;
        Ok(0)
    })
}

/// Sets bits of a byte in one step, for both sides.
///
/// Returns what the byte was, 0 to 255.
/// Errors: EROFS, ERANGE, EFAULT, EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_memory_fetch_or(memory: *mut xr_memory, offset: usize, bits: u8) -> c_int {
    guard(|| Ok(hold(memory)?.fetch_or(offset, bits)?.into()))
}

/// Keeps these bits of a byte only, in one step, for both sides.
///
/// Returns what the byte was, 0 to 255.
/// Errors: EROFS, ERANGE, EFAULT, EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_memory_fetch_and(memory: *mut xr_memory, offset: usize, bits: u8) -> c_int {
    guard(|| Ok(hold(memory)?.fetch_and(offset, bits)?.into()))
}

/// For xr_memory_notify_on_unmap(): no byte becomes 0. In the header by cbindgen.toml, as cbindgen
/// has no word for it.
pub const XR_NO_BYTE: usize = usize::MAX;

/// Has the other side of a grant told when its pages are unmapped here, also by this
/// process's death: byte `clear` of the mapping becomes 0, unless it is XR_NO_BYTE, and
/// `port` sends an event, unless it is NULL. The port has to be bound to the same guest; it
/// is used even if it is closed by then.
///
/// Returns 0.
/// Errors: EINVAL: not memory of grants, or a port of another domain; ERANGE, EROFS: of the
/// byte; ENXIO: revoked; EBADF, ECHILD, and the kernel's own.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_memory_notify_on_unmap(
    memory: *mut xr_memory,
    clear: usize,
    port: *const xr_port,
) -> c_int {
    guard(|| {
        let memory = hold(memory)?;
        let port = (!port.is_null()).then(|| hold(port)).transpose()?;
        let notify = UnmapNotify {
            clear_byte: (clear != XR_NO_BYTE).then_some(clear),
            send_event: port.as_deref().map(|port| &port.0),
        };
        match &*memory {
            Memory::Mapped(memory) => memory.notify_on_unmap(notify)?,
            Memory::Granted(memory) => memory.notify_on_unmap(notify)?,
            _ => return Err(Failure::argument("the memory was not granted")),
        }
        Ok(0)
    })
}
