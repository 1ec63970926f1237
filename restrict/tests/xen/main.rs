// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that need real Xen: `cargo lab test` builds them, boots Xen, and runs
//! them in its dom0 beside the guests A and B of `lab/guest`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod bad_input;
mod brokered;
mod brokered_ends;
mod dm_op;
mod dom0;
mod event_channels;
mod facts;
mod grants;
mod guest_memory;
mod handover;
mod hypercalls;
mod ioreq;
mod numbers;
mod restrict_all;
mod restriction;
mod support;
mod xen_requests;
