// SPDX-License-Identifier: MIT OR Apache-2.0
//! What may be named for a root directory: files, and nothing that does something for
//! whoever reaches it. Read-only does not stop a connection.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
        stat::Mode,
    },
};

use super::{
    mechanism::{Mechanism, MechanismError},
    root::Shown,
};

/// Refuses a device, and a socket at which somebody listens now, also somewhere below.
///
/// The tree is walked: /proc/net/unix has neither the sockets of other network
/// namespaces, which are reached by their paths all the same, nor where those are that
/// were bound by a relative path.
pub(crate) fn only_files<'a>(
    paths: impl Iterator<Item = &'a PathBuf>,
) -> Result<(), MechanismError> {
    for path in paths {
        let of_path = |error| failed(path, &error);
        let kind = fs::metadata(path).map_err(of_path)?.file_type();
        if kind.is_block_device() || kind.is_char_device() {
            let reason = format!("{} is a device", Shown(path));
            let remedy = "hand over an open descriptor by `--fd`, or see `--dev`";
            return Err(MechanismError::new(Mechanism::Root, reason, remedy));
        }
        let socket = match kind.is_socket() {
            true => answers(path).map(|answers| answers.then(|| path.clone())),
            false if kind.is_dir() => socket_below(path),
            false => Ok(None),
        };
        if let Some(socket) = socket.map_err(of_path)? {
            let reason = format!(
                "{} has the socket {} in it, and somebody listens there",
                Shown(path),
                Shown(&socket)
            );
            let remedy = "name the files that are needed instead; hand over a connection by `--fd`";
            return Err(MechanismError::new(Mechanism::Root, reason, remedy));
        }
    }
    Ok(())
}

fn socket_below(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_socket() && answers(&entry.path())? {
                return Ok(Some(entry.path()));
            }
        }
    }
    Ok(None)
}

/// Whether somebody listens. A connection of datagrams is nothing that would be noticed.
fn answers(path: &Path) -> io::Result<bool> {
    let at = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(false),
        other => other?,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ours = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // A path to a socket may have 108 bytes, and this one is short.
    let address = UnixAddr::new(format!("/proc/self/fd/{}", at.as_raw_fd()).as_str())?;
    match connect(ours.as_raw_fd(), &address) {
        Err(Errno::ECONNREFUSED) => Ok(false),
        // Another kind of socket, or not for everybody: but there.
        Ok(()) | Err(Errno::EPROTOTYPE | Errno::EPERM | Errno::EACCES) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn failed(path: &Path, error: &io::Error) -> MechanismError {
    let remedy = match error.raw_os_error() {
        Some(libc::ENOENT) => "name what exists, by its path in this machine",
        _ => "name what can be looked at, or leave it out by `--without root`",
    };
    let reason = format!("{}: look for sockets in it: {error}", Shown(path));
    MechanismError::new(Mechanism::Root, reason, remedy)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn is_fine(path: &Path) -> bool {
        only_files([path.to_owned()].iter()).is_ok()
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
    fn files_are_fine_devices_and_what_is_missing_are_not() {
        assert!(is_fine(Path::new("/etc/passwd")));
        assert!(!is_fine(Path::new("/dev/null")));
        assert!(!is_fine(Path::new("/nonexistent/x")));
    }
}
