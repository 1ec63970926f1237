// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that are going to be executed. What this process forks while it writes one has
//! it open for writing until it executes another program: "text file busy".

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command},
    sync::{PoisonError, RwLock},
};

/// Held by those that fork, or alone by one that writes.
static FORKING: RwLock<()> = RwLock::new(());

/// Writes a file that anybody may execute.
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    let _alone = FORKING.write().unwrap_or_else(PoisonError::into_inner);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The same, as a copy.
pub(crate) fn copy(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        write(to, &fs::read(from).unwrap());
    }
}

/// Starts a process; returns when that has executed its program.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let _forking = FORKING.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}
