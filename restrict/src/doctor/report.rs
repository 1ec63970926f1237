// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was found, for a person and for a program.

use std::fmt;

use serde::Serialize;

/// The version of the report's form in JSON.
pub const SCHEMA: u32 = 1;

/// All that was found. `Display` is a table for a person; its form in JSON is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Whether a device model can be run here.
    pub verdict: Verdict,
    /// In the order in which it is shown.
    pub items: Vec<Item>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Item {
    /// What it belongs to.
    pub topic: Topic,
    /// Its name; a mechanism's is [`Mechanism::name`](crate::confine::Mechanism::name).
    pub name: &'static str,
    /// Whether it is there.
    pub state: State,
    /// What does not work without it; `None` is less protection, or nothing.
    pub needed_by: Option<Need>,
    /// What was seen.
    pub seen: String,
    /// What to do; always there unless it is offered.
    pub remedy: Option<String>,
}

/// What an item belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Topic {
    /// A way of confinement.
    Mechanisms,
    /// Linux.
    Kernel,
    /// Xen and its devices.
    Xen,
    /// The user database.
    Users,
    /// All else.
    Machine,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// All of it.
    Offered,
    /// It works, and could do more.
    Partly,
    /// It is not there, or this process may not use it.
    Missing,
    /// It could not be looked at.
    Unknown,
}

/// What something is needed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Need {
    /// Every `run` in profile `strict` that leaves nothing out by name.
    Run,
    /// A `run` that hands over Xen handles: not with `--no-xen`.
    Xen,
    /// `audit`.
    Audit,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that a `run` with Xen handles needs is there.
    Ready,
    /// Something of it is missing.
    NotReady,
    /// Nothing is known to be missing, and something could not be looked at.
    Unknown,
}

impl Report {
    pub(super) fn new(items: Vec<Item>) -> Self {
        let of_run = |item: &&Item| matches!(item.needed_by, Some(Need::Run | Need::Xen));
        let any = |state| items.iter().filter(of_run).any(|item| item.state == state);
        let verdict = match (any(State::Missing), any(State::Unknown)) {
            (true, _) => Verdict::NotReady,
            (false, true) => Verdict::Unknown,
            (false, false) => Verdict::Ready,
        };
        Self {
            schema: SCHEMA,
            verdict,
            items,
        }
    }

    /// The names of what `need` lacks.
    fn lacks(&self, need: Need) -> Vec<&'static str> {
        let lacks = |item: &&Item| item.needed_by == Some(need) && item.state == State::Missing;
        self.items
            .iter()
            .filter(lacks)
            .map(|item| item.name)
            .collect()
    }
}

/// What one look found.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) state: State,
    seen: String,
    remedy: Option<String>,
}

impl Finding {
    pub(super) fn offered(seen: impl Into<String>) -> Self {
        Self {
            state: State::Offered,
            seen: seen.into(),
            remedy: None,
        }
    }

    pub(super) fn not(state: State, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state,
            seen: seen.into(),
            remedy: Some(remedy.into()),
        }
    }

    pub(super) fn missing(seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(State::Missing, seen, remedy)
    }

    pub(super) fn partly(seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(State::Partly, seen, remedy)
    }

    pub(super) fn unknown(seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(State::Unknown, seen, remedy)
    }

    /// Of a message that says, after a colon, what to do.
    pub(super) fn told(state: State, message: &str) -> Self {
        match message.split_once(": ") {
            Some((seen, remedy)) => Self::not(state, seen, remedy),
            None => Self::not(state, message, "see the documentation of `dm-restrict`"),
        }
    }

    pub(super) fn item(self, topic: Topic, name: &'static str, needed_by: Option<Need>) -> Item {
        Item {
            topic,
            name,
            state: self.state,
            needed_by,
            seen: self.seen,
            remedy: self.remedy,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Offered => "offered",
            Self::Partly => "partly",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mechanisms => "mechanisms",
            Self::Kernel => "kernel",
            Self::Xen => "xen",
            Self::Users => "users (xen-qemuuser-...)",
            Self::Machine => "machine",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut topic = None;
        for item in &self.items {
            if topic.replace(item.topic) != Some(item.topic) {
                writeln!(f, "{}", item.topic)?;
            }
            let state = match (item.state, item.needed_by) {
                (State::Missing, Some(_)) => "MISSING".to_owned(),
                (state, _) => state.to_string(),
            };
            writeln!(f, "  {:<18} {state:<8} {}", item.name, item.seen)?;
            if let Some(remedy) = &item.remedy {
                writeln!(f, "  {:<18} {:<8} -> {remedy}", "", "")?;
            }
        }
        writeln!(f)?;
        let lines = [
            (Need::Run, "`run`"),
            (Need::Xen, "`run` without --no-xen"),
            (Need::Audit, "`audit`"),
        ];
        for (need, what) in lines {
            match self.lacks(need).as_slice() {
                [] => {}
                names => writeln!(f, "{what} lacks {}", names.join(", "))?,
            }
        }
        match self.verdict {
            Verdict::Ready => writeln!(f, "`run` has what it needs here"),
            Verdict::NotReady => Ok(()),
            Verdict::Unknown => writeln!(f, "nothing is known to be missing, and not all is known"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(items: &[(State, Option<Need>)]) -> Verdict {
        let item = |(state, need): &(State, Option<Need>)| {
            Finding::not(*state, "seen", "do").item(Topic::Kernel, "name", *need)
        };
        Report::new(items.iter().map(item).collect()).verdict
    }

    #[test]
    fn the_verdict_is_about_what_run_needs() {
        use State::{Missing, Offered, Partly, Unknown};
        let (run, xen, audit) = (Some(Need::Run), Some(Need::Xen), Some(Need::Audit));
        assert_eq!(verdict(&[]), Verdict::Ready);
        assert_eq!(
            verdict(&[(Offered, run), (Partly, xen), (Missing, None)]),
            Verdict::Ready
        );
        assert_eq!(
            verdict(&[(Missing, audit), (Unknown, None)]),
            Verdict::Ready
        );
        assert_eq!(
            verdict(&[(Missing, xen), (Unknown, run)]),
            Verdict::NotReady
        );
        assert_eq!(verdict(&[(Missing, run)]), Verdict::NotReady);
        assert_eq!(verdict(&[(Unknown, xen), (Offered, run)]), Verdict::Unknown);
    }

    #[test]
    fn a_message_is_split_where_it_says_what_to_do() {
        let finding = Finding::told(State::Missing, "line 3, \"a:1:2\", overlaps: move it: now");
        assert_eq!(finding.seen, "line 3, \"a:1:2\", overlaps");
        assert_eq!(finding.remedy.as_deref(), Some("move it: now"));
        assert!(Finding::told(State::Missing, "no colon").remedy.is_some());
    }
}
