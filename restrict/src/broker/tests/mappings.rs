// SPDX-License-Identifier: MIT OR Apache-2.0
//! Indices, and the pages that count.

use super::{
    super::{devices::SLOTS, message::Terms, server::WAITS},
    *,
};

#[test]
fn the_terms_are_those_of_the_launch() {
    let mut conversation = Conversation::new();
    let (_, tail) = conversation.ask(operation::TERMS, 0, &[]).unwrap();
    let terms = Terms {
        guest: GUEST.get().into(),
        quota: QUOTA,
        max_grants: 4096,
        max_segments: 256,
        copy_bytes: 1 << 20,
        zero: 0,
    };
    assert_eq!(tail, terms.as_bytes());
}

#[test]
fn an_index_is_made_and_given_back() {
    let mut conversation = Conversation::new();
    assert_eq!(conversation.map(2), Ok(0));
    assert_eq!(conversation.map(1), Ok(2 * 4096));
    assert_eq!(conversation.unmap(0, 2), Ok(()));
    // The lowest that is free.
    assert_eq!(conversation.map(1), Ok(0));
    assert_eq!(conversation.broker.used(), conversation.kernel().pages());
}

#[test]
fn no_references_are_no_mapping() {
    assert_eq!(Conversation::new().map(0), Err(Errno::EINVAL));
}

#[test]
fn what_the_kernel_refuses_does_not_count() {
    let mut conversation = Conversation::new();
    conversation.kernel().fails = Some(Errno::ENOMEM);
    assert_eq!(conversation.map(QUOTA), Err(Errno::ENOMEM));
    assert_eq!(conversation.map(QUOTA), Ok(0));
}

#[test]
fn a_forged_index_or_count_names_nothing() {
    let mut conversation = Conversation::new();
    let index = conversation.map(3).unwrap();
    let forged = [1, 4095, 4096, 2 * 4096, 1 << 63, u64::MAX].map(|index| (index, 3));
    let counts = [0, 1, 2, 4, u32::MAX].map(|count| (index, count));
    for (index, count) in forged.into_iter().chain(counts) {
        assert_eq!(conversation.unmap(index, count), Err(Errno::ENOENT));
        let notify = Notify {
            index,
            ..Notify::default()
        };
        let expected = if count == 0 {
            Errno::EINVAL
        } else {
            Errno::ENOENT
        };
        assert_eq!(conversation.notify(count, notify), Err(expected));
    }
    assert_eq!(conversation.unmap(index, 3), Ok(()));
}

#[test]
fn an_index_is_given_back_once() {
    let mut conversation = Conversation::new();
    let index = conversation.map(3).unwrap();
    let other = conversation.map(3).unwrap();
    assert_eq!(conversation.unmap(index, 3), Ok(()));
    assert_eq!(conversation.unmap(index, 3), Err(Errno::ENOENT));
    assert_eq!(conversation.unmap(other, 3), Ok(()));
    conversation.turn().unwrap();
    assert_eq!(conversation.broker.used(), 0);
}

#[test]
fn no_more_than_the_quota_is_mapped() {
    let mut conversation = Conversation::new();
    assert_eq!(conversation.map(QUOTA + 1), Err(Errno::EDQUOT));
    conversation.map(QUOTA - 1).unwrap();
    assert_eq!(conversation.map(2), Err(Errno::EDQUOT));
    conversation.map(1).unwrap();
    assert_eq!(conversation.map(1), Err(Errno::EDQUOT));
    assert_eq!(conversation.kernel().pages(), QUOTA);
}

#[test]
fn pages_that_are_given_back_count_while_they_are_mapped() {
    let mut conversation = Conversation::new();
    conversation.keep(QUOTA).unwrap();
    assert_eq!(conversation.map(1), Err(Errno::EDQUOT));
    conversation.kernel().munmap_lingering();
    assert_eq!(conversation.map(QUOTA), Ok(0));
}

#[test]
fn an_index_that_is_used_again_has_pages_of_its_own() {
    let mut conversation = Conversation::new();
    conversation.keep(2).unwrap();
    conversation.keep(3).unwrap();
    assert_eq!(conversation.map(2), Ok(0));
    conversation.kernel().munmap_lingering();
    conversation.turn().unwrap();
    assert_eq!(conversation.broker.used(), 5);
    assert_eq!(conversation.unmap(0, 2), Ok(()));
}

#[test]
fn more_can_be_given_back_than_the_kernel_tells_of_at_a_time() {
    let mut conversation = Conversation::new();
    let more = 3 * SLOTS;
    for _ in 0..more {
        conversation.keep(1).unwrap();
    }
    let used = u32::try_from(more).unwrap();
    assert_eq!(conversation.kernel().lingering.len(), SLOTS);
    assert_eq!(conversation.broker.used(), used);
    // Given back is given back.
    let later = *conversation.kernel().maps.first_key_value().unwrap().0;
    assert_eq!(conversation.unmap(later, 1), Err(Errno::ENOENT));
    for left in (0..used).rev() {
        conversation.kernel().munmap_lingering();
        conversation.turn().unwrap();
        assert_eq!(conversation.broker.used(), left);
        assert_eq!(conversation.kernel().pages(), left);
    }
    assert!(conversation.kernel().maps.is_empty());
}

#[test]
fn a_release_that_the_kernel_is_about_to_tell_of_is_waited_for() {
    let mut conversation = Conversation::new();
    conversation.kernel().slow = true;
    for _ in 0..3 {
        let index = conversation.map(QUOTA).unwrap();
        conversation.unmap(index, QUOTA).unwrap();
    }
    for _ in 0..3 * SLOTS {
        let index = conversation.map(1).unwrap();
        conversation.unmap(index, 1).unwrap();
    }
}

/// When a machine has slept, a wait can be over before the kernel had its turn.
#[test]
fn a_wait_that_was_slept_through_is_not_the_last() {
    let mut conversation = Conversation::new();
    conversation.kernel().slow = true;
    let index = conversation.map(QUOTA).unwrap();
    conversation.unmap(index, QUOTA).unwrap();
    conversation.kernel().slept = 3;
    assert_eq!(conversation.map(QUOTA), Ok(index));
}

/// Waiting takes time that is the supervisor's.
#[test]
fn one_request_that_waits_is_a_turn() {
    let mut conversation = Conversation::new();
    conversation.keep(QUOTA).unwrap();
    let waits = conversation.kernel().waits;
    let hopeless = message(head(operation::MAP, 1), 1_u32.as_bytes());
    for _ in 0..10 {
        conversation.say(&hopeless).unwrap();
    }
    for turn in 1..=10 {
        conversation.turn().unwrap();
        assert_eq!(conversation.kernel().waits, waits + turn * WAITS);
    }
}

/// Nor is it a program's to make it long, by a page now and then.
#[test]
fn what_is_released_bit_by_bit_is_not_waited_for_longer() {
    let mut conversation = Conversation::new();
    for _ in 0..QUOTA {
        conversation.keep(1).unwrap();
    }
    conversation.kernel().dribbles = true;
    let waits = conversation.kernel().waits;
    assert_eq!(conversation.map(QUOTA), Err(Errno::EDQUOT));
    assert_eq!(conversation.kernel().waits, waits + WAITS);
}

#[test]
fn who_has_nothing_to_release_is_not_waited_for() {
    let mut conversation = Conversation::new();
    conversation.map(QUOTA).unwrap();
    assert_eq!(conversation.map(1), Err(Errno::EDQUOT));
    assert_eq!(conversation.kernel().waits, 0);
}
