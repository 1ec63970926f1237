// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks live beside this file: `user_space/` for what needs no Xen.

use std::env;

/// Whether it is only to be seen that all runs: the numbers mean nothing then.
#[must_use]
pub fn is_trial() -> bool {
    env::var_os("BENCH_TRIAL").is_some()
}

/// How often something is measured.
#[must_use]
pub fn rounds(usual: usize) -> usize {
    if is_trial() { 1 } else { usual }
}
