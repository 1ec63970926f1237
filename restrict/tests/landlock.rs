// SPDX-License-Identifier: MIT OR Apache-2.0
//! Landlock, by trying what it refuses: each kernel as far as it goes, as root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kernel/alone.rs"]
mod alone;
#[path = "kernel/landlock.rs"]
mod landlock;
