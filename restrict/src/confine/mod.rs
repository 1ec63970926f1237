// SPDX-License-Identifier: MIT OR Apache-2.0
//! The half of the work that has nothing to do with Xen: what a device model's
//! *process* can do to the machine it runs on.
//!
//! So far: whose uid it runs under ([`Identity`]), and an end of all that runs
//! under that uid ([`Reaper`]).

mod arguments;
pub(crate) mod umask;
pub(crate) mod session;
pub(crate) mod root;
pub(crate) mod rlimits;
pub(crate) mod parent_death;
pub(crate) mod no_new_privs;
pub(crate) mod namespaces;
mod mounts;
pub(crate) mod keyring;
pub(crate) mod fds;
pub(crate) mod credentials;
pub(crate) mod capabilities;
mod bpf;
pub mod cgroup;
mod identity;
pub mod landlock;
mod load;
mod mechanism;
pub(crate) mod notify;
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
pub use rlimits::{InvalidLimit, Limit};
pub use userdb::{Account, SubuidLine, UserDb, UserDbError};
