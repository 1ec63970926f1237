// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `multicall` hypercall (Xen's `public/xen.h`): a list of others.

abi! {
    /// `struct multicall_entry`
    pub struct Entry: 64 {
        /// In: number, see [`hypercall`](crate::hypercall).
        op: u64 = 0,
        /// Out: what it returned, negative for an error.
        result: u64 = 8,
        /// In: its arguments.
        args: [u64; 6] = 16,
    }
}
