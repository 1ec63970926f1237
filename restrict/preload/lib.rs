// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a QEMU is started with, by `LD_PRELOAD`: an answer to one question.
//!
//! libxendevicemodel asks a new handle of privcmd for a device model operation on no domain, to
//! learn whether the kernel has such operations. A handle that is restricted refuses, and the
//! library goes on without it. Here the kernel has them, and no handle is asked.
//!
//! Nothing relies on it that is to hold: what a handle may do, the kernel knows.
#![no_std]

use core::ffi::{c_int, c_long, c_ulong};

/// `IOCTL_PRIVCMD_DM_OP`
const DM_OP: u32 = 0x0010_5005;
/// Of `struct privcmd_dm_op`: `DOMID_INVALID`, and no buffers.
const QUESTION: Start = Start {
    dom: 0x7ff4,
    num: 0,
};
#[cfg(target_arch = "x86_64")]
const SYS_IOCTL: c_long = 16;
#[cfg(target_arch = "aarch64")]
const SYS_IOCTL: c_long = 29;

/// How `struct privcmd_dm_op` begins.
#[repr(C)]
#[derive(PartialEq, Eq)]
pub struct Start {
    dom: u16,
    num: u16,
}

unsafe extern "C" {
    /// libc's: sets errno.
    fn syscall(number: c_long, ...) -> c_long;
}

/// In the place of libc's, which takes any number of arguments: so does this one, by the calling
/// conventions of both architectures.
///
/// # Safety
/// As ioctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *const Start) -> c_int {
    // The kernel looks at 32 bits of it.
    if request as u32 == DM_OP && !argument.is_null() {
        // SAFETY: the library's struct, as the request says.
        if unsafe { argument.read_unaligned() } == QUESTION {
            return 0;
        }
    }
    // SAFETY: by the caller's promise.
    unsafe { syscall(SYS_IOCTL, c_long::from(fd), request, argument) as c_int }
}

/// Nothing here panics; the compiler wants one.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
