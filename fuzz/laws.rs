// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is fuzzed: the laws that the property tests of `xen-sys` and of the grant broker
//! check too.

#[path = "../xen-sys/tests/roundtrip/laws.rs"]
pub mod laws;

#[path = "../xen-sys/tests/roundtrip/encode.rs"]
pub mod encode;

// The law's `super::message`.
use xen_restrict::broker::message;

#[path = "../restrict/src/broker/tests/laws.rs"]
pub mod grant_broker;
