// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any bytes that somebody else wrote, one function for each target of
//! `fuzz/`. The tests give them the targets' seeds.

pub use crate::{
    audit::laws::seccomp_filter,
    confine::laws::users,
    handover::laws::handover,
    io_request::laws::ioreq_served,
    launch::{
        laws::{messages, record},
        no_store::laws::xenstore,
    },
};

/// Any text of /proc, whoever reads it.
pub fn proc_texts(data: &[u8]) {
    crate::audit::laws::proc_texts(data);
    crate::confine::laws::proc_texts(data);
}

/// Nothing that moves a terminal's cursor, or begins a line of its own.
pub(crate) fn is_one_line(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// A message with its causes.
pub(crate) fn is_told_in_one_line(error: &dyn std::error::Error) {
    is_one_line(&error.to_string());
    if let Some(cause) = error.source() {
        is_told_in_one_line(cause);
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{replay::replay, *};
    use crate::broker::tests::laws::is_read_or_refused;

    #[test]
    fn each_law_holds_for_its_seeds_and_what_is_near_them() {
        replay(&[
            ("grant_broker", is_read_or_refused),
            ("handover", handover),
            ("ioreq_served", ioreq_served),
            ("messages", messages),
            ("proc_texts", proc_texts),
            ("record", record),
            ("seccomp_filter", seccomp_filter),
            ("users", users),
            ("xenstore", xenstore),
        ]);
    }
}
