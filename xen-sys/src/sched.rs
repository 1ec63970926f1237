// SPDX-License-Identifier: MIT OR Apache-2.0
//! The `sched_op` hypercall (Xen's `public/sched.h`), as far as a guest that
//! waits and ends needs it.

/// `SCHEDOP_yield`
pub const YIELD: u32 = 0;
/// `SCHEDOP_block`: until an event arrives.
pub const BLOCK: u32 = 1;
/// `SCHEDOP_shutdown`: see [`Shutdown`].
pub const SHUTDOWN: u32 = 2;
/// `SCHEDOP_poll`: see [`Poll`].
pub const POLL: u32 = 3;

/// `SHUTDOWN_poweroff`
pub const SHUTDOWN_POWEROFF: u32 = 0;
/// `SHUTDOWN_reboot`
pub const SHUTDOWN_REBOOT: u32 = 1;
/// `SHUTDOWN_suspend`
pub const SHUTDOWN_SUSPEND: u32 = 2;
/// `SHUTDOWN_crash`
pub const SHUTDOWN_CRASH: u32 = 3;
/// `SHUTDOWN_watchdog`
pub const SHUTDOWN_WATCHDOG: u32 = 4;
/// `SHUTDOWN_soft_reset`
pub const SHUTDOWN_SOFT_RESET: u32 = 5;

abi! {
    /// `struct sched_shutdown`
    pub struct Shutdown: 4 {
        /// One of `SHUTDOWN_*`.
        reason: u32 = 0,
    }

    /// `struct sched_poll`
    pub struct Poll: 24 {
        /// Address of `nr_ports` ports (u32 each).
        ports: u64 = 0,
        /// How many ports; at most 128.
        nr_ports: u32 = 8,
        /// Zero.
        pad: u32 = 12,
        /// When to stop waiting, in nanoseconds since boot; 0 for never.
        timeout: u64 = 16,
    }
}
