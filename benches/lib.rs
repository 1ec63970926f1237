// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks live beside this file: `abi.rs` for `xen_sys`.
