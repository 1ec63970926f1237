// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whom the kernel tells that pages are gone.

use super::{kernel::GRANTED, *};

const CLEAR: u32 = 1;
const SEND: u32 = 2;
const PORT: u32 = 5;

/// With an index of two pages, and a port.
fn prepared() -> (Conversation, Notify) {
    let mut conversation = Conversation::new();
    conversation.map(1).unwrap();
    let index = conversation.map(2).unwrap();
    conversation.kernel().ports.insert(PORT);
    let notify = Notify {
        index,
        offset: 4097,
        action: CLEAR | SEND,
        port: PORT,
    };
    (conversation, notify)
}

#[test]
fn a_notification_is_set_and_taken_back() {
    let (mut conversation, notify) = prepared();
    assert_eq!(conversation.notify(2, notify), Ok(()));
    let bell = conversation.kernel().bell().unwrap().clone();
    assert_eq!(
        (bell.grants, bell.sends, bell.clears),
        (vec![1], Some(PORT), Some(1))
    );
    let nothing = Notify {
        action: 0,
        ..notify
    };
    conversation.kernel().sent.clear();
    assert_eq!(conversation.notify(2, nothing), Ok(()));
    assert!(conversation.kernel().bell().is_none());
    assert!(conversation.kernel().sent.is_empty());
    assert!(conversation.kernel().cleared.is_empty());
}

#[test]
fn a_notification_takes_the_place_of_another() {
    let (mut conversation, notify) = prepared();
    conversation.notify(2, notify).unwrap();
    conversation.kernel().sent.clear();
    let other = Notify {
        offset: 5,
        action: CLEAR,
        ..notify
    };
    conversation.notify(2, other).unwrap();
    let bell = conversation.kernel().bell().unwrap().clone();
    assert_eq!(
        (bell.grants, bell.sends, bell.clears),
        (vec![0], None, Some(5))
    );
    // One that cannot be leaves it.
    let refused = Notify { port: 77, ..notify };
    assert_eq!(conversation.notify(2, refused), Err(Errno::ENOTCONN));
    assert_eq!(conversation.kernel().bell().unwrap().clears, Some(5));
    conversation.unmap(notify.index, 2).unwrap();
    conversation.turn().unwrap();
    assert_eq!(conversation.kernel().cleared, [(0, 5)]);
    assert!(conversation.kernel().sent.is_empty());
}

/// Of a mapping that will fail, or be for reading, too: nothing is asked of the driver that
/// would write there.
#[test]
fn of_a_page_that_is_not_granted_there_is_none() {
    let mut conversation = Conversation::new();
    let index = conversation.map(GRANTED + 1).unwrap();
    let notify = Notify {
        index,
        offset: u64::from(GRANTED) * 4096,
        action: CLEAR,
        port: 0,
    };
    assert_eq!(conversation.notify(GRANTED + 1, notify), Err(Errno::EINVAL));
    assert_eq!(conversation.kernel().maps.len(), 1);
}

#[test]
fn a_port_that_is_not_the_processs_is_refused() {
    let (mut conversation, notify) = prepared();
    for port in [0, PORT + 1, 1000, u32::MAX] {
        let others = Notify { port, ..notify };
        assert_eq!(conversation.notify(2, others), Err(Errno::ENOTCONN));
    }
    assert!(conversation.kernel().bell().is_none());
    // Nothing is sent, so it does not matter.
    let clears = Notify {
        action: CLEAR,
        port: u32::MAX,
        ..notify
    };
    assert_eq!(conversation.notify(2, clears), Ok(()));
}

#[test]
fn a_port_that_is_lost_meanwhile_is_not_left_with_the_driver() {
    let (mut conversation, notify) = prepared();
    conversation.kernel().lost_meanwhile = Some(PORT);
    assert_eq!(conversation.notify(2, notify), Err(Errno::ENOTCONN));
    assert!(conversation.kernel().bell().is_none());
    // Somebody else's by now.
    conversation.kernel().ports.insert(PORT);
    conversation.kernel().sent.clear();
    conversation.unmap(notify.index, 2).unwrap();
    conversation.turn().unwrap();
    assert!(conversation.kernel().sent.is_empty());
}

