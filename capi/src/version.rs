// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is there without any handle.

use libc::{c_char, c_int};

use crate::failure;

/// The version of the ABI: the number in the library's soname. It changes when a program
/// would have to be compiled anew.
pub const XR_ABI_VERSION: c_int = 1;

/// The version of the library that is loaded, as "0.1.0". It lives as long as the library.
///
/// Returns the text; never NULL.
/// Errors: none.
/// Threads: any.
/// Fork: usable, also where other threads were in the library.
#[unsafe(no_mangle)]
pub extern "C" fn xr_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The ABI of the library that is loaded: XR_ABI_VERSION of its header.
///
/// Returns the number.
/// Errors: none.
/// Threads: any.
/// Fork: usable, also where other threads were in the library.
#[unsafe(no_mangle)]
pub extern "C" fn xr_abi_version() -> c_int {
    XR_ABI_VERSION
}

/// Why the last call of this thread that failed did: one line, with what to do about it. It
/// lives until the next call of this thread that fails, or the thread's end.
///
/// Returns the text; never NULL, and "" before any failure.
/// Errors: none.
/// Threads: any; each has its own.
/// Fork: usable, also where other threads were in the library.
#[unsafe(no_mangle)]
pub extern "C" fn xr_error() -> *const c_char {
    failure::last()
}
