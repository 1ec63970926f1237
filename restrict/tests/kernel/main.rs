// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mechanisms whose kernel a development machine may not have: run by `cargo lab test` in
//! each suite's dom0, where nobody else manages control groups.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod cgroup;
mod delegation;
mod doctor;
mod landlock;
mod seal;
mod seccomp;
mod yama;
