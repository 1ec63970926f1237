// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a taken over process tries with its broker, past this crate's types.

use std::{
    io::IoSlice,
    num::NonZeroUsize,
    os::fd::{BorrowedFd, RawFd},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        mman::{MapFlags, ProtFlags, mmap, munmap},
        socket::{ControlMessage, MsgFlags, recv, send, sendmsg},
    },
};
use xen_restrict::broker::message::{Answer, Head, Notify, VERSION, operation};
use zerocopy::{FromBytes, IntoBytes};

use crate::requests::{broker, gntdev};

const PAGE: usize = 4096;

fn message(operation: u16, count: u32, body: &[u8]) -> Vec<u8> {
    let head = Head {
        version: VERSION,
        operation,
        tag: 7,
        count,
        zero: 0,
    };
    [head.as_bytes(), body].concat()
}

/// The answer's error, and its value.
fn ask(message: &[u8]) -> Result<u64, Errno> {
    send(broker(), message, MsgFlags::MSG_NOSIGNAL).expect("send");
    answer()
}

fn answer() -> Result<u64, Errno> {
    let mut bytes = [0; 1024];
    let length = recv(broker(), &mut bytes, MsgFlags::empty()).expect("an answer");
    let (answer, _) = Answer::read_from_prefix(&bytes[..length]).expect("an answer");
    assert_eq!(answer.tag, 7);
    match i32::try_from(answer.error).expect("an errno") {
        0 => Ok(answer.value),
        errno => Err(Errno::from_raw(errno)),
    }
}

fn map(refs: &[u32]) -> Result<u64, Errno> {
    let count = u32::try_from(refs.len()).expect("few");
    ask(&message(operation::MAP, count, refs.as_bytes()))
}

fn unmap(index: u64, count: u32) -> Result<u64, Errno> {
    ask(&message(operation::UNMAP, count, index.as_bytes()))
}

struct Mapped(std::ptr::NonNull<libc::c_void>, usize);

fn touch(index: u64, pages: usize) -> Result<Mapped, Errno> {
    touch_as(index, pages, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
}

fn touch_as(index: u64, pages: usize, prot: ProtFlags) -> Result<Mapped, Errno> {
    let length = NonZeroUsize::new(pages * PAGE).expect("some");
    let offset = i64::try_from(index).expect("an index");
    // SAFETY: it was handed over, and stays open.
    let fd = unsafe { BorrowedFd::borrow_raw(gntdev()) };
    // SAFETY: where the kernel wants.
    let at = unsafe { mmap(None, length, prot, MapFlags::MAP_SHARED, fd, offset) }?;
    Ok(Mapped(at, length.get()))
}

impl Mapped {
    fn first_word(&self) -> u64 {
        // SAFETY: mapped, and aligned to a page.
        unsafe { self.0.cast::<u64>().read_volatile() }
    }

    fn gone(self) {
        // SAFETY: what `touch` mapped.
        unsafe { munmap(self.0, self.1) }.expect("unmap");
    }
}

/// FIRST QUOTA
pub(crate) fn misuse(numbers: &[u32]) {
    let &[first, quota] = numbers else {
        panic!("FIRST QUOTA");
    };
    // An index is mapped once, and with its own count.
    let index = map(&[first, first + 1]).expect("map");
    assert_eq!(touch(index, 1).err(), Some(Errno::EINVAL));
    let pages = touch(index, 2).expect("mmap");
    assert_eq!(touch(index, 2).err(), Some(Errno::EINVAL));
    // Given back while in use: it stays, and counts.
    assert_eq!(unmap(index, 1), Err(Errno::ENOENT));
    assert_eq!(unmap(index + 4096, 2), Err(Errno::ENOENT));
    let word = pages.first_word();
    unmap(index, 2).expect("unmap");
    assert_eq!(unmap(index, 2), Err(Errno::ENOENT));
    assert_eq!(pages.first_word(), word);
    let all: Vec<u32> = vec![first; quota as usize];
    assert_eq!(map(&all), Err(Errno::EDQUOT));
    let rest = map(&all[2..]).expect("all but those two");
    pages.gone();
    unmap(rest, quota - 2).expect("never mapped");
    eventually(|| map(&all))
        .map(|index| unmap(index, quota).expect("unmap"))
        .expect("all");
    // All of them given back and still in use: no more, until they are not.
    let held: Vec<_> = (0..quota)
        .map(|_| {
            let index = eventually(|| map(&[first])).expect("map");
            let pages = touch(index, 1).expect("mmap");
            unmap(index, 1).expect("unmap");
            pages
        })
        .collect();
    assert_eq!(map(&[first]), Err(Errno::EDQUOT));
    held.into_iter().for_each(Mapped::gone);
    eventually(|| map(&all))
        .map(|index| unmap(index, quota).expect("unmap"))
        .expect("all again");
    // Not a page of the guest's, nor a byte of these.
    let index = map(&[first]).expect("map");
    for (offset, action, error) in [
        (4096, 1, Errno::EINVAL),
        (u64::MAX, 1, Errno::EINVAL),
        (0, 4, Errno::EINVAL),
        (0, 2, Errno::ENOTCONN),
    ] {
        let notify = Notify {
            index,
            offset,
            action,
            port: 1,
        };
        let answer = ask(&message(operation::NOTIFY, 1, notify.as_bytes()));
        assert_eq!(answer, Err(error), "{notify:?}");
    }
}

/// The kernel takes a moment to say that pages are gone.
fn eventually(attempt: impl Fn() -> Result<u64, Errno>) -> Result<u64, Errno> {
    let mut answer = attempt();
    for _ in 0..1000 {
        if answer.is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(5));
        answer = attempt();
    }
    answer
}

