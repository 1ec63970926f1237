// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the toolstack has written down, by xenstored's word: reading only.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::GuestId;

/// Where xenstored listens; the older path leads to the same.
const SOCKET: &str = "/run/xenstored/socket";
/// Of `enum xsd_sockmsg_type` in Xen's `io/xs_wire.h`.
const DIRECTORY: u32 = 1;
const READ: u32 = 2;
pub(crate) const IS_DOMAIN_INTRODUCED: u32 = 17;
/// `XENSTORE_PAYLOAD_MAX`.
pub(crate) const MOST: u32 = 4096;
/// One that is so slow is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// `struct xsd_sockmsg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    pub(crate) request: u32,
    pub(crate) transaction: u32,
    pub(crate) length: u32,
}

/// A connection.
pub(crate) struct Store(UnixStream);

impl Store {
    pub(crate) fn connect() -> io::Result<Self> {
        Self::connect_to(Path::new(SOCKET))
    }

    fn connect_to(path: &Path) -> io::Result<Self> {
        // To wait for one that accepts nobody has no end.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?).map_err(|errno| match errno {
            Errno::EAGAIN => ErrorKind::TimedOut.into(),
            other => io::Error::from(other),
        })?;
        let socket = UnixStream::from(socket);
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    pub(crate) fn is_introduced(&mut self, guest: GuestId) -> io::Result<bool> {
        match &*self.ask(IS_DOMAIN_INTRODUCED, &guest.get().to_string())? {
            b"T\0" => Ok(true),
            b"F\0" => Ok(false),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// The files that the toolstack has given to a guest for its disks: those of now.
    pub(crate) fn disks(&mut self, guest: GuestId) -> io::Result<Vec<String>> {
        // Its own notes: no guest writes there, but every program of dom0's that is connected.
        let all = format!("/libxl/{}/device/vbd", guest.get());
        let mut paths = Vec::new();
        for device in self.directory(&all)? {
            let params = self.ask(READ, &format!("{all}/{device}/params"))?;
            paths.extend(path_of(&params));
        }
        Ok(paths)
    }

    fn directory(&mut self, path: &str) -> io::Result<Vec<String>> {
        let names = self.ask(DIRECTORY, path)?;
        let names = names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        let name = |name: &[u8]| String::from_utf8(name.to_vec());
        let names: Result<_, _> = names.map(name).collect();
        names.map_err(io::Error::other)
    }

    fn ask(&mut self, kind: u32, what: &str) -> io::Result<Vec<u8>> {
        let question = [what.as_bytes(), &[0]].concat();
        let header = Header {
            kind,
            length: u32::try_from(question.len()).map_err(io::Error::other)?,
            ..Header::default()
        };
        self.0.write_all(&[header.as_bytes(), &question].concat())?;
        let mut answer = Header::default();
        self.0.read_exact(answer.as_mut_bytes())?;
        if answer.kind != kind || answer.length > MOST {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; usize::try_from(answer.length).map_err(io::Error::other)?];
        self.0.read_exact(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
impl From<UnixStream> for Store {
    fn from(socket: UnixStream) -> Self {
        Self(socket)
    }
}

/// `PATH`, or `FORMAT:PATH`; nothing where nothing is inserted.
fn path_of(params: &[u8]) -> Option<String> {
    let text = str::from_utf8(params).ok()?;
    let path = match text.split_once(':') {
        Some((format, path)) if !format.contains('/') => path,
        _ => text,
    };
    path.starts_with('/').then(|| path.to_owned())
}

/// One that is asked just these questions, and gives these answers of these kinds.
#[cfg(test)]
pub(crate) fn played(answers: Vec<(u32, &'static [u8], &'static [u8])>) -> Store {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        for (kind, question, text) in answers {
            let mut header = Header::default();
            theirs.read_exact(header.as_mut_bytes()).unwrap();
            let mut asked = vec![0; usize::try_from(header.length).unwrap()];
            theirs.read_exact(&mut asked).unwrap();
            // Who asks sees an end then.
            assert_eq!(asked, question);
            let length = u32::try_from(text.len()).unwrap();
            let header = Header {
                kind,
                length,
                ..Header::default()
            };
            theirs
                .write_all(&[header.as_bytes(), text].concat())
                .unwrap();
        }
    });
    Store(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_follows_the_format() {
        for (params, path) in [
            ("aio:/a/b", Some("/a/b")),
            ("qcow2:/a:b", Some("/a:b")),
            ("/dev/vg/a:b", Some("/dev/vg/a:b")),
            ("", None),
            ("empty:", None),
            ("nbd:localhost:9", None),
        ] {
            assert_eq!(path_of(params.as_bytes()).as_deref(), path, "{params}");
        }
        assert_eq!(path_of(b"aio:/\xff"), None);
    }

    #[test]
    fn one_that_accepts_nobody_is_not_waited_for() {
        use std::os::unix::net::UnixListener;

        use nix::sys::socket::{Backlog, listen};

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let error = Store::connect_to(&path).err().map(|error| error.kind());
        assert_eq!(error, Some(ErrorKind::NotFound));
        let listener = UnixListener::bind(&path).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        let error = loop {
            match Store::connect_to(&path) {
                Ok(store) => waiting.push(store),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(!waiting.is_empty());
    }

    #[test]
    fn disks_are_read_one_by_one() {
        let mut store = played(vec![
            (DIRECTORY, b"/libxl/7/device/vbd\0", b"768\x005632\0"),
            (READ, b"/libxl/7/device/vbd/768/params\0", b"aio:/disk"),
            (READ, b"/libxl/7/device/vbd/5632/params\0", b""),
        ]);
        let disks = store.disks(GuestId::new(7).unwrap()).unwrap();
        assert_eq!(disks, ["/disk"]);
    }
}
