// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rlimits`.

use super::{Judged, View};
use crate::{audit::process::Process, confine::Limit};

impl View<'_> {
    /// A limit can only be lowered by those who have it, so less is as good.
    pub(super) fn rlimits(&self) -> Judged {
        let limits = self.expectation.limits();
        let deviations = self.of_processes(|process| {
            let wrong = limits.iter().filter_map(|limit| exceeds(process, limit));
            let wrong: Vec<_> = wrong.collect();
            (!wrong.is_empty()).then(|| wrong.join(", "))
        });
        let expected: Vec<_> = limits.iter().map(ToString::to_string).collect();
        let expected = format!("at most {}", expected.join(", "));
        Judged::of(
            expected,
            format!("no more than that {}", self.all()),
            &deviations,
        )
    }
}

fn exceeds(process: &Process, limit: &Limit) -> Option<String> {
    let name = limit.name();
    let Some(seen) = process.limits.iter().find(|seen| seen.name == name) else {
        return Some(format!("{name} unknown"));
    };
    let within = |value: Option<u64>| match (value, limit.value()) {
        (Some(value), Some(most)) => value <= most,
        (None, Some(_)) => false,
        (_, None) => true,
    };
    let shown =
        |value: Option<u64>| value.map_or("unlimited".to_owned(), |value| value.to_string());
    (!within(seen.soft) || !within(seen.hard))
        .then(|| format!("{name}={}, hard {}", shown(seen.soft), shown(seen.hard)))
}
