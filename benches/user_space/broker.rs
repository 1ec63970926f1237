// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request to the grant broker, with no kernel behind it, next to the same bytes over the
//! same kind of socket, to a thread that looks at none of them.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    thread,
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use xen_restrict::{GrantRef, benching::Brokered};

use crate::operation::{Operation, repeat};

const FEW: u64 = 200;
const HEAD: usize = 16;
const ANSWER: usize = 24;
const SEGMENT: usize = 20;
const INDEX: usize = 8;
const STATUS: usize = 2;

pub(crate) fn all() -> Vec<Operation> {
    let mut all: Vec<_> = [1, 16, 512].into_iter().map(mapping).collect();
    all.push(copying());
    all
}

fn mapping(pages: u32) -> Operation {
    let name = format!("broker, map and unmap: {pages}");
    Operation::new(name, FEW, move || {
        let broker = Brokered::new();
        let grants: Vec<_> = (0..pages).map(GrantRef::new).collect();
        repeat(move || broker.map_and_unmap(&grants))
    })
    .floor("the same bytes", move || {
        let mut peer = Peer::new(ANSWER);
        repeat(move || {
            peer.ask(HEAD + 4 * pages as usize);
            peer.tell(HEAD + INDEX);
        })
    })
}

fn copying() -> Operation {
    Operation::new("broker, copy: 4 KiB", FEW, || {
        let (broker, mut into) = (Brokered::new(), vec![0; 4096]);
        repeat(move || broker.copy(&mut into))
    })
    .floor("the same bytes, and memcpy", || {
        let mut peer = Peer::new(ANSWER + STATUS);
        let (from, mut into) = (vec![1_u8; 4096], vec![0_u8; 4096]);
        repeat(move || {
            peer.ask(HEAD + SEGMENT);
            std::hint::black_box(&mut into[..]).copy_from_slice(&from);
        })
    })
}

/// It answers a message that begins with 1.
struct Peer {
    socket: OwnedFd,
    message: Vec<u8>,
}

impl Peer {
    fn new(answer: usize) -> Self {
        let kind = SockType::SeqPacket;
        let pair = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC);
        let (socket, theirs) = pair.expect("there are sockets");
        thread::spawn(move || {
            let mut message = [0; HEAD + 4 * 512];
            let fd = theirs.as_raw_fd();
            while recv(fd, &mut message, MsgFlags::empty()).is_ok_and(|length| length > 0) {
                let answer = message.get(..answer).filter(|answer| answer[0] == 1);
                if answer.is_some_and(|answer| send(fd, answer, MsgFlags::empty()).is_err()) {
                    break;
                }
            }
        });
        Self {
            socket,
            message: vec![0; HEAD + 4 * 512],
        }
    }

    fn ask(&mut self, length: usize) {
        self.say(1, length);
        let fd = self.socket.as_raw_fd();
        recv(fd, &mut self.message, MsgFlags::empty()).expect("it answers");
    }

    fn tell(&mut self, length: usize) {
        self.say(0, length);
    }

    fn say(&mut self, first: u8, length: usize) {
        self.message[0] = first;
        let message = &self.message[..length];
        send(self.socket.as_raw_fd(), message, MsgFlags::empty()).expect("it hears");
    }
}
