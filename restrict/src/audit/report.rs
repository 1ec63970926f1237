// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an audit found. Serialized, it is the JSON that `docs/audit.md` describes.
//!
//! Every text in it is safe to print: what a process chose is escaped.

use serde::{Serialize, Serializer};

use crate::{
    GuestId,
    confine::{Mechanism, Profile, xen_requests::Phase},
};

/// What is to be thought of one check, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The profile does not have it, it was left out by name, or this machine has not
    /// got it. What was seen is told.
    NotAsked,
    /// It is in force, in every thread and process.
    Holds,
    /// The kernel does not show it to anybody outside.
    NotObservable,
    /// The kernel could have shown it, but not here and now. Not to be taken for
    /// [`NotObservable`](Self::NotObservable): something is amiss.
    NotObserved,
    /// It is not in force, in at least one thread or process.
    Fails,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAsked => "not asked for",
            Self::Holds => "holds",
            Self::NotObservable => "not observable",
            Self::NotObserved => "NOT OBSERVED",
            Self::Fails => "FAILS",
        }
    }
}

/// One check of one mechanism.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Which.
    #[serde(serialize_with = "name_of_mechanism")]
    pub check: Mechanism,
    /// What should be.
    pub expected: String,
    /// What is; where it fails, in which thread or process, at least in one.
    pub seen: String,
    /// Whether they agree.
    pub verdict: Verdict,
}

/// What a handle may act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HandleState {
    /// Every domain.
    Unrestricted,
    /// One domain.
    Restricted {
        /// Which; one that is no guest's is as bad as none.
        domid: u16,
    },
    /// None: /dev/null is in its place.
    Revoked,
    /// Pages that another process, the broker, maps for one guest: a filter refuses all
    /// requests on it, and leaves mmap.
    Brokered,
    /// Memory that was mapped through it; of which domain cannot be told.
    Mapped,
    /// It could not be found out.
    Unknown,
}

/// One way to Xen that a process holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HandleFinding {
    /// Who holds it.
    pub pid: i32,
    /// By which number; none where only memory of it is mapped.
    pub fd: Option<i32>,
    /// What it is: `privcmd`, `evtchn`, `gntdev`, ...
    pub device: String,
    /// What it may act on.
    pub state: HandleState,
    /// What should be.
    pub expected: String,
    /// What is, and what nobody can see.
    pub seen: String,
    /// Whether they agree.
    pub verdict: Verdict,
}

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The one that was asked about.
    Program,
    /// Pid 1 of the program's pid namespace.
    Init,
    /// Started by one of them, or of the same pid namespace or uid.
    Other,
}

/// A process that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProcessSeen {
    /// Its number.
    pub pid: i32,
    /// Its name, which it can choose.
    pub name: String,
    /// Its executable file, as far as there is one.
    pub exe: Option<String>,
    /// When it started: clock ticks after the machine did, as in `/proc/PID/stat`.
    pub start_time: u64,
    /// Whose it is.
    pub role: Role,
    /// Its threads' numbers.
    pub threads: Vec<i32>,
}

/// How the processes were caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Moment {
    /// No thread ran while it was looked at: all is of one moment.
    AtRest,
    /// All were stopped for it.
    Stopped,
    /// Threads ran; what was found was the same each of so many times.
    Running,
    /// Threads ran, and what was found changed; what fails was seen all the same.
    Changing,
}

/// What was found of one process and all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The process that was asked about.
    pub pid: i32,
    /// The domain that it serves: as expected, else the one that all its handles are
    /// restricted to.
    #[serde(serialize_with = "maybe_domid")]
    pub domid: Option<GuestId>,
    /// The instance, if a launcher recorded it.
    pub instance: Option<String>,
    /// What was asked for.
    #[serde(serialize_with = "name_of_profile")]
    pub profile: Profile,
    /// Without these.
    #[serde(serialize_with = "names_of_mechanisms")]
    pub without: Vec<Mechanism>,
    /// Its phase, as far as its supervisor has recorded it; none if nobody did.
    #[serde(serialize_with = "maybe_phase")]
    pub phase: Option<Phase>,
    /// The worst of all. What is not observable or not asked for does not count: it is
    /// `Holds`, `NotObserved` or `Fails`.
    pub verdict: Verdict,
    /// How the processes were caught.
    pub moment: Moment,
    /// How often they were looked at.
    pub looks: u32,
    /// All of them, the one that was asked about first.
    pub processes: Vec<ProcessSeen>,
    /// One per mechanism, in the order of [`Mechanism::ALL`].
    pub findings: Vec<Finding>,
    /// One per handle on one of Xen's devices, and other ways to Xen.
    pub handles: Vec<HandleFinding>,
}

impl Report {
    /// Whether nothing fails, and all that can be observed was.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdict == Verdict::Holds
    }

    /// The finding of one mechanism.
    #[must_use]
    pub fn finding(&self, check: Mechanism) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.check == check)
    }

    /// The worst of all.
    pub(super) fn worst(&self) -> Verdict {
        let findings = self.findings.iter().map(|finding| finding.verdict);
        let handles = self.handles.iter().map(|handle| handle.verdict);
        match findings.chain(handles).max() {
            Some(bad @ (Verdict::Fails | Verdict::NotObserved)) => bad,
            _ => Verdict::Holds,
        }
    }

    /// Keeps what an earlier look at the same processes saw fail: it was so.
    pub(super) fn remember(&mut self, earlier: &Self) {
        for (now, before) in self.findings.iter_mut().zip(&earlier.findings) {
            if before.verdict == Verdict::Fails && now.verdict != Verdict::Fails {
                *now = before.clone();
            }
        }
        for before in earlier
            .handles
            .iter()
            .filter(|handle| handle.verdict == Verdict::Fails)
        {
            let same = |now: &&mut HandleFinding| {
                (now.pid, now.fd, &now.device) == (before.pid, before.fd, &before.device)
            };
            match self.handles.iter_mut().find(same) {
                Some(now) => *now = before.clone(),
                None => self.handles.push(before.clone()),
            }
        }
        self.verdict = self.worst();
    }
}

fn name_of_mechanism<S: Serializer>(mechanism: &Mechanism, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(mechanism.name())
}

fn names_of_mechanisms<S: Serializer>(list: &[Mechanism], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(list.iter().map(|mechanism| mechanism.name()))
}

fn name_of_profile<S: Serializer>(profile: &Profile, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(profile.name())
}

#[allow(
    clippy::ref_option,
    reason = "serde calls it with a reference to the field"
)]
fn maybe_domid<S: Serializer>(domid: &Option<GuestId>, to: S) -> Result<S::Ok, S::Error> {
    domid.map(GuestId::get).serialize(to)
}

#[allow(
    clippy::ref_option,
    reason = "serde calls it with a reference to the field"
)]
fn maybe_phase<S: Serializer>(phase: &Option<Phase>, to: S) -> Result<S::Ok, S::Error> {
    phase.map(Phase::name).serialize(to)
}
