// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever a process sends and does, in whatever order.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::{
    super::message::{NOBODY_WAITS, Place},
    kernel::GRANTED,
    *,
};

/// An index in use, or nearly one.
#[derive(Clone, Copy, Debug)]
struct Named {
    which: usize,
    further: u64,
    more: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Map(u32),
    Unmap(Named),
    Notify(Named, Notify),
    Copy(Vec<Segment>),
    /// What it does without the broker.
    Mmap(usize),
    Munmap,
    Bind(u32),
    Close(u32),
}

fn named() -> impl Strategy<Value = Named> {
    let further = prop_oneof![9 => Just(0), 1 => any::<u64>(), 1 => Just(4096)];
    let more = prop_oneof![9 => Just(0), 1 => 1_u32..3, 1 => any::<u32>()];
    (any::<usize>(), further, more).prop_map(|(which, further, more)| Named {
        which,
        further,
        more,
    })
}

fn notify() -> impl Strategy<Value = Notify> {
    let offset = prop_oneof![0_u64..3 * 4096, any::<u64>()];
    let action = prop_oneof![9 => 0_u32..4, 1 => any::<u32>()];
    (offset, action, 0_u32..4).prop_map(|(offset, action, port)| Notify {
        index: 0,
        offset,
        action,
        port,
    })
}

fn place() -> impl Strategy<Value = Place> {
    let at = prop_oneof![0_u32..20, (1_u32 << 20) - 5000..1 << 20, any::<u32>()];
    let offset = prop_oneof![3 => Just(0), 1 => 0_u16..5000];
    let zero = prop_oneof![20 => Just(0), 1 => any::<u16>()];
    (at, offset, zero).prop_map(|(at, offset, zero)| Place { at, offset, zero })
}

fn segment() -> impl Strategy<Value = Segment> {
    let length = prop_oneof![3 => 0_u16..64, 1 => 0_u16..5000];
    (place(), place(), length, 0_u16..5).prop_map(|(source, dest, length, flags)| Segment {
        source,
        dest,
        length,
        flags,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u32..12).prop_map(Step::Map),
        1 => any::<u16>().prop_map(|count| Step::Map(u32::from(count) % 4096)),
        4 => named().prop_map(Step::Unmap),
        3 => (named(), notify()).prop_map(|(named, notify)| Step::Notify(named, notify)),
        2 => vec(segment(), 0..4).prop_map(Step::Copy),
        4 => any::<usize>().prop_map(Step::Mmap),
        2 => Just(Step::Munmap),
        1 => (0_u32..4).prop_map(Step::Bind),
        1 => (0_u32..4).prop_map(Step::Close),
    ]
}

/// A request of the right form, but for a byte.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let words = |operation| {
        let counts = vec(0_u32..20, 0..30);
        counts.prop_map(move |words| (operation, words.len(), words.as_bytes().to_vec()))
    };
    let form = prop_oneof![
        Just((operation::TERMS, 0, Vec::new())),
        words(operation::MAP),
        (0_usize..3, any::<u64>()).prop_map(|(count, index)| (
            operation::UNMAP,
            count,
            index.as_bytes().to_vec()
        )),
        (0_usize..3, notify()).prop_map(|(count, notify)| (
            operation::NOTIFY,
            count,
            notify.as_bytes().to_vec()
        )),
        vec(segment(), 0..4)
            .prop_map(|list| { (operation::COPY, list.len(), list.as_bytes().to_vec()) }),
    ];
    let changed = proptest::option::of((any::<prop::sample::Index>(), any::<u8>()));
    (form, 0_u32..10, changed).prop_map(|((operation, count, body), tag, changed)| {
        let count = u32::try_from(count).unwrap();
        let head = Head {
            tag,
            ..head(operation, count)
        };
        let mut bytes = super::message(head, &body);
        if let Some((at, to)) = changed {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes
    })
}

/// A process that knows what it has.
struct Process {
    conversation: Conversation,
    /// Indices, and their pages.
    has: BTreeMap<u64, u32>,
}

impl Process {
    fn new() -> Self {
        Self {
            conversation: Conversation::new(),
            has: BTreeMap::new(),
        }
    }

    /// An index, its count, and whether that is what it says.
    fn find(&self, named: Named) -> (u64, u32, bool) {
        let known = self.has.len().max(1);
        let one = self.has.iter().nth(named.which % known);
        let (index, count) = one.map_or((0, 1), |(index, count)| (*index, *count));
        let index = index.wrapping_add(named.further);
        let count = count.wrapping_add(named.more);
        (index, count, self.has.get(&index) == Some(&count))
    }

