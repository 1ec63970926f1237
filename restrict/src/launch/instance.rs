// SPDX-License-Identifier: MIT OR Apache-2.0
//! The directory of a running program, `/run/dm-restrict/<whose>/<instance>`: root's, with
//! what was applied and the supervisor's socket.
//!
//! The supervisor holds a lock on the directory. What a killed one left has none, and
//! is removed by the next that comes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use super::{error::LaunchError, record::Record};
use crate::ids::GuestId;

/// Where the directories of all instances are.
pub const RUN_DIR: &str = "/run/dm-restrict";
const APPLIED: &str = "applied.json";
const CONTROL: &str = "control";
const LOCK: &str = "lock";

/// Ours, while it lives.
pub(crate) struct Instance {
    key: String,
    directory: PathBuf,
    _lock: File,
}

/// A turn at the directories of one guest.
pub(crate) struct Turn {
    directory: PathBuf,
    key: String,
    _lock: File,
}

impl Turn {
    /// Waits for it. `key` is a domid, or says whose else.
    pub(crate) fn wait(key: &str) -> Result<Self, LaunchError> {
        let run = Path::new(RUN_DIR);
        make_directory(run, 0o755)?;
        let directory = run.join(key);
        loop {
            make_directory(&directory, 0o700)?;
            let path = directory.join(LOCK);
            let file = match open_lock(&path) {
                // The last instance just removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    // If it is new: it stays only when it is of use.
                    let _ = fs::remove_dir(&directory);
                    return Err(failed("open the lock", &path)(error));
                }
                Ok(file) => file,
            };
            file.lock().map_err(failed("lock", &path))?;
            if is_at(&file, &path) {
                return Ok(Self {
                    directory,
                    key: key.to_owned(),
                    _lock: file,
                });
            }
        }
    }

    /// Removes what is left of dead instances, never a process; returns the names of those
    /// that live.
    pub(crate) fn live(&self) -> Result<Vec<String>, LaunchError> {
        let mut live = Vec::new();
        for (name, path) in instances(&self.directory)? {
            if is_locked(&path) {
                live.push(name);
            } else if remove_group(&path) {
                fs::remove_dir_all(&path).map_err(failed("remove what is left in", &path))?;
            }
        }
        Ok(live)
    }

    /// Makes the directory of a new instance.
    pub(crate) fn claim(&self, name: &str) -> Result<Instance, LaunchError> {
        if self.live()?.iter().any(|other| other == name) {
            return Err(LaunchError::Runs {
                key: self.key.clone(),
                instance: name.to_owned(),
            });
        }
        let directory = self.directory.join(name);
        let made = DirBuilder::new().mode(0o700).create(&directory);
        made.map_err(failed("make", &directory))?;
        let path = directory.join(LOCK);
        let lock = open_lock(&path).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        match lock {
            Ok(lock) => Ok(Instance {
                key: self.key.clone(),
                _lock: lock,
                directory,
            }),
            Err(error) => {
                let _ = fs::remove_dir_all(&directory);
                Err(failed("lock", &path)(error))
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Only an empty one goes: but for the lock.
        let empty = instances(&self.directory).is_ok_and(|left| left.is_empty());
        if empty && fs::remove_file(self.directory.join(LOCK)).is_ok() {
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

impl Instance {
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Writes what was applied, whole or not at all.
    pub(crate) fn write(&self, record: &Record) -> Result<(), LaunchError> {
        let path = self.directory.join(APPLIED);
        let new = self.directory.join("applied.new");
        let mut text = serde_json::to_vec_pretty(record)
            .map_err(|error| failed("write", &path)(error.into()))?;
        text.push(b'\n');
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed("make", &new))?;
        file.write_all(&text).map_err(failed("write", &new))?;
        fs::rename(&new, &path).map_err(failed("write", &path))
    }

    /// The socket at which the supervisor takes orders.
    pub(crate) fn listen(&self) -> Result<UnixListener, LaunchError> {
        let path = self.directory.join(CONTROL);
        let listener = UnixListener::bind(&path).map_err(failed("listen at", &path))?;
        listener
            .set_nonblocking(true)
            .map_err(failed("listen at", &path))?;
        Ok(listener)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Programs that run now, with what was applied to them.
///
/// # Errors
/// `/run/dm-restrict` cannot be read, or what is written there is not ours.
pub fn running() -> Result<Vec<Record>, LaunchError> {
    let run = Path::new(RUN_DIR);
    let keys = match fs::read_dir(run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", run))?,
    };
    is_roots(run).map_err(failed("trust", run))?;
    let mut found = Vec::new();
    for key in keys {
        let key = key.map_err(failed("list", run))?.path();
        if !key.is_dir() {
            continue;
        }
        for (_, directory) in instances(&key)? {
            let path = directory.join(APPLIED);
            // While it is being started there is no record yet.
            let text = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed("read", &path))?,
            };
            if is_locked(&directory) {
                let record = serde_json::from_slice(&text);
                found.push(record.map_err(|error| failed("understand", &path)(error.into()))?);
            }
        }
    }
    found.sort_by(|a: &Record, b: &Record| (a.domid, &a.instance).cmp(&(b.domid, &b.instance)));
    Ok(found)
}

/// Removes what killed supervisors of a guest's programs left: directories and control
/// groups. Whatever still runs keeps its own.
///
/// # Errors
/// They cannot be removed.
pub fn remove_stale(guest: GuestId) -> Result<(), LaunchError> {
    Turn::wait(&guest.get().to_string())?.live().map(drop)
}

/// The control group that a dead instance had. False while there are processes in it:
/// they have to be reaped first, and it must be known then.
fn remove_group(instance: &Path) -> bool {
    let record = fs::read(instance.join(APPLIED)).ok();
    let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    let Some(group) = record.and_then(|record| record.cgroup) else {
        return true;
    };
    match fs::remove_dir(group) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Where the supervisor of an instance listens.
pub(crate) fn control_socket(key: &str, name: &str) -> PathBuf {
    Path::new(RUN_DIR).join(key).join(name).join(CONTROL)
}

fn instances(directory: &Path) -> Result<Vec<(String, PathBuf)>, LaunchError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed("list", directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list", directory))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push((
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            ));
        }
    }
    Ok(found)
}

fn is_locked(directory: &Path) -> bool {
    let lock = OpenOptions::new().read(true).open(directory.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Whether the file that was locked is still the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => inode(ours) == inode(there),
        _ => false,
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), LaunchError> {
    loop {
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make", path)(error));
            }
            _ => {}
        }
        match is_roots(path) {
            // Removed by the last instance, which was there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(failed("trust", path)),
        }
    }
}

/// Root's, and nobody else's to write to.
fn is_roots(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() && metadata.uid() == 0 && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    let message = "it is not a directory of root's that nobody else can write to: remove it";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LaunchError {
    let path = path.to_owned();
    move |source| LaunchError::Record { what, path, source }
}
