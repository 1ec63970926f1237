// SPDX-License-Identifier: MIT OR Apache-2.0
//! The confined side: with a broker, and with what is none.

use std::thread;

use xen_sys::gntdev;

use super::{
    super::{Client, message::Terms},
    kernel::GRANTED,
    *,
};
use crate::{
    error::Cause,
    grant::GrantError,
    guest_copy::{GrantOffset, GuestCopy},
    ids::GrantRef,
};

/// A client, and the kernel behind its broker.
fn served(test: impl FnOnce(&Client, &Fake)) {
    let (ours, theirs) = pair();
    let shared = Shared::new().unwrap();
    let memory = shared.map().unwrap();
    let kernel = Fake::new(&memory);
    let mut broker = Broker::new(kernel.clone(), GUEST, QUOTA, ours, memory);
    thread::scope(|scope| {
        scope.spawn(move || {
            while broker.advance(BOTH).is_ok() {
                thread::yield_now();
            }
        });
        let client = Client::connect(theirs, &shared, GUEST).unwrap();
        test(&client, &kernel);
    });
}

/// A client of one who answers each request so, or closes the socket.
fn deceived(
    terms: Terms,
    answers: impl Fn(Answer) -> Option<Vec<u8>> + Send,
    test: impl FnOnce(Result<Client, Cause>),
) {
    let (ours, theirs) = pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(length @ 1..) = recv(ours.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                let (head, _) = Head::read_from_prefix(&bytes[..length]).unwrap();
                let answer = Answer {
                    version: VERSION,
                    operation: head.operation,
                    tag: head.tag,
                    ..Answer::default()
                };
                let told = match head.operation {
                    operation::TERMS => Some([answer.as_bytes(), terms.as_bytes()].concat()),
                    _ => answers(answer),
                };
                let Some(told) = told else { break };
                let _ = send(ours.as_raw_fd(), &told, MsgFlags::MSG_NOSIGNAL);
            }
        });
        test(Client::connect(theirs, &Shared::new().unwrap(), GUEST));
    });
}

fn good() -> Terms {
    Terms {
        guest: GUEST.get().into(),
        quota: QUOTA,
        max_grants: 4096,
        max_segments: 256,
        copy_bytes: 1 << 20,
        zero: 0,
    }
}

fn grants(count: u32) -> Vec<GrantRef> {
    (0..count).map(GrantRef::new).collect()
}

fn at(grant: u32, offset: u16) -> GrantOffset {
    let grant = GrantRef::new(grant);
    GrantOffset { grant, offset }
}

#[test]
fn a_client_maps_and_gives_back() {
    served(|client, kernel| {
        assert_eq!(client.quota(), QUOTA);
        assert_eq!(client.map(&grants(2)).unwrap(), 0);
        let index = client.map(&grants(1)).unwrap();
        let notify = gntdev::UnmapNotify {
            index: index + 5,
            action: 1,
            event_channel_port: 0,
        };
        client.notify(index, 1, &notify).unwrap();
        assert_eq!(kernel.lock().bell().unwrap().clears, Some(5));
        client.unmap(index, 1);
        // Nobody waited for that; what is asked next is answered after it.
        client.map(&grants(3)).unwrap();
        assert_eq!(kernel.lock().pages(), 5);
        assert_eq!(kernel.lock().cleared, [(0, 5)]);
    });
}

#[test]
fn a_client_over_its_quota_is_told_so() {
    served(|client, _| {
        let error = client.map(&grants(QUOTA + 1)).unwrap_err();
        assert!(
            matches!(
                error,
                Cause::Quota {
                    pages: 41,
                    quota: QUOTA
                }
            ),
            "{error}"
        );
        let error = client.map(&grants(4097)).unwrap_err();
        assert!(matches!(error, Cause::TooMany { .. }), "{error}");
        client.map(&grants(QUOTA)).unwrap();
    });
}

#[test]
fn what_is_read_and_written_arrives() {
    served(|client, kernel| {
        let mut read = [0; 100];
        let mut copies = [
            GuestCopy::write(at(1, 4000), b"to the guest").unwrap(),
            GuestCopy::between(at(1, 4000), at(2, 1), 12).unwrap(),
            GuestCopy::read(at(3, 3996), &mut read).unwrap(),
        ];
        client.copy(&mut copies).unwrap();
        assert!(copies.iter().all(|copy| copy.status().is_ok()));
        assert_eq!(read, [3; 100]);
        assert_eq!(&kernel.lock().granted[2][..14], b"\x02to the guest\x02");
    });
}

