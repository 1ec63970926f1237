// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen's own tools and QEMU make of `dm_restrict`: `cargo lab test` builds these
//! tests, boots Xen with the suite's QEMU, and runs them in its dom0.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod guest;
mod left_behind;
mod process;
