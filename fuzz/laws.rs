// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is fuzzed: the laws that `xen-sys`'s property tests check too.

#[path = "../xen-sys/tests/roundtrip/laws.rs"]
pub mod laws;

#[path = "../xen-sys/tests/roundtrip/encode.rs"]
pub mod encode;
