// SPDX-License-Identifier: MIT OR Apache-2.0
//! `env`, `umask`, `session`, and what nobody sees: `parent-death` and `keyring`.

use super::{Judged, View, is_program, unseen};
use crate::{
    audit::{report::Verdict, text},
    confine::Mechanism,
};

/// What a launcher sets for every program.
const GIVEN: [&str; 5] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "XEN_RESTRICT_DOMID",
];

impl View<'_> {
    /// The program's. What it starts gets what it likes.
    pub(super) fn env(&self) -> Judged {
        let named = self
            .expectation
            .record
            .iter()
            .flat_map(|record| &record.env);
        let named: Vec<&str> = named.map(String::as_str).chain(GIVEN).collect();
        let program = self
            .snapshot
            .processes
            .iter()
            .find(|process| is_program(process));
        let variables = program
            .map(|process| process.env.as_slice())
            .unwrap_or_default();
        let others = variables
            .iter()
            .filter(|name| !named.iter().any(|n| n.as_bytes() == *name));
        let others: Vec<_> = others.map(|name| text::quoted(name)).collect();
        let seen = match variables.len() {
            0 => "empty, as its memory has it now".to_owned(),
            count => format!("{count} named ones, as its memory has it now"),
        };
        Judged::of("none but the named variables", seen, &others)
    }

    pub(super) fn parent_death(&self) -> Judged {
        let recorded = self.expectation.recorded(Mechanism::ParentDeath);
        unseen("it ends when its supervisor does", recorded)
    }

    pub(super) fn keyring(&self) -> Judged {
        unseen(
            "a session keyring of its own",
            self.expectation.recorded(Mechanism::Keyring),
        )
    }

    pub(super) fn umask(&self) -> Judged {
        if self
            .threads()
            .any(|(_, thread)| thread.status.umask.is_none())
        {
            let seen = "not told before Linux 4.7";
            return Judged::new("077", seen, Verdict::NotObserved);
        }
        let deviations = self.deviations_but_init(|_, thread| {
            let mask = thread.status.umask.unwrap_or(0);
            (mask & 0o77 != 0o77).then(|| format!("{mask:03o}"))
        });
        Judged::of("077", format!("077 {}", self.all()), &deviations)
    }

    pub(super) fn session(&self) -> Judged {
        let own_pids = self.own_pids();
        let deviations = self.of_processes(|process| {
            if process.terminal != 0 {
                return Some("a controlling terminal".to_owned());
            }
            let other = self.neighbours.in_session(process.session, &own_pids);
            other.map(|other| format!("the session that process {other} is in as well"))
        });
        let seen = "a session of its own, no terminal";
        Judged::of(
            "a session of its own, no controlling terminal",
            seen,
            &deviations,
        )
    }
}
