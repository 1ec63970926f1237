// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `cgroup`: limits of all of a program's processes together, and an end
//! of all of them by one write. Control groups version 2 only.
//!
//! [`probe`] finds the place that is ours to use, [`Leaf::create`] makes a group there
//! with its limits on, and the program's first process joins it before it runs
//! anything. The supervisor stays outside: what the program uses up is not its own.
//!
//! ```no_run
//! use xen_restrict::confine::cgroup::{self, Leaf, Limits};
//! let parent = cgroup::probe()?;
//! cgroup::remove_stale(&parent, "7-dm")?;
//! let (pids, memory, swap) = (Some(64), Some(512 << 20), Some(0));
//! let limits = Limits { pids, memory, swap, ..Limits::default() };
//! let leaf = Leaf::create(&parent, "7-dm", limits)?;
//! // In the child, before exec: leaf.join()?;
//! // When it has ended:
//! leaf.remove()?;
//! # Ok::<(), xen_restrict::confine::MechanismError>(())
//! ```

mod dir;
mod leaf;
mod own;
mod parent;
mod scope;

use std::{fmt::Display, io};

use super::mechanism::{Mechanism, MechanismError};

pub use leaf::{Leaf, Limits, remove_stale};
pub use parent::{Parent, probe};
pub use scope::{has_scopes, scope};

/// What was tried, and the kernel's answer.
fn failed(what: impl Display, error: &io::Error) -> MechanismError {
    let remedy = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "start it as root, and where root has no write access, outside of the container"
        }
        Some(libc::EAGAIN) => {
            "a group above allows no more: raise its cgroup.max.descendants and cgroup.max.depth"
        }
        Some(libc::EBUSY) => "end the processes that are in the group (its file cgroup.procs)",
        Some(libc::EEXIST) => {
            "an instance of that name runs, or was left behind: `dm-restrict list`, `dm-restrict reap`"
        }
        Some(libc::EINVAL) => "choose a smaller limit: pids.max is below 4194304",
        Some(libc::ENODEV | libc::ENOENT) => {
            "somebody removed the group meanwhile: let only one program manage it, and start again"
        }
        Some(libc::ENOSPC | libc::ENOMEM) => {
            "the machine has too many control groups (65535 with the memory controller): remove some"
        }
        Some(libc::EOPNOTSUPP) => "the group above is threaded: start it in one that is not",
        Some(libc::EROFS) => {
            "control groups are mounted read-only: mount -o remount,rw /sys/fs/cgroup, or start it \
             outside of the container"
        }
        _ => "or leave it out by `--without cgroup`",
    };
    MechanismError::new(Mechanism::Cgroup, format!("{what}: {error}"), remedy)
}

/// The machine does not offer it here.
fn absent(reason: impl Into<String>, remedy: impl Into<String>) -> MechanismError {
    MechanismError::new(Mechanism::Cgroup, reason, remedy)
}
