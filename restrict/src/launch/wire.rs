// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a child tells the supervisor, over a socket that exec closes: that it is ready,
//! the program's with the descriptor at which the kernel asks about its requests; or why
//! it is not.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
        recvmsg, send, sendmsg, socketpair,
    },
};
use serde::{Deserialize, Serialize};

use crate::confine::MechanismError;

/// Longer than any message of ours.
pub(super) const LONGEST: usize = 1 << 16;
/// Of a text, which JSON may make six times as long; of a longer one the beginning is told.
const LONGEST_TEXT: usize = 5000;

/// From the child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// All is applied but the filter that comes last; it waits for [`go`].
    Ready,
    /// A mechanism failed.
    Mechanism {
        name: String,
        reason: String,
        remedy: String,
    },
    /// The program cannot be executed.
    Exec { errno: i32 },
}

impl Message {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Errno> {
        let message = match self {
            Self::Mechanism {
                name,
                reason,
                remedy,
            } => &Self::Mechanism {
                name: name.clone(),
                reason: beginning(reason),
                remedy: beginning(remedy),
            },
            other => other,
        };
        serde_json::to_vec(message).map_err(|_| Errno::EINVAL)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Errno> {
        serde_json::from_slice(bytes).map_err(|_| Errno::EBADMSG)
    }
}

fn beginning(text: &str) -> String {
    match text.len() {
        0..=LONGEST_TEXT => text.to_owned(),
        _ => format!("{}...", &text[..text.floor_char_boundary(LONGEST_TEXT)]),
    }
}

impl From<MechanismError> for Message {
    fn from(error: MechanismError) -> Self {
        Self::Mechanism {
            name: error.mechanism.name().into(),
            reason: error.reason,
            remedy: error.remedy,
        }
    }
}

/// The child's end and the supervisor's.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

pub(crate) fn tell(
    to: BorrowedFd<'_>,
    message: &Message,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let text = message.to_bytes()?;
    let (to, flags) = (to.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
    let Some(fd) = fd else {
        // Also when nothing can be sent any more that could have a descriptor.
        return send(to, &text, flags).map(drop);
    };
    let numbers = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<()>(to, &[IoSlice::new(&text)], &rights, flags, None).map(drop)
}

/// `None` when the other end is closed: exec did it, or the child ended.
pub(crate) fn listen(from: BorrowedFd<'_>) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
    let mut text = vec![0; LONGEST];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut into = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(from.as_raw_fd(), &mut into, Some(&mut control), flags)?;
    let mut fd = None;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            for number in numbers {
                // SAFETY: the kernel just made it for this call.
                fd = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    let length = received.bytes;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some((Message::from_bytes(&text[..length])?, fd)))
}

/// Lets the child go on to exec.
pub(crate) fn go(to: BorrowedFd<'_>) -> Result<(), Errno> {
    send(to.as_raw_fd(), b"g", MsgFlags::MSG_NOSIGNAL).map(drop)
}

/// Waits for it. An error when the supervisor is gone, or gave up.
pub(crate) fn wait_to_go(from: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut byte = [0];
    match recv(from.as_raw_fd(), &mut byte, MsgFlags::empty())? {
        1 => Ok(()),
        _ => Err(Errno::ECANCELED),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// Why exec failed is told when the last filter is loaded.
    #[test]
    fn where_no_descriptor_can_be_sent_a_reason_can() {
        use crate::confine::{load::load, no_new_privs, not_sent};
        let (child, supervisor) = pair().unwrap();
        let message = Message::Mechanism {
            name: "root".into(),
            reason: "a".into(),
            remedy: "b".into(),
        };
        // A filter is of one thread, which ends here.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                no_new_privs::set().unwrap();
                load(&not_sent::program().unwrap()).unwrap();
                let sent = tell(child.as_fd(), &message, Some(supervisor.as_fd()));
                assert_eq!(sent, Err(Errno::EPERM));
                tell(child.as_fd(), &message, None).unwrap();
            });
        });
        let (heard, fd) = listen(supervisor.as_fd()).unwrap().unwrap();
        assert_eq!((heard, fd.is_none()), (message.clone(), true));
    }

    #[test]
    fn a_long_reason_is_heard_as_far_as_it_goes() {
        let (child, supervisor) = pair().unwrap();
        for (reason, told) in [
            ("short".to_owned(), "short".to_owned()),
            ("\u{1}".repeat(9000), "\u{1}".repeat(5000) + "..."),
            ("\u{20ac}".repeat(5000), "\u{20ac}".repeat(1666) + "..."),
        ] {
            let message = |reason: &String| Message::Mechanism {
                name: "root".into(),
                reason: reason.clone(),
                remedy: reason.clone(),
            };
            tell(child.as_fd(), &message(&reason), None).unwrap();
            let (heard, _) = listen(supervisor.as_fd()).unwrap().unwrap();
            assert_eq!(heard, message(&told));
        }
    }
}
