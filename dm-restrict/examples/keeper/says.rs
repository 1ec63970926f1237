// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it says to xenstored, or to what it takes for that, in messages of its own making, and
//! what it hears.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    mem::forget,
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, send},
};

use crate::Call;

/// Of `enum xsd_sockmsg_type` in Xen's `io/xs_wire.h`.
const READ: u32 = 2;
const WATCH: u32 = 4;
const ERROR: u32 = 16;
const WATCH_EVENT: u32 = 15;
/// `XENSTORE_PAYLOAD_MAX`.
const MOST: u32 = 4096;
const MANY: usize = 100;

pub(crate) fn connected() -> UnixStream {
    let connection = UnixStream::connect("/run/xenstored/socket").unwrap();
    let patience = Some(Duration::from_secs(20));
    connection.set_read_timeout(patience).unwrap();
    connection
}

/// `KIND:PART|PART`: a message of that number, in which `|` is NUL and `DOMID` the guest's.
/// What it hears may be as long as it likes, if it is no error.
pub(crate) fn say(message: &str, call: &Call) -> io::Result<()> {
    let (kind, text) = message.split_once(':').unwrap();
    let text = text.replace('|', "\0");
    let text = text.replace("DOMID", &call.domid.to_string());
    let mut connection = connected();
    tell(&mut connection, kind.parse().unwrap(), text.as_bytes())?;
    match hear(&mut connection)? {
        (ERROR, why) => {
            let why = String::from_utf8(why).unwrap();
            Err(io::Error::other(why.trim_end_matches('\0')))
        }
        _ => Ok(()),
    }
}

/// Whether something is heard of a watch: xenstored tells once, at the latest before it answers
/// what it is asked then.
pub(crate) fn watch(path: &str) -> io::Result<()> {
    let mut connection = connected();
    let text = format!("{path}\0token\0");
    tell(&mut connection, WATCH, text.as_bytes())?;
    let mut heard = vec![hear(&mut connection)?.0];
    tell(&mut connection, READ, b"domid\0")?;
    while heard.len() < 3 && ![Some(&READ), Some(&ERROR)].contains(&heard.last()) {
        heard.push(hear(&mut connection)?.0);
    }
    match heard.contains(&WATCH_EVENT) {
        true => Ok(()),
        false => Err(io::Error::other(format!("{heard:?}"))),
    }
}

/// A message that is longer than there are any.
pub(crate) fn too_long() {
    let mut connection = connected();
    connection.write_all(&header(READ, MOST + 1)).unwrap();
    println!("too long a message: {:?}", hear(&mut connection).map(drop));
}

/// Says what is never finished, or never listens, on more connections than it can have.
pub(crate) fn hold_up() {
    for length in [10, 16, 20] {
        let mut connection = connected();
        let message = [header(READ, 100).as_slice(), &[b'/'; 100]].concat();
        connection.write_all(&message[..length]).unwrap();
        forget(connection);
    }
    let connection = connected();
    let message = [header(READ, 6).as_slice(), b"domid\0"].concat().repeat(50);
    let sent = loop {
        match send(connection.as_raw_fd(), &message, MsgFlags::MSG_DONTWAIT) {
            // Not a message's end.
            Ok(_) => {}
            Err(errno) => break errno,
        }
    };
    assert_eq!(sent, Errno::EAGAIN);
    forget(connection);
    let mut answered = 0;
    for _ in 0..MANY {
        let mut connection = connected();
        let told = tell(&mut connection, READ, b"domid\0");
        answered += usize::from(told.and_then(|()| hear(&mut connection)).is_ok());
        forget(connection);
    }
    println!("of {MANY} more it uses {answered}");
}

/// What comes of one that was kept.
pub(crate) fn after(mut connection: UnixStream) {
    let told = tell(&mut connection, READ, b"domid\0");
    match told.and_then(|()| hear(&mut connection)) {
        Ok(_) => println!("after that it is answered"),
        Err(error) => println!("after that nobody answers: {error}"),
    }
}

fn header(kind: u32, length: u32) -> Vec<u8> {
    [kind, 1, 0, length].map(u32::to_ne_bytes).concat()
}

fn tell(connection: &mut UnixStream, kind: u32, text: &[u8]) -> io::Result<()> {
    let header = header(kind, text.len().try_into().unwrap());
    connection.write_all(&[&header, text].concat())
}

fn hear(connection: &mut UnixStream) -> io::Result<(u32, Vec<u8>)> {
    let mut header = [0; 16];
    connection.read_exact(&mut header)?;
    let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
    if word(12) > MOST {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; word(12).try_into().unwrap()];
    connection.read_exact(&mut text)?;
    Ok((word(0), text))
}
