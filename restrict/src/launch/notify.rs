// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program says of itself (`sd_notify(3)`), and what of that is passed on.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Passed on to whoever watches the supervisor: whole words, as the program is not
/// trusted with any other.
const PASSED_ON: [&[u8]; 3] = [b"READY=1", b"STOPPING=1", b"WATCHDOG=1"];
const READY: &[u8] = b"READY=1";
/// Of a program that has sealed itself.
const SEALED: &[u8] = b"SEALED=1";
/// A program that says more at a time is heard later.
const AT_ONCE: usize = 16;

/// What was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) ready: bool,
    pub(crate) sealed: bool,
    words: [bool; 3],
}

/// Takes what waits at the program's socket.
pub(crate) fn hear(socket: &UnixDatagram) -> Heard {
    let mut heard = Heard::default();
    let mut message = [0; 4096];
    for _ in 0..AT_ONCE {
        let Ok(length) = socket.recv(&mut message) else {
            break;
        };
        for line in message[..length].split(|byte| *byte == b'\n') {
            heard.ready |= line == READY;
            heard.sealed |= line == SEALED;
            for (word, known) in heard.words.iter_mut().zip(PASSED_ON) {
                *word |= line == known;
            }
        }
    }
    heard
}

/// Passes it on, if anybody asked for it by `NOTIFY_SOCKET`.
pub(crate) fn pass_on(heard: Heard) {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET") {
        for (word, known) in heard.words.into_iter().zip(PASSED_ON) {
            if word {
                // One who does not listen is not waited for.
                let _ = send(&socket, known);
            }
        }
    }
}

fn send(socket: &OsString, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let unbound = UnixDatagram::unbound()?;
    unbound.set_nonblocking(true)?;
    unbound.send_to_addr(message, &address).map(drop)
}
