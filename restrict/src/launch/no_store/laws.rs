// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any bytes that a QEMU sends to what it takes for xenstored.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use super::*;

/// However they come: each whole message has an answer, which says no unless it is of a watch,
/// and repeats but two numbers of it; one that is too long ends it.
pub fn xenstore(data: &[u8]) {
    let Some((pieces, data)) = data.split_first() else {
        return;
    };
    let expected = expected(data);
    assert_eq!(heard(data, LONGEST), expected);
    assert_eq!(heard(data, usize::from(*pieces).max(1)), expected);
}

/// The answers, and whether it is the end.
type Heard = (Vec<Vec<u8>>, bool);

/// In pieces of so many bytes at most.
fn heard(mut data: &[u8], most: usize) -> Heard {
    let mut message = Message::default();
    let mut answers = Vec::new();
    while !data.is_empty() {
        let missing = message.missing();
        assert!((1..=LONGEST).contains(&missing));
        let (piece, rest) = data.split_at(missing.min(most).min(data.len()));
        match message.take(piece) {
            Ok(whole) => answers.extend(whole.map(answer)),
            Err(_) => return (answers, true),
        }
        data = rest;
    }
    (answers, false)
}

/// The same, by a look at all of it.
fn expected(mut data: &[u8]) -> Heard {
    let mut answers = Vec::new();
    while let Some((head, rest)) = data.split_first_chunk::<16>() {
        let word = |at: usize| [0, 1, 2, 3].map(|byte| head[at + byte]);
        let length = usize::try_from(u32::from_ne_bytes(word(12))).expect("64 bits");
        if length > 4096 {
            return (answers, true);
        }
        let Some(next) = rest.get(length..) else {
            break;
        };
        let (kind, text): (u32, &[u8]) = match u32::from_ne_bytes(word(0)) {
            kind @ (4 | 5) => (kind, b"OK\0"),
            _ => (16, b"EACCES\0"),
        };
        let length = u32::try_from(text.len()).expect("few");
        let numbers = [kind.to_ne_bytes(), word(4), word(8), length.to_ne_bytes()];
        answers.push([numbers.as_flattened(), text].concat());
        data = next;
    }
    (answers, false)
}
