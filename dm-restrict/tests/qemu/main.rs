// SPDX-License-Identifier: MIT OR Apache-2.0
//! The suite's own QEMU, started by its own `xl` through `dm-restrict qemu`: `cargo lab test`
//! builds these tests, boots Xen with both, and runs them in its dom0. What `dm_restrict` comes
//! to without it: `restrict/tests/stock_qemu`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod confined;
mod device;
mod disk;
mod ends;
mod formats;
mod keeps;
mod network;
mod pace;
mod reaches;
mod refused;
#[path = "../../../restrict/tests/stock_qemu/guest.rs"]
mod stock;
mod support;
mod taken_over;
mod tracer;
mod under_systemd;
mod xenstored;
