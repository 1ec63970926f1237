// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with an option.

use super::MAX_GRANT_QUOTA;
use crate::confine::{Mechanism, Profile};

/// An option that makes no sense, whatever the machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOption {
    /// Not a device.
    #[error("there is no device \"{0}\" to hand over; there are privcmd, evtchn, gntdev")]
    Device(String),
    /// Not `NAME=NUM`.
    #[error("\"{0}\" is not NAME=NUM, as in log=5")]
    Fd(String),
    /// Not a name for a descriptor.
    #[error(
        "\"{0}\" cannot be a descriptor's name: 1 to 255 printable ASCII characters without `:` and \
         `=`, and not beginning with xen-"
    )]
    FdName(String),
    /// Two descriptors with one name, or one descriptor twice.
    #[error("descriptor {0} is named twice")]
    FdTwice(String),
    /// Not a name for an instance.
    #[error("\"{0}\" cannot be an instance's name: 1 to 64 of A-Z a-z 0-9 _ - and, not first, `.`")]
    Instance(String),
    /// Not a name for a variable.
    #[error("\"{0}\" cannot be a variable's name: not empty, without `=` and NUL")]
    EnvName(String),
    /// A variable that the launcher sets.
    #[error("the variable \"{0}\" is set by the launcher")]
    EnvTaken(String),
    /// A variable to be passed on that is not there.
    #[error("the variable \"{0}\" is not set here; give it a value by NAME=VALUE")]
    EnvMissing(String),
    /// A mechanism that is both left out and required.
    #[error("{0} is both left out and required")]
    Contradiction(Mechanism),
    /// Required, and not part of the profile.
    #[error("{mechanism} is required, and not part of profile {profile}")]
    NotInProfile {
        /// Which.
        mechanism: Mechanism,
        /// Of which.
        profile: Profile,
    },
    /// A mechanism that stays needs one that is left out.
    #[error("{mechanism} needs {needs}: leave out both, or none")]
    Needs {
        /// Which stays.
        mechanism: Mechanism,
        /// Which is left out.
        needs: Mechanism,
    },
    /// The profile of `dm-restrict qemu`, or the reverse.
    #[error(
        "profile qemu is for a QEMU that libxl starts, by `dm-restrict qemu`, and for nothing else"
    )]
    NotRun,
    /// Without it nobody would know when QEMU gives root up.
    #[error("{0} cannot be left out of profile qemu")]
    NeededByQemu(
        /// Which.
        Mechanism,
    ),
    /// An option of a mechanism that is not in effect.
    #[error("{option} is of no effect without {mechanism}")]
    NoEffect {
        /// Which option.
        option: &'static str,
        /// The mechanism that would be needed.
        mechanism: Mechanism,
    },
    /// Neither a guest nor a user.
    #[error("whose identity? Name a guest by --domid, or a user by --user (with --no-xen)")]
    Nobody,
    /// Handles without a guest.
    #[error(
        "Xen handles are handed over for a guest: name it by --domid, or none of them by --no-xen"
    )]
    NoGuest,
    /// No program.
    #[error("no program is named")]
    NoProgram,
    /// A NUL in an argument or path.
    #[error("\"{0}\" has a NUL in it")]
    Nul(String),
    /// A path with `..`, or empty.
    #[error("the path \"{0}\" is empty, / itself, or has `..` in it: name it by where it is")]
    Path(String),
    /// A path that is in the program's root for two reasons.
    #[error("the path \"{path}\" is given by {also}: one of them would hide the other")]
    PathTwice {
        /// The path.
        path: String,
        /// By what else.
        also: &'static str,
    },
    /// Not a mode, or not a quota.
    #[error(
        "\"{0}\" is not revoked, brokered, or brokered=PAGES with 1 to {MAX_GRANT_QUOTA} pages"
    )]
    Grants(String),
    /// A broker for a device that is not handed over.
    #[error("--grants brokered is of no use without gntdev in --xen")]
    GrantsWithoutDevice,
    /// Not a limit of a control group.
    #[error(
        "\"{0}\" is not a limit: pids.max, memory.max, memory.swap.max, cpu.max (1000 or more) = a \
             number, or max; cpu.weight = 1 to 10000"
    )]
    CgroupLimit(String),
    /// A size that is no size.
    #[error("\"{0}\" is not a size: a number of bytes, or one with K, M or G, above 0")]
    Size(String),
}
