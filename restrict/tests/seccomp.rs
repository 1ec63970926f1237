// SPDX-License-Identifier: MIT OR Apache-2.0
//! The allowlist of system calls: what it stops on this kernel, and that the programs
//! of this machine go on under it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "kernel/alone.rs"]
mod alone;
#[path = "seccomp/programs.rs"]
mod programs;
#[path = "kernel/seccomp.rs"]
mod seccomp;
#[path = "seccomp/tokio_runtime.rs"]
mod tokio_runtime;
