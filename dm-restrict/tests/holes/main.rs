// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Linux does not check on a restricted handle (`docs/kernel-holes.md`), on real Xen: by
//! the same program, with a filter and without. `cargo lab test` runs these.
//!
//! `closed` and `left` run with all other tests. Those of `open` damage or stop the machine:
//! the lab gives each a boot of its own, and knows how that one has to end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alive;
mod closed;
mod left;
mod open;
mod probe;