#[test]
fn a_refused_read_leaves_its_destination_as_it_was() {
    served(|client, _| {
        let (mut first, mut second) = ([0; 8], [0; 8]);
        let mut copies = [
            GuestCopy::read(at(GRANTED, 0), &mut first).unwrap(),
            GuestCopy::read(at(4, 0), &mut second).unwrap(),
        ];
        client.copy(&mut copies).unwrap();
        let statuses = copies.each_ref().map(GuestCopy::status);
        assert_eq!(statuses, [Err(GrantError { status: -3 }), Ok(())]);
        assert_eq!((first, second), ([0; 8], [4; 8]));
    });
}

/// 256 pages are 1 MiB, too.
#[test]
fn as_many_copies_as_fit_are_one_question() {
    served(|client, kernel| {
        for length in [1, 4096] {
            let mut bytes = vec![vec![0; length]; 513];
            let mut copies: Vec<_> = (0..)
                .zip(&mut bytes)
                .map(|(n, into)| GuestCopy::read(at(n % GRANTED, 0), into).unwrap())
                .collect();
            client.copy(&mut copies).unwrap();
            assert_eq!(std::mem::take(&mut kernel.lock().copies), [256, 256, 1]);
            for (n, bytes) in bytes.iter().enumerate() {
                assert!(bytes.iter().all(|byte| usize::from(*byte) == n % 16));
            }
        }
        client.copy(&mut []).unwrap();
        assert!(kernel.lock().copies.is_empty());
    });
}

#[test]
fn threads_have_the_broker_one_after_the_other() {
    served(|client, _| {
        thread::scope(|scope| {
            for n in 0..4 {
                scope.spawn(move || {
                    for _ in 0..100 {
                        let mut page = [0; 4096];
                        client
                            .copy(&mut [GuestCopy::read(at(n, 0), &mut page).unwrap()])
                            .unwrap();
                        assert!(page.iter().all(|byte| u32::from(*byte) == n));
                        let index = client.map(&grants(n + 1)).unwrap();
                        client.unmap(index, n + 1);
                    }
                });
            }
        });
    });
}

#[test]
fn an_answer_that_is_none_is_the_last() {
    let wrong: [fn(Answer) -> Vec<u8>; 5] = [
        |answer| {
            Answer {
                tag: answer.tag - 1,
                ..answer
            }
            .as_bytes()
            .to_vec()
        },
        |answer| {
            Answer {
                operation: 9,
                ..answer
            }
            .as_bytes()
            .to_vec()
        },
        |answer| {
            Answer {
                version: 2,
                ..answer
            }
            .as_bytes()
            .to_vec()
        },
        |answer| answer.as_bytes()[1..].to_vec(),
        |_| Vec::new(),
    ];
    for wrong in wrong {
        // What is wrong comes once.
        let first = std::sync::atomic::AtomicBool::new(true);
        let answers = |answer: Answer| {
            let is_first = first.swap(false, std::sync::atomic::Ordering::Relaxed);
            Some(if is_first {
                wrong(answer)
            } else {
                answer.as_bytes().to_vec()
            })
        };
        deceived(good(), answers, |client| {
            let client = client.unwrap();
            for _ in 0..3 {
                assert!(matches!(client.map(&grants(1)), Err(Cause::BrokerGone)));
            }
        });
    }
}

#[test]
fn a_broker_that_is_gone_stays_so() {
    deceived(
        good(),
        |_| None,
        |client| {
            let client = client.unwrap();
            for _ in 0..3 {
                assert!(matches!(client.map(&grants(1)), Err(Cause::BrokerGone)));
            }
        },
    );
}

#[test]
fn a_copy_without_all_its_statuses_is_none() {
    for count in [0, 1, 3, u32::MAX] {
        let answers = move |answer| {
            let answer = Answer { count, ..answer };
            Some([answer.as_bytes(), &[0; 2]].concat())
        };
        deceived(good(), answers, |client| {
            let mut bytes = [[0; 4]; 2];
            let mut copies = bytes
                .each_mut()
                .map(|into| GuestCopy::read(at(1, 0), into).unwrap());
            let copied = client.unwrap().copy(&mut copies);
            assert!(matches!(copied, Err(Cause::BrokerGone)));
            assert!(copies.iter().all(|copy| copy.status().is_err()));
        });
    }
}

#[test]
fn terms_of_another_guest_or_size_are_not_accepted() {
    let others = [
        Terms { guest: 8, ..good() },
        Terms {
            guest: good().guest + (1 << 16),
            ..good()
        },
        Terms {
            max_grants: 4095,
            ..good()
        },
        Terms {
            max_segments: 255,
            ..good()
        },
        Terms {
            copy_bytes: 4096,
            ..good()
        },
    ];
    for terms in others {
        deceived(
            terms,
            |_| None,
            |client| {
                assert!(matches!(client, Err(Cause::Invalid { .. })), "{terms:?}");
            },
        );
    }
}
