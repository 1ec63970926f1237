// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command in dom0 of real Xen: `cargo lab test` boots one and runs these tests there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod c_programs;
mod console;
mod costs;
mod descriptors;
mod guests;
mod identity;
mod instances;
mod pages;
mod services;
mod serving;
mod support;
