// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are: the workspace, its build folder, the cache, and a folder per run.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::statvfs::statvfs;

use crate::process;

/// The workspace's root.
pub(crate) fn workspace() -> PathBuf {
    // Cargo sets the variable when it runs the program; what it was when the program was
    // built is the second best.
    let lab = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    lab.parent().map_or_else(|| lab.clone(), Path::to_path_buf)
}

/// Cargo, the one that runs the lab.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Cargo's build folder, as cargo itself says.
///
/// # Errors
/// Cargo fails.
pub(crate) fn target() -> Result<PathBuf> {
    let output = process::run(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .context("`cargo metadata` names no target_directory")
}

/// The cache of packages and images of a suite, shared by all clones of one user.
///
/// # Errors
/// There is no place for it.
pub(crate) fn cache(suite: &str) -> Result<PathBuf> {
    let base = if let Some(path) = env::var_os("XEN_LAB_CACHE") {
        PathBuf::from(path)
    } else if let Some(path) = env::var_os("XDG_CACHE_HOME").filter(|p| !p.is_empty()) {
        PathBuf::from(path).join("xen-restrict-lab")
    } else if let Some(home) = env::var_os("HOME") {
        PathBuf::from(home).join(".cache/xen-restrict-lab")
    } else {
        bail!("no place for the cache: set XEN_LAB_CACHE to a folder");
    };
    let folder = std::path::absolute(base)?.join(suite);
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create the cache folder {}", folder.display()))?;
    Ok(folder)
}

/// Waits until no other lab works in the folder. The lock ends with the returned file.
///
/// # Errors
/// The lock file cannot be made.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if file.try_lock().is_err() {
        crate::progress::say("waiting for another lab that fills the cache");
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// Fails early when a disk is nearly full, which would otherwise end in a riddle.
///
/// # Errors
/// There is less room than needed.
pub(crate) fn need_room(folder: &Path, mebibytes: u64) -> Result<()> {
    let stat = statvfs(folder)
        .with_context(|| format!("cannot ask for the free room in {}", folder.display()))?;
    let free = (stat.blocks_available() * stat.fragment_size()) >> 20;
    if free < mebibytes {
        bail!(
            "only {free} MiB are free in {}, and the lab needs {mebibytes}: make room there, \
             or set XEN_LAB_CACHE and CARGO_TARGET_DIR to folders on another disk",
            folder.display()
        );
    }
    Ok(())
}

/// How many runs' logs are kept.
const RUNS_KEPT: usize = 20;

/// A new folder for this run, whose name no other run has.
///
/// # Errors
/// It cannot be made.
pub(crate) fn run_folder(target: &Path) -> Result<PathBuf> {
    let runs = target.join("lab/runs");
    fs::create_dir_all(&runs).with_context(|| format!("cannot create {}", runs.display()))?;
    let mut old: Vec<_> = fs::read_dir(&runs)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    old.sort();
    old.truncate(old.len().saturating_sub(RUNS_KEPT));
    for (_, path) in old {
        // Another lab may be removing it too.
        let _ = fs::remove_dir_all(path);
    }
    let folder = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(&runs)
        .with_context(|| format!("cannot create a folder in {}", runs.display()))?;
    Ok(folder.keep())
}