#[test]
fn a_byte_outside_is_refused() {
    let (mut conversation, notify) = prepared();
    for offset in [2 * 4096, 1 << 32, u64::MAX] {
        let outside = Notify { offset, ..notify };
        assert_eq!(conversation.notify(2, outside), Err(Errno::EINVAL));
    }
    let last = Notify {
        offset: 2 * 4096 - 1,
        ..notify
    };
    assert_eq!(conversation.notify(2, last), Ok(()));
}

#[test]
fn an_action_that_there_is_not_is_refused() {
    let (mut conversation, notify) = prepared();
    for action in [4, 7, 1 << 31, u32::MAX] {
        let unknown = Notify { action, ..notify };
        assert_eq!(conversation.notify(2, unknown), Err(Errno::EINVAL));
    }
}

#[test]
fn the_event_is_sent_when_the_pages_are_gone_and_not_before() {
    let (mut conversation, notify) = prepared();
    conversation.notify(2, notify).unwrap();
    conversation.kernel().mmap(notify.index);
    conversation.kernel().sent.clear();
    conversation.unmap(notify.index, 2).unwrap();
    conversation.turn().unwrap();
    assert!(conversation.kernel().sent.is_empty());
    assert!(conversation.kernel().cleared.is_empty());
    conversation.kernel().munmap_lingering();
    conversation.turn().unwrap();
    assert_eq!(conversation.kernel().sent, [PORT]);
    assert_eq!(conversation.kernel().cleared, [(1, 1)]);
}

#[test]
fn the_event_is_sent_at_the_end() {
    let (mut conversation, notify) = prepared();
    conversation.kernel().slow = true;
    conversation.notify(2, notify).unwrap();
    conversation.kernel().sent.clear();
    conversation.unmap(notify.index, 2).unwrap();
    conversation.broker.finish();
    assert_eq!(conversation.kernel().sent, [PORT]);
}

/// The process need not keep the port for that.
#[test]
fn the_event_is_sent_by_a_port_that_was_closed() {
    let (mut conversation, notify) = prepared();
    conversation.notify(2, notify).unwrap();
    conversation.kernel().mmap(notify.index);
    conversation.kernel().sent.clear();
    conversation.unmap(notify.index, 2).unwrap();
    conversation.kernel().ports.remove(&PORT);
    conversation.kernel().munmap_lingering();
    conversation.turn().unwrap();
    assert_eq!(conversation.kernel().sent, [PORT]);
}

#[test]
fn at_the_end_everybody_is_told() {
    let (mut conversation, notify) = prepared();
    conversation.notify(2, notify).unwrap();
    let other = conversation.map(1).unwrap();
    let second = Notify {
        index: other,
        offset: 7,
        ..notify
    };
    conversation.notify(1, second).unwrap();
    conversation.kernel().mmap(other);
    conversation.unmap(other, 1).unwrap();
    conversation.kernel().sent.clear();
    conversation.broker.finish();
    assert_eq!(conversation.kernel().sent, [PORT, PORT]);
    assert_eq!(conversation.kernel().cleared, [(0, 7), (1, 1)]);
}

#[test]
fn a_notification_is_not_that_of_the_next_with_the_index() {
    let (mut conversation, notify) = prepared();
    conversation.notify(2, notify).unwrap();
    conversation.unmap(notify.index, 2).unwrap();
    assert_eq!(conversation.map(2), Ok(notify.index));
    conversation.kernel().sent.clear();
    conversation.kernel().cleared.clear();
    conversation.unmap(notify.index, 2).unwrap();
    conversation.turn().unwrap();
    assert!(conversation.kernel().sent.is_empty());
    assert!(conversation.kernel().cleared.is_empty());
}
