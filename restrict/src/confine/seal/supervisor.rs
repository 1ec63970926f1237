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

/// One that hangs does not keep the program from its work.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connected, so that it can be told when no path can be named any more.
pub(super) struct Supervisor(UnixDatagram);

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
        socket.connect_addr(&address)?;
        Ok(Self(socket))
    }

    /// Whether it could be told.
    pub(super) fn tell_sealed(&self) -> bool {
        self.0.send(b"SEALED=1\nREADY=1").is_ok()
    }
}
