// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is no conversation: it ends, or waits, and the broker has lost nothing.

use std::{io::IoSlice, os::fd::AsFd};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{ControlMessage, Shutdown, sendmsg, shutdown},
    unistd::pipe,
};

use super::{
    super::message::{LONGEST, MAX_GRANTS, Malformed},
    *,
};

fn end_of(message: &[u8]) -> Closed {
    let mut conversation = Conversation::new();
    conversation.say(message).unwrap();
    conversation.end()
}

fn terms(tag: u32) -> Vec<u8> {
    let head = Head {
        tag,
        ..head(operation::TERMS, 0)
    };
    message(head, &[])
}

#[test]
fn another_version_ends_the_conversation() {
    for version in [0, 2, u16::MAX] {
        let head = Head {
            version,
            ..head(operation::TERMS, 0)
        };
        assert_eq!(end_of(head.as_bytes()), Malformed::Version(version).into());
    }
}

#[test]
fn an_operation_that_there_is_not_ends_the_conversation() {
    for operation in [5, 0x100, u16::MAX] {
        let closed = end_of(head(operation, 0).as_bytes());
        assert_eq!(closed, Malformed::Operation(operation).into());
    }
}

#[test]
fn bits_that_mean_nothing_end_the_conversation() {
    for operation in 0..6 {
        let head = Head {
            zero: 1 << 31,
            ..head(operation, 0)
        };
        assert_eq!(end_of(head.as_bytes()), Malformed::NotZero.into());
    }
}

#[test]
fn a_count_that_is_not_the_length_ends_the_conversation() {
    let lists = [operation::MAP, operation::COPY];
    for (operation, count) in lists
        .iter()
        .flat_map(|list| [0, 1, 3, 1 << 30, 1 << 31, u32::MAX].map(|count| (*list, count)))
    {
        let bytes = message(head(operation, count), &[0; 8]);
        assert_eq!(end_of(&bytes), Malformed::Length(bytes.len()).into());
    }
    let bytes = message(head(operation::TERMS, 1), &[]);
    assert_eq!(end_of(&bytes), Malformed::Length(bytes.len()).into());
}

#[test]
fn too_little_or_too_much_ends_the_conversation() {
    for length in 1..size_of::<Head>() {
        assert_eq!(end_of(&vec![1; length]), Malformed::Length(length).into());
    }
    for (operation, right) in [
        (operation::TERMS, 0),
        (operation::UNMAP, 8),
        (operation::NOTIFY, 24),
    ] {
        for length in (0..40).filter(|length| *length != right) {
            let bytes = message(head(operation, 0), &vec![0; length]);
            assert_eq!(end_of(&bytes), Malformed::Length(bytes.len()).into());
        }
    }
}

#[test]
fn what_is_cut_off_ends_the_conversation() {
    let count = u32::try_from(MAX_GRANTS).unwrap();
    let mut bytes = message(head(operation::MAP, count), &[0; 4 * MAX_GRANTS]);
    assert_eq!(bytes.len(), LONGEST);
    // Without its last byte it is a request.
    bytes.push(0);
    assert!(matches!(
        end_of(&bytes),
        Closed::Malformed(Malformed::Length(_))
    ));
}

#[test]
fn the_longest_request_is_answered() {
    let mut conversation = Conversation::new();
    let answer = conversation.map(u32::try_from(MAX_GRANTS).unwrap());
    assert_eq!(answer, Err(Errno::EDQUOT));
    let answer = conversation.ask(operation::COPY, 257, &[0; 257 * 20]);
    assert_eq!(answer.unwrap_err(), Errno::EINVAL);
}

/// With a request, and with nothing.
#[test]
fn descriptors_end_the_conversation_and_do_not_stay_open() {
    for bytes in [&terms(1)[..], &[]] {
        let mut conversation = Conversation::new();
        let (hears, writes) = pipe().unwrap();
        let rights = [writes.as_raw_fd(); 100];
        let attached = [ControlMessage::ScmRights(&rights)];
        let (to, flags) = (conversation.process.as_raw_fd(), MsgFlags::empty());
        sendmsg::<()>(to, &[IoSlice::new(bytes)], &attached, flags, None).unwrap();
        drop(writes);
        assert_eq!(conversation.end(), Closed::Descriptors);
        let mut fds = [PollFd::new(hears.as_fd(), PollFlags::empty())];
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000_u16)), Ok(1));
        assert_eq!(fds[0].revents(), Some(PollFlags::POLLHUP));
    }
}

