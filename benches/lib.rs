// SPDX-License-Identifier: MIT OR Apache-2.0
//! Benchmarks live beside this file: `user_space/` for what needs no Xen.
