// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict run` on any Linux: what a confined program is, what it can do, and what
//! becomes of a launch that goes wrong. By a probe that is confined for real.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod alone;
mod audited;
mod bad_input;
mod descriptors;
mod filters;
mod first_instruction;
mod instances;
mod lifecycle;
mod mechanisms;
mod output;
mod phases;
mod root;
mod sealed;
mod swapped;
mod terminal;
mod unprivileged;
