// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hypercall numbers (`__HYPERVISOR_*` of Xen's `public/xen.h`), as privcmd
//! takes them.

/// `memory_op`: see [`memory`](crate::memory).
pub const MEMORY_OP: u64 = 12;
/// `multicall`: see [`multicall`](crate::multicall).
pub const MULTICALL: u64 = 13;
/// `xen_version`: see [`version`](crate::version).
pub const XEN_VERSION: u64 = 17;
/// `grant_table_op`: see [`grant_table`](crate::grant_table).
pub const GRANT_TABLE_OP: u64 = 20;
/// `sched_op`: see [`sched`](crate::sched).
pub const SCHED_OP: u64 = 29;
/// `event_channel_op`: see [`event_channel`](crate::event_channel).
pub const EVENT_CHANNEL_OP: u64 = 32;
/// `hvm_op`: see [`hvm_op`](crate::hvm_op).
pub const HVM_OP: u64 = 34;
/// `dm_op`: see [`dm_op`](crate::dm_op). Through [`privcmd::DM_OP`](crate::privcmd::DM_OP)
/// rather than as a hypercall.
pub const DM_OP: u64 = 41;