/// FIRST NOTHING: notifications that the driver would write a byte for where it cannot.
pub(crate) fn traps(numbers: &[u32]) {
    let &[first, nothing] = numbers else {
        panic!("FIRST NOTHING");
    };
    let clear = |index, count, offset| {
        let notify = Notify {
            index,
            offset,
            action: 1,
            port: 0,
        };
        ask(&message(operation::NOTIFY, count, notify.as_bytes()))
    };
    // Set before it is mapped, and then for reading.
    let index = map(&[first]).expect("map");
    clear(index, 1, 5).expect("notify");
    let pages = touch_as(index, 1, ProtFlags::PROT_READ).expect("mmap");
    pages.gone();
    unmap(index, 1).expect("unmap");
    // Never mapped at all.
    let index = map(&[first]).expect("map");
    clear(index, 1, 6).expect("notify");
    unmap(index, 1).expect("unmap");
    // In the page that fails.
    let index = map(&[first, nothing]).expect("map");
    assert_eq!(clear(index, 2, 4096), Err(Errno::EINVAL));
    clear(index, 2, 7).expect("notify");
    assert_eq!(touch(index, 2).err(), Some(Errno::EINVAL));
    unmap(index, 2).expect("unmap");
    // Left to the end: for reading, and by nobody.
    for (byte, mapped) in [(8, true), (9, false)] {
        let index = map(&[first]).expect("map");
        clear(index, 1, byte).expect("notify");
        if mapped {
            // Never unmapped.
            let _ = touch_as(index, 1, ProtFlags::PROT_READ).expect("mmap");
        }
    }
}

/// FIRST: which the guest takes back when that is said.
pub(crate) fn taken_back(numbers: &[u32]) {
    let index = map(numbers).expect("map");
    println!("reserved");
    thread::sleep(Duration::from_millis(700));
    assert_eq!(touch(index, 1).err(), Some(Errno::EINVAL));
    unmap(index, 1).expect("unmap");
}

/// FIRST PORT: a port of somebody else in dom0.
pub(crate) fn other_port(numbers: &[u32]) {
    let &[first, port] = numbers else {
        panic!("FIRST PORT");
    };
    let index = map(&[first]).expect("map");
    let notify = Notify {
        index,
        offset: 0,
        action: 2,
        port,
    };
    let answer = ask(&message(operation::NOTIFY, 1, notify.as_bytes()));
    assert_eq!(answer, Err(Errno::ENOTCONN));
}

/// FIRST: as many requests as it can make, until it is ended.
pub(crate) fn flood(numbers: &[u32]) {
    let &[first] = numbers else {
        panic!("FIRST");
    };
    println!("floods");
    let bad = message(operation::UNMAP, 1, 0x1234_5000_u64.as_bytes());
    loop {
        for _ in 0..50 {
            send(broker(), &bad, MsgFlags::empty()).expect("send");
        }
        for _ in 0..50 {
            assert_eq!(answer(), Err(Errno::ENOENT));
        }
        let index = map(&[first]).expect("it still answers");
        unmap(index, 1).expect("unmap");
    }
}

/// Answers are not read until no more requests are taken; then they are all there.
pub(crate) fn unread() {
    let terms = message(operation::TERMS, 0, &[]);
    let mut sent = 0;
    let mut idle = 0;
    while idle < 20 {
        match send(broker(), &terms, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => {
                sent += 1;
                idle = 0;
            }
            Err(Errno::EAGAIN) => {
                thread::sleep(Duration::from_millis(10));
                idle += 1;
            }
            Err(errno) => panic!("{errno}"),
        }
        assert!(sent < 100_000, "the broker takes everything");
    }
    for _ in 0..sent {
        answer().expect("terms");
    }
}

/// The broker closes the connection, and nothing else happens.
fn is_closed(fd: RawFd) {
    let mut byte = [0; 64];
    let answer = recv(fd, &mut byte, MsgFlags::empty());
    assert!(
        matches!(answer, Ok(0) | Err(Errno::ECONNRESET)),
        "{answer:?}"
    );
    let sent = send(
        fd,
        &message(operation::TERMS, 0, &[]),
        MsgFlags::MSG_NOSIGNAL,
    );
    assert_eq!(sent, Err(Errno::EPIPE));
}

/// Half a message.
pub(crate) fn half() {
    let whole = message(operation::UNMAP, 1, 0_u64.as_bytes());
    send(broker(), &whole[..20], MsgFlags::MSG_NOSIGNAL).expect("send");
    is_closed(broker());
}

/// A message with a descriptor.
pub(crate) fn descriptor() {
    let fds = [gntdev()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let terms = message(operation::TERMS, 0, &[]);
    let text = [IoSlice::new(&terms)];
    let sent = sendmsg::<()>(broker(), &text, &rights, MsgFlags::empty(), None);
    assert_eq!(sent, Err(Errno::EPERM));
    ask(&terms).expect("the broker has heard nothing of it");
}

/// The connection closed by this side.
pub(crate) fn closed() {
    nix::unistd::close(broker()).expect("close");
    thread::sleep(Duration::from_millis(300));
}
