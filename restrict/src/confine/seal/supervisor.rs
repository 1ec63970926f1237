// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whom to tell, by the protocol of `sd_notify(3)`.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

const SEALED: &[u8] = b"SEALED=1\nREADY=1";

/// One that hangs does not keep the program from its work.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    socket: UnixDatagram,
    /// If it is not connected: a filter of `dm-restrict run` refuses that.
    to: Option<SocketAddr>,
}

impl Supervisor {
    /// `None`: nobody listens.
    pub(super) fn of_this_process() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET")?;
        Self::connect(name.as_bytes()).ok()
    }

    fn connect(name: &[u8]) -> io::Result<Self> {
        let address = match name {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // If it can be connected it can be told when no path can be named any more.
        let to = match socket.connect_addr(&address) {
            Ok(()) => None,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Some(address),
            Err(error) => return Err(error),
        };
        Ok(Self { socket, to })
    }

    /// Whether it could be told.
    pub(super) fn tell_sealed(&self) -> bool {
        let sent = match &self.to {
            None => self.socket.send(SEALED),
            Some(address) => self.socket.send_to_addr(SEALED, address),
        };
        sent.is_ok()
    }
}
