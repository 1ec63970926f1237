// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any message between the program, its supervisor, and who asks the
//! supervisor, and for any record.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use std::os::unix::ffi::OsStrExt;

use super::{
    control::{self, SealError},
    notify::Heard,
    record::Record,
    report::{self, Report},
    wire::{self, Message},
};
use crate::{
    audit::Expectation,
    confine::{Limit, Mechanism, notify::Denial},
    fuzzing::{is_one_line, is_told_in_one_line},
};

/// The same bytes at each border.
pub fn messages(data: &[u8]) {
    of_the_child(data);
    of_sd_notify(data);
    of_the_control_socket(data);
    of_the_command(data);
    of_a_denied_call(data);
}

/// From the child that is being confined.
fn of_the_child(data: &[u8]) {
    if let Ok(message) = Message::from_bytes(data) {
        let again = message
            .to_bytes()
            .and_then(|bytes| Message::from_bytes(&bytes));
        assert_eq!(again, Ok(message));
    }
    let Some((times, text)) = data.split_first() else {
        return;
    };
    // What a mechanism says is heard, however long it is: here up to 50 kB.
    let text = &text[..text.len().min(64)];
    let text = String::from_utf8_lossy(text).repeat(usize::from(*times));
    let message = Message::Mechanism {
        name: Mechanism::Root.name().into(),
        reason: text.clone(),
        remedy: text.clone(),
    };
    let bytes = message.to_bytes().expect("texts");
    assert!(bytes.len() <= wire::LONGEST);
    let Ok(Message::Mechanism {
        name,
        reason,
        remedy,
    }) = Message::from_bytes(&bytes)
    else {
        panic!("not heard");
    };
    assert_eq!(name, Mechanism::Root.name());
    let is_beginning = |told: &str| {
        let cut = told.strip_suffix("...");
        text == told || cut.is_some_and(|cut| cut.len() > 4000 && text.starts_with(cut))
    };
    assert!(is_beginning(&reason) && is_beginning(&remedy));
}

/// Of what the program says only whole words count.
fn of_sd_notify(data: &[u8]) {
    let mut heard = Heard::default();
    heard.take(data);
    let lossy = String::from_utf8_lossy(data);
    let has = |word: &str| lossy.split('\n').any(|line| line == word);
    assert_eq!(
        (heard.ready, heard.sealed),
        (has("READY=1"), has("SEALED=1"))
    );
    let words = ["READY=1", "STOPPING=1", "WATCHDOG=1"].map(has);
    assert_eq!(heard.words, words);
}

/// Root alone reaches it; the answer may come from a supervisor of another version.
fn of_the_control_socket(data: &[u8]) {
    assert_eq!(control::is_seal(data), data == b"seal\n");
    let lossy = String::from_utf8_lossy(data);
    match control::outcome(&lossy) {
        Ok(()) => assert_eq!(lossy, "sealed\n"),
        Err(SealError::Refused(reason)) => assert!(!reason.contains('\n') || lossy.contains('\n')),
        Err(other) => panic!("{other}"),
    }
    // No reason reads as a yes.
    assert!(control::outcome(&control::in_words(&Err(lossy.into_owned()))).is_err());
    assert!(control::outcome(&control::in_words(&Ok(()))).is_ok());
}

/// Between the command and the launcher that executed it.
fn of_the_command(data: &[u8]) {
    if let Ok(report) = serde_json::from_slice::<Report>(data) {
        let again = serde_json::to_vec(&report).expect("texts and numbers");
        assert_eq!(serde_json::from_slice::<Report>(&again).ok(), Some(report));
    }
    let variables = report::variables(data);
    let again: Vec<u8> = variables
        .iter()
        .flat_map(|variable| [variable.as_bytes(), b"\0"].concat())
        .collect();
    assert_eq!(report::variables(&again), variables);
    assert!(
        variables
            .iter()
            .all(|variable| !variable.as_bytes().contains(&0))
    );
}

/// A call that the program chose, down to its last bit.
fn of_a_denied_call(data: &[u8]) {
    let Some((head, _)) = data.split_first_chunk::<64>() else {
        return;
    };
    let word = |at: usize| u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte| head[at + byte]));
    let call = libc::seccomp_data {
        nr: i32::from_ne_bytes([head[0], head[1], head[2], head[3]]),
        arch: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        instruction_pointer: word(8),
        args: [16, 24, 32, 40, 48, 56].map(word),
    };
    let denial = Denial::of(&call, 7);
    let told = denial.to_string();
    is_one_line(&told);
    assert!(
        told.is_ascii() && told.len() < 160 && told.contains("thread 7"),
        "{told}"
    );
}

/// `applied.json`: the audit holds a process against what it says, so it is whole or
/// nothing.
pub fn record(data: &[u8]) {
    let Ok(record) = serde_json::from_slice::<Record>(data) else {
        return;
    };
    let again = serde_json::to_vec(&record).expect("texts and numbers");
    assert_eq!(
        serde_json::from_slice::<Record>(&again).ok().as_ref(),
        Some(&record)
    );
    match Expectation::try_from(record.clone()) {
        Err(error) => is_told_in_one_line(&error),
        Ok(expectation) => {
            assert_eq!(expectation.domid.map(u16::from), record.domid);
            assert_eq!(expectation.profile.name(), record.profile);
            let without = expectation.without.iter().map(|mechanism| mechanism.name());
            assert!(without.eq(record.without.iter().map(String::as_str)));
            for mechanism in Mechanism::ALL {
                let left_out = expectation.without.contains(&mechanism);
                let absent = record
                    .absent
                    .iter()
                    .any(|a| a.mechanism == mechanism.name());
                let has = expectation.profile.has(mechanism) && !left_out && !absent;
                assert_eq!(expectation.has(mechanism), has, "{mechanism}");
            }
            for limit in &record.rlimits {
                let limit: Limit = limit.parse().expect("looked at");
                assert_eq!(limit.to_string().parse(), Ok(limit));
            }
        }
    }
}
