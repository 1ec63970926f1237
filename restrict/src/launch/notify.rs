// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the program says of itself (`sd_notify(3)`), and what of that is passed on.

use std::{
    env,
    ffi::OsString,
    io, mem,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::{Duration, Instant},
};

/// Passed on to whoever watches the supervisor: whole words, as the program is not
/// trusted with any other.
const PASSED_ON: [&[u8]; 3] = [READY, b"STOPPING=1", WATCHDOG];
const WATCHDOG: &[u8] = b"WATCHDOG=1";
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
    pub(super) words: [bool; 3],
}

impl Heard {
    /// Adds what a message says: whole lines.
    pub(super) fn take(&mut self, message: &[u8]) {
        for line in message.split(|byte| *byte == b'\n') {
            self.ready |= line == READY;
            self.sealed |= line == SEALED;
            for (word, known) in self.words.iter_mut().zip(PASSED_ON) {
                *word |= line == known;
            }
        }
    }
}

/// What is to be passed on. The program can say its words as often as it likes: READY and
/// STOPPING are passed on once, WATCHDOG now and then.
#[derive(Debug, Default)]
pub(crate) struct ToPassOn {
    words: [bool; 3],
    last: [Option<Instant>; 3],
}

/// Watchdogs are set to seconds.
const NOW_AND_THEN: Duration = Duration::from_millis(100);

impl ToPassOn {
    pub(crate) fn add(&mut self, heard: Heard) {
        for (word, heard) in self.words.iter_mut().zip(heard.words) {
            *word |= heard;
        }
    }

    /// Passes it on, if anybody asked for it by `NOTIFY_SOCKET`.
    pub(crate) fn pass_on(&mut self) {
        for at in self.due(Instant::now()) {
            if let Some(socket) = env::var_os("NOTIFY_SOCKET") {
                // One who does not listen is not waited for.
                let _ = send(&socket, PASSED_ON[at]);
            }
        }
    }

    fn due(&mut self, now: Instant) -> Vec<usize> {
        let mut due = Vec::new();
        for (at, word) in PASSED_ON.iter().enumerate() {
            let again = match self.last[at] {
                None => true,
                Some(last) => *word == WATCHDOG && now.duration_since(last) >= NOW_AND_THEN,
            };
            if mem::take(&mut self.words[at]) && again {
                self.last[at] = Some(now);
                due.push(at);
            }
        }
        due
    }
}

/// Takes what waits at the program's socket.
pub(crate) fn hear(socket: &UnixDatagram) -> Heard {
    let mut heard = Heard::default();
    let mut message = [0; 4096];
    for _ in 0..AT_ONCE {
        let Ok(length) = socket.recv(&mut message) else {
            break;
        };
        heard.take(&message[..length]);
    }
    heard
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_passed_on_once_and_the_watchdogs_now_and_then() {
        let (program, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut to_pass_on = ToPassOn::default();
        let start = Instant::now();
        let mut passed = Vec::new();
        for round in 0..20 {
            for word in [
                "READY=1",
                "WATCHDOG=1\nMAINPID=1",
                "STOPPING=1\nSTATUS=\u{1b}[2J",
            ] {
                program.send(word.as_bytes()).unwrap();
            }
            let heard = hear(&ours);
            assert!(heard.ready && !heard.sealed);
            to_pass_on.add(heard);
            passed.extend(to_pass_on.due(start + round * Duration::from_millis(10)));
        }
        passed.sort_unstable();
        assert_eq!(passed, [0, 1, 2, 2]);
    }

    #[test]
    fn only_whole_words_are_heard() {
        let (program, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        for word in ["READY=10", "XREADY=1", "ready=1", "", "READY=1\0"] {
            program.send(word.as_bytes()).unwrap();
        }
        assert_eq!(hear(&ours), Heard::default());
        program.send(b"STATUS=x\nSEALED=1\n").unwrap();
        assert!(hear(&ours).sealed);
    }
}
