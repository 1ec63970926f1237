// SPDX-License-Identifier: MIT OR Apache-2.0
//! What may be named for a root directory: files, and nothing that does something for
//! whoever reaches it. Read-only stops neither a connection nor writing into a FIFO.

use std::{
    fs::{self, File, Metadata},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};

use super::{
    mechanism::{Mechanism, MechanismError},
    named::Named,
    root::{Shown, open_path},
};

/// What is no file: where it is, and what it does for others.
type Found = (PathBuf, &'static str);

const LISTENS: &str = "the socket, and somebody listens there";
const FIFO: &str = "the FIFO, and whoever reads it takes what is written";

/// Refuses a device; and a FIFO, and a socket at which somebody listens now, also
/// somewhere below.
///
/// The tree is walked: /proc/net/unix has neither the sockets of other network
/// namespaces, which are reached by their paths all the same, nor where those are that
/// were bound by a relative path. By descriptors from what was named on: names may lead
/// elsewhere by now.
pub(crate) fn only_files(named: &[Named]) -> Result<(), MechanismError> {
    for Named { path, at, .. } in named {
        let of_path = |error| failed(path, &error);
        let kind = metadata(at.as_fd()).map_err(of_path)?.file_type();
        if kind.is_block_device() || kind.is_char_device() {
            let reason = format!("{} is a device", Shown(path));
            let remedy = "hand over an open descriptor by `--fd`, or see `--dev`";
            return Err(MechanismError::new(Mechanism::Root, reason, remedy));
        }
        let found = match kind.is_dir() {
            true => below(at.as_fd(), path.clone()),
            false => no_file(at.as_fd(), path.clone()),
        };
        if let Some((found, what)) = found.map_err(of_path)? {
            let reason = format!("{} has {} in it: {what}", Shown(path), Shown(&found));
            let remedy = "name the files that are needed instead; hand over a connection or a pipe by `--fd`";
            return Err(MechanismError::new(Mechanism::Root, reason, remedy));
        }
    }
    Ok(())
}

/// A directory that is being read, and where it is: one for each level.
struct Level {
    at: OwnedFd,
    entries: fs::ReadDir,
    path: PathBuf,
}

impl Level {
    fn new(at: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let entries = fs::read_dir(by_number(at.as_fd()))?;
        Ok(Self { at, entries, path })
    }
}

fn below(directory: BorrowedFd<'_>, path: PathBuf) -> io::Result<Option<Found>> {
    let mut levels = vec![Level::new(directory.try_clone_to_owned()?, path)?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.next().transpose()? else {
            levels.pop();
            continue;
        };
        let kind = entry.file_type()?;
        if kind.is_file() || kind.is_symlink() {
            continue;
        }
        let path = level.path.join(entry.file_name());
        let at = match open_path(Some(level.at.as_fd()), entry.file_name().as_ref()) {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if metadata(at.as_fd())?.is_dir() {
            levels.push(Level::new(at, path)?);
        } else if let Some(found) = no_file(at.as_fd(), path)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Not a directory. A device does nothing where the mount says so.
fn no_file(at: BorrowedFd<'_>, path: PathBuf) -> io::Result<Option<Found>> {
    let kind = metadata(at)?.file_type();
    let what = if kind.is_fifo() {
        FIFO
    } else if kind.is_socket() && answers(at)? {
        LISTENS
    } else {
        return Ok(None);
    };
    Ok(Some((path, what)))
}

fn metadata(at: BorrowedFd<'_>) -> io::Result<Metadata> {
    // The standard library asks a descriptor only by way of a file, which this is not.
    let file = File::from(at.try_clone_to_owned()?);
    file.metadata()
}

/// Whether somebody listens. A connection of datagrams is nothing that would be noticed.
fn answers(at: BorrowedFd<'_>) -> io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ours = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // A path to a socket may have 108 bytes, and this one is short.
    let address = UnixAddr::new(by_number(at).as_str())?;
    match connect(ours.as_raw_fd(), &address) {
        Err(Errno::ECONNREFUSED) => Ok(false),
        // Another kind of socket, or not for everybody: but there.
        Ok(()) | Err(Errno::EPROTOTYPE | Errno::EPERM | Errno::EACCES) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn by_number(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn failed(path: &std::path::Path, error: &io::Error) -> MechanismError {
    let remedy = "name what can be looked at, or leave it out by `--without root`";
    let reason = format!("{}: look for sockets in it: {error}", Shown(path));
    MechanismError::new(Mechanism::Root, reason, remedy)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::net::{UnixDatagram, UnixListener},
        path::Path,
    };

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;
    use crate::confine::{named, root::Contents};

    fn is_fine(path: &Path) -> bool {
        let contents = Contents {
            read_only: vec![path.to_owned()],
            ..Contents::default()
        };
        named::open(&contents).is_ok_and(|named| only_files(&named).is_ok())
    }

    #[test]
    fn a_socket_counts_while_somebody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        assert!(is_fine(dir.path()));
        let stream = UnixListener::bind(deep.join("stream")).unwrap();
        assert!(!is_fine(dir.path()) && !is_fine(&deep.join("stream")));
        drop(stream);
        assert!(is_fine(dir.path()));
        let datagrams = UnixDatagram::bind(deep.join("datagrams")).unwrap();
        assert!(!is_fine(dir.path()));
        drop(datagrams);
        assert!(is_fine(dir.path()));
        // By a path that is longer than a socket's may be.
        let long = deep.join("x".repeat(200));
        fs::create_dir(&long).unwrap();
        fs::rename(deep.join("stream"), long.join("stream")).unwrap();
        assert!(is_fine(dir.path()));
        fs::remove_file(long.join("stream")).unwrap();
        let stream = UnixListener::bind(deep.join("stream")).unwrap();
        fs::rename(deep.join("stream"), long.join("stream")).unwrap();
        assert!(!is_fine(dir.path()));
        drop(stream);
    }

    #[test]
    fn a_fifo_counts_at_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let fifo = deep.join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert!(!is_fine(dir.path()) && !is_fine(&deep) && !is_fine(&fifo));
        fs::remove_file(&fifo).unwrap();
        assert!(is_fine(dir.path()));
    }

    #[test]
    fn files_are_fine_devices_and_what_is_missing_are_not() {
        assert!(is_fine(Path::new("/etc/passwd")));
        assert!(!is_fine(Path::new("/dev/null")));
        assert!(!is_fine(Path::new("/nonexistent/x")));
    }
}
