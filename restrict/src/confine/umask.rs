// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `umask`: new files are the process's own.

use nix::sys::stat::{Mode, umask};

/// Nothing for group and others. Cannot fail.
pub(crate) fn set() {
    umask(Mode::from_bits_truncate(0o077));
}