    /// Takes it, and says whether the broker did what it should have.
    fn take(&mut self, step: Step) {
        match step {
            Step::Map(count) => {
                let room = self.conversation.kernel().pages() + count <= QUOTA;
                let expected = match count {
                    0 => Err(Errno::EINVAL),
                    _ if room => Ok(()),
                    _ => Err(Errno::EDQUOT),
                };
                let index = self.conversation.map(count);
                assert_eq!(index.map(drop), expected);
                if let Ok(index) = index {
                    assert_eq!(self.has.insert(index, count), None);
                }
            }
            Step::Unmap(named) => {
                let (index, count, exists) = self.find(named);
                let expected = if exists { Ok(()) } else { Err(Errno::ENOENT) };
                assert_eq!(self.conversation.unmap(index, count), expected);
                if exists {
                    self.has.remove(&index);
                }
            }
            Step::Notify(named, notify) => {
                let (index, count, exists) = self.find(named);
                let page = notify.offset / 4096;
                let can_be = notify.action < 4 && page < count.into();
                let sends = notify.action & 2 != 0;
                let bound = self.conversation.kernel().ports.contains(&notify.port);
                let expected = match (can_be, exists) {
                    (false, _) => Err(Errno::EINVAL),
                    (true, false) => Err(Errno::ENOENT),
                    _ if notify.action != 0 && page >= GRANTED.into() => Err(Errno::EINVAL),
                    _ if sends && !bound => Err(Errno::ENOTCONN),
                    _ => Ok(()),
                };
                let notify = Notify { index, ..notify };
                assert_eq!(self.conversation.notify(count, notify), expected);
            }
            Step::Copy(segments) => match self.conversation.copy(&segments) {
                Ok(statuses) => assert_eq!(statuses.len(), segments.len()),
                Err(errno) => assert_eq!(errno, Errno::EINVAL),
            },
            // Also of what it gave back, while the kernel has it.
            Step::Mmap(which) => {
                let mut kernel = self.conversation.kernel();
                let mut all: Vec<_> = kernel.maps.values_mut().collect();
                let at = which % all.len().max(1);
                if let Some(pages) = all.get_mut(at).filter(|pages| pages.held.is_none()) {
                    pages.is_mapped = true;
                }
            }
            Step::Munmap => self.conversation.kernel().munmap_lingering(),
            Step::Bind(port) => drop(self.conversation.kernel().ports.insert(port)),
            Step::Close(port) => drop(self.conversation.kernel().ports.remove(&port)),
        }
    }
}

proptest! {
    #[test]
    fn the_broker_counts_what_the_kernel_has(steps in vec(step(), 0..150)) {
        let mut process = Process::new();
        for step in steps {
            process.take(step);
            let conversation = &process.conversation;
            let used = conversation.broker.used();
            prop_assert!(used <= QUOTA);
            prop_assert!(conversation.kernel().pages() <= used);
        }
        let Process { mut conversation, .. } = process;
        while conversation.kernel().pages() < conversation.broker.used() {
            conversation.turn().unwrap();
        }
        prop_assert_eq!(conversation.broker.used(), conversation.kernel().pages());
        conversation.broker.finish();
        let held = conversation.kernel().maps.values().filter(|p| p.held.is_some()).count();
        prop_assert_eq!(held, 0);
    }

    #[test]
    fn any_message_is_answered_or_ends_the_conversation(messages in vec(message(), 1..20)) {
        let mut conversation = Conversation::new();
        for message in messages {
            let (head, _) = Head::read_from_prefix(&message).unwrap();
            conversation.say(&message).unwrap();
            if conversation.turn().is_err() {
                prop_assert!(conversation.hear().is_err());
                prop_assert!(conversation.turn().is_ok());
                break;
            }
            match conversation.hear() {
                Ok((answer, _)) => {
                    prop_assert_eq!((answer.operation, answer.tag), (head.operation, head.tag));
                }
                Err(_) => prop_assert_eq!(head.tag, NOBODY_WAITS),
            }
            prop_assert!(conversation.broker.used() <= QUOTA);
        }
    }

    #[test]
    fn what_is_nearly_a_request_is_read_or_refused(bytes in message()) {
        laws::is_read_or_refused(&bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
        laws::is_read_or_refused(&bytes);
    }
}

/// Lengths where something begins or ends, and what a fuzzer found, if it ever does.
#[test]
fn bytes_that_were_trouble_or_could_be() {
    for operation in 0..6 {
        for count in [0, 1, 4096, 4097, u32::MAX] {
            for length in [0, 1, 4, 8, 20, 24, 4 * 4096, 4 * 4097] {
                let bytes = super::message(head(operation, count), &vec![0; length]);
                laws::is_read_or_refused(&bytes);
                laws::is_read_or_refused(&bytes[..bytes.len() - 1]);
            }
        }
    }
    for found in [&[][..], &[1], &[0; 16]] {
        laws::is_read_or_refused(found);
    }
}
