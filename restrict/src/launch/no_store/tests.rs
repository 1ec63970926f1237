// SPDX-License-Identifier: MIT OR Apache-2.0
use std::{
    io::{Read as _, Write as _},
    mem::forget,
    os::unix::net::UnixDatagram,
    time::Duration,
};

use nix::sys::socket::{ControlMessage, sendmsg};
use proptest::{collection::vec, prelude::*};

use super::*;

const READ: u32 = 2;
const WRITE: u32 = 11;

fn message(kind: u32, text: &[u8]) -> Vec<u8> {
    let header = Header {
        kind,
        request: 7,
        transaction: 9,
        length: text.len().try_into().unwrap(),
    };
    [header.as_bytes(), text].concat()
}

fn connected(store: &mut NoStore) -> UnixStream {
    let (ours, programs) = UnixStream::pair().unwrap();
    store.add(ours);
    programs
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    programs
}

/// Whether nothing more comes.
fn is_closed(connection: &mut UnixStream) -> bool {
    matches!(connection.read(&mut [0; 64]), Ok(0))
}

proptest! {
    #[test]
    fn any_messages_are_answered_one_by_one(
        kinds in vec((0..30_u32, vec(any::<u8>(), 0..200)), 0..9),
        rest in vec(any::<u8>(), 0..40),
        pieces: u8,
    ) {
        let whole: Vec<u8> = kinds.iter().flat_map(|(kind, text)| message(*kind, text)).collect();
        laws::xenstore(&[&[pieces], whole.as_slice(), &rest].concat());
    }
}

#[test]
fn all_but_watches_is_refused() {
    let mut store = NoStore::default();
    let mut connection = connected(&mut store);
    for (kind, answer) in [
        (READ, message(ERROR, b"EACCES\0")),
        (WRITE, message(ERROR, b"EACCES\0")),
        (WATCH, message(WATCH, b"OK\0")),
        (UNWATCH, message(UNWATCH, b"OK\0")),
        (u32::MAX, message(ERROR, b"EACCES\0")),
    ] {
        for length in [0, 6, MOST as usize] {
            connection
                .write_all(&message(kind, &vec![b'x'; length]))
                .unwrap();
            store.advance();
            let mut heard = [0; 64];
            let length = connection.read(&mut heard).unwrap();
            assert_eq!(heard[..length], answer);
        }
    }
}

#[test]
fn one_that_sends_no_message_is_closed_and_others_go_on() {
    let mut store = NoStore::default();
    let [mut good, mut long, mut gone] = [(); 3].map(|()| connected(&mut store));
    let mut header = message(READ, b"");
    header[12..].copy_from_slice(&(MOST + 1).to_ne_bytes());
    long.write_all(&header).unwrap();
    gone.write_all(&header[..5]).unwrap();
    drop(gone);
    good.write_all(&message(READ, b"")).unwrap();
    store.advance();
    store.advance();
    assert!(is_closed(&mut long));
    assert_eq!(store.wants().count(), 1);
    assert_eq!(good.read(&mut [0; 64]).unwrap(), 23);
}

#[test]
fn who_does_not_listen_is_not_heard() {
    let mut store = NoStore::default();
    let mut deaf = connected(&mut store);
    let mut other = connected(&mut store);
    deaf.set_nonblocking(true).unwrap();
    let many = message(READ, b"").repeat(100);
    while deaf.write(&many).is_ok() {
        (0..200).for_each(|_| store.advance());
    }
    assert_eq!(store.0[0].wants().1, PollFlags::POLLOUT);
    assert!(store.0[0].answer.capacity() < 64);
    other.write_all(&message(READ, b"")).unwrap();
    store.advance();
    assert_eq!(other.read(&mut [0; 64]).unwrap(), 23);
}

#[test]
fn there_are_so_many_and_all_end_with_it() {
    let mut store = NoStore::default();
    let mut all: Vec<_> = (0..=MOST_CONNECTIONS)
        .map(|_| connected(&mut store))
        .collect();
    assert!(is_closed(&mut all.pop().unwrap()));
    // A place is free again.
    all.pop();
    store.advance();
    all.push(connected(&mut store));
    assert_eq!(store.wants().count(), MOST_CONNECTIONS);
    drop(store);
    assert!(all.iter_mut().all(is_closed));
}

#[test]
fn descriptors_are_not_taken() {
    let mut store = NoStore::default();
    let connection = connected(&mut store);
    let (sent, other) = UnixDatagram::pair().unwrap();
    let fds = [sent.as_raw_fd()];
    let (bytes, rights) = ([io::IoSlice::new(b"x")], [ControlMessage::ScmRights(&fds)]);
    sendmsg::<()>(
        connection.as_raw_fd(),
        &bytes,
        &rights,
        MsgFlags::empty(),
        None,
    )
    .unwrap();
    drop(sent);
    // In flight it is open.
    other.send(b"y").unwrap();
    store.advance();
    other.send(b"y").unwrap_err();
    forget(connection);
}
