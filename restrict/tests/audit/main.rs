// SPDX-License-Identifier: MIT OR Apache-2.0
//! Audits of real processes, on any Linux. Each confines itself in every way that can be
//! seen from outside, but for what a test wants wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod descriptors;
mod errors;
mod filters;
mod flaws;
mod json;
mod names;
mod races;
mod stuck;
mod subject;
mod support;
