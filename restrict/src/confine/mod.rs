// SPDX-License-Identifier: MIT OR Apache-2.0
//! The half of the work that has nothing to do with Xen: what a device model's
//! *process* can do to the machine it runs on.
//!
//! So far: whose uid it runs under ([`Identity`]), and an end of all that runs
//! under that uid ([`Reaper`]).

mod arguments;
mod bpf;
pub mod cgroup;
mod filters;
mod identity;
pub mod landlock;
mod load;
mod mechanism;
mod notify;
mod reap;
pub mod seccomp;
mod sender;
mod syscalls;
mod userdb;
pub mod xen_requests;

pub use identity::{
    ADD_RANGE_BASE, ADD_REAPER, Identity, IdentityError, RANGE_BASE, REAPER, Rule, SHARED,
    UIDS_IN_RANGE,
};
pub use mechanism::{Mechanism, MechanismError, Profile, UnknownMechanism, UnknownProfile};
pub use reap::{Process, ReapError, Reaped, Reaper};
pub use userdb::{Account, SubuidLine, UserDb, UserDbError};
