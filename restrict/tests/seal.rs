// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sealing, by trying what is gone afterwards; as root, who becomes somebody else first.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kernel/alone.rs"]
mod alone;
#[path = "kernel/seal.rs"]
mod seal;
