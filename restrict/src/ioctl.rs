// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system call, and which arguments are safe to hand to it.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use xen_sys::{Request, evtchn, gntalloc, gntdev};

/// An argument that holds no address: the driver reads and writes the struct
/// itself and nothing else of this process.
///
/// # Safety
/// The implementor has checked that in the driver's source.
pub(crate) unsafe trait Plain {}

macro_rules! plain {
    ($($t:ty),* $(,)?) => {$(
        // SAFETY: the driver copies the struct in, and back where it returns
        // something (drivers/xen/{privcmd,evtchn,gntdev,gntalloc}.c); no field
        // is an address.
        unsafe impl Plain for $t {}
    )*};
}

plain!(
    u16, // privcmd RESTRICT
    evtchn::BindVirq,
    evtchn::BindInterdomain,
    evtchn::BindUnboundPort,
    evtchn::Unbind,
    evtchn::Notify,
    evtchn::RestrictDomid,
    evtchn::BindStatic,
    gntdev::UnmapGrantRef,
    gntdev::UnmapNotify,
    gntalloc::DeallocGref,
);

/// Issues a request whose argument holds no address.
pub(crate) fn plain<T: Plain>(
    fd: BorrowedFd<'_>,
    request: Request<T>,
    argument: &mut T,
) -> Result<i32, Errno> {
    // SAFETY: `T: Plain`, and `request` belongs to `T`.
    unsafe { raw(fd, request, argument) }
}

/// Issues a request that takes no argument.
pub(crate) fn bare(fd: BorrowedFd<'_>, request: Request<()>) -> Result<i32, Errno> {
    // SAFETY: a request of size 0 makes the driver ignore the pointer.
    unsafe { raw(fd, request, &mut ()) }
}

/// Issues a request whose result can be wider than C's `int`.
///
/// # Safety
/// As [`raw`].
pub(crate) unsafe fn raw_long<T>(
    fd: BorrowedFd<'_>,
    request: Request<T>,
    argument: *mut T,
) -> Result<i64, Errno> {
    let number = libc::c_ulong::from(request.number());
    // SAFETY: by this function's contract.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), number, argument) })
}

/// Issues any request.
///
/// # Safety
/// Every address in `argument`, and its tail where the request has one, is
/// valid for what the driver does with it.
pub(crate) unsafe fn raw<T>(
    fd: BorrowedFd<'_>,
    request: Request<T>,
    argument: *mut T,
) -> Result<i32, Errno> {
    let number = libc::Ioctl::from(request.number());
    // SAFETY: by this function's contract.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), number, argument) })
}
