// SPDX-License-Identifier: MIT OR Apache-2.0
//! The half of the work that has nothing to do with Xen: what a device model's
//! *process* can do to the machine it runs on.
//!
//! [`Mechanism`] names what there is, [`launch`](crate::launch) applies it to a program, and
//! [`Seal`] to the process that calls it.

mod arguments;
mod bpf;
#[cfg(test)]
pub(crate) mod by_hand;
pub(crate) mod capabilities;
pub mod cgroup;
pub(crate) mod credentials;
#[cfg(test)]
mod document;
pub(crate) mod fds;
mod hidepid;
mod identity;
pub(crate) mod keyring;
pub mod landlock;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod laws;
pub(crate) mod load;
mod mapping_cost;
mod mechanism;
mod mounts;
pub(crate) mod named;
pub(crate) mod namespaces;
pub(crate) mod no_new_privs;
pub(crate) mod not_sent;
pub(crate) mod notify;
pub(crate) mod only_files;
pub(crate) mod parent_death;
pub(crate) mod proc_file;
pub(crate) mod qemu;
mod reap;
pub(crate) mod renamers;
pub(crate) mod rlimits;
pub(crate) mod root;
pub(crate) mod scheduling;
mod seal;
pub mod seccomp;
mod sender;
pub(crate) mod session;
mod syscalls;
pub(crate) mod umask;
mod userdb;
pub mod xen_requests;

pub use identity::{
    ADD_RANGE_BASE, ADD_REAPER, Identity, IdentityError, MOVE_RANGE_BASE, RANGE_BASE, REAPER, Rule,
    SHARED, UIDS_IN_RANGE,
};
pub use mapping_cost::MappingCost;
pub use mechanism::{Mechanism, MechanismError, Profile, UnknownMechanism, UnknownProfile};
pub use reap::{Process, ReapError, Reaped, Reaper};
pub(crate) use reap::{sees_all, takes_ptrace};
pub use rlimits::{InvalidLimit, Limit};
pub use seal::{Seal, Sealed};
pub use userdb::{Account, SubuidLine, UserDb, UserDbError};