#[test]
fn in_a_flood_each_request_is_a_turn() {
    let mut conversation = Conversation::new();
    for tag in 1..100 {
        conversation.say(&terms(tag)).unwrap();
    }
    for tag in 1..100 {
        conversation.turn().unwrap();
        assert_eq!(conversation.hear().unwrap().0.tag, tag);
        assert_eq!(conversation.hear(), Err(Errno::EAGAIN));
    }
}

#[test]
fn what_nobody_waits_for_is_done_and_not_answered() {
    let mut conversation = Conversation::new();
    let index = conversation.map(3).unwrap();
    let unmap = message(head(operation::UNMAP, 3), index.as_bytes());
    // The second is refused.
    for _ in 0..2 {
        conversation.say(&unmap).unwrap();
        conversation.turn().unwrap();
        assert_eq!(conversation.hear(), Err(Errno::EAGAIN));
    }
    assert_eq!(conversation.kernel().pages(), 0);
}

#[test]
fn the_socket_is_only_read_when_it_is_its_turn() {
    let mut conversation = Conversation::new();
    conversation.say(&terms(1)).unwrap();
    let released = Ready {
        released: true,
        socket: false,
    };
    conversation.broker.advance(released).unwrap();
    assert_eq!(conversation.hear(), Err(Errno::EAGAIN));
}

#[test]
fn who_reads_no_answers_is_not_served_until_it_does() {
    let mut conversation = Conversation::new();
    let mut said = 0;
    // Full on both sides, at last.
    for _ in 0..5000 {
        while conversation.say(&terms(said + 1)).is_ok() {
            said += 1;
        }
        conversation.turn().unwrap();
    }
    assert!((10..5000).contains(&said), "{said}");
    for heard in 1..=said {
        assert_eq!(conversation.hear().unwrap().0.tag, heard);
        // What is owed, and the next.
        conversation.turn().unwrap();
        conversation.turn().unwrap();
    }
    assert_eq!(conversation.hear(), Err(Errno::EAGAIN));
    conversation.map(1).unwrap();
}

#[test]
fn a_closed_socket_is_told_of_once() {
    let Conversation {
        mut broker,
        process,
        ..
    } = Conversation::new();
    drop(process);
    assert_eq!(broker.advance(BOTH), Err(Closed::ByProgram));
    assert_eq!(broker.advance(BOTH), Ok(()));
}

#[test]
fn a_process_that_ends_with_an_answer_unread_closed_its_end() {
    let mut conversation = Conversation::new();
    conversation.say(&terms(1)).unwrap();
    conversation.turn().unwrap();
    let Conversation {
        mut broker,
        process,
        ..
    } = conversation;
    drop(process);
    assert_eq!(broker.advance(BOTH), Err(Closed::ByProgram));
}

#[test]
fn a_process_that_ends_before_its_answer_closed_its_end() {
    let conversation = Conversation::new();
    conversation.say(&terms(1)).unwrap();
    let Conversation {
        mut broker,
        process,
        ..
    } = conversation;
    drop(process);
    assert_eq!(broker.advance(BOTH), Err(Closed::ByProgram));
}

#[test]
fn half_a_conversation_ends() {
    for how in [Shutdown::Read, Shutdown::Write] {
        let mut conversation = Conversation::new();
        if how == Shutdown::Read {
            // It is the answer that finds out.
            conversation.say(&terms(1)).unwrap();
        }
        shutdown(conversation.process.as_raw_fd(), how).unwrap();
        assert_eq!(conversation.end(), Closed::ByProgram, "{how:?}");
    }
}

#[test]
fn nothing_is_no_message() {
    assert_eq!(end_of(&[]), Closed::ByProgram);
}

#[test]
fn what_is_mapped_stays_and_counts_after_the_end() {
    let mut conversation = Conversation::new();
    conversation.map(3).unwrap();
    conversation.keep(4).unwrap();
    conversation.say(&[0]).unwrap();
    conversation.end();
    assert_eq!(conversation.broker.used(), 7);
    conversation.kernel().munmap_lingering();
    conversation.turn().unwrap();
    assert_eq!(conversation.broker.used(), 3);
    assert_eq!(conversation.kernel().pages(), 3);
}
