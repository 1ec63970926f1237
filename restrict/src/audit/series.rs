// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks until it is certain.

use std::{
    cell::OnceCell,
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

use super::{
    Known,
    checks::View,
    error::AuditError,
    expectation::Expectation,
    filters::{Filters, Stopped},
    look::{Missed, Scope, Snapshot},
    probe::Candidates,
    process::Target,
    report::{Moment, Report, Verdict},
    vantage::Vantage,
};

/// So many looks in a row must have found the same where threads run. Who moves a
/// descriptor to and fro between two numbers is missed at one look with a chance of one
/// in four.
const AGREEING: u32 = 12;
/// When to give up: after so many looks, or, where they are slow, after so long.
const MOST: u32 = 200;
const FEW: u32 = 3 * AGREEING;
const LONG: Duration = Duration::from_secs(2);
/// How often in a row something may not be readable.
const PATIENT: u32 = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// Looks at the process and all that belong to it.
pub(super) fn run(
    target: &Target,
    expectation: &Expectation,
    vantage: &Vantage,
    known: &Known,
) -> Result<Report, AuditError> {
    let run = || series(target, expectation, vantage, known);
    if !expectation.filters {
        return run();
    }
    // Threads are stopped by a thread of its own: when that ends, the kernel lets go of all.
    thread::scope(|scope| {
        let tracer = thread::Builder::new()
            .name("audit".into())
            .spawn_scoped(scope, run);
        let tracer = tracer.map_err(|source| AuditError::own("a new thread", source))?;
        tracer.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn series(
    target: &Target,
    expectation: &Expectation,
    vantage: &Vantage,
    known: &Known,
) -> Result<Report, AuditError> {
    let mut candidates = Candidates::default();
    expectation
        .domid
        .into_iter()
        .for_each(|domid| candidates.add(domid.get()));
    let mut series = Series::default();
    let (start, mut unread) = (Instant::now(), 0);
    for looks in 1..=MOST {
        series.looks = looks;
        match once(target, expectation, vantage, known, &mut candidates) {
            Ok(seen) => {
                unread = 0;
                let moment = seen.moment;
                series.add(seen);
                if moment != Moment::Running {
                    return series.end(target.pid, moment);
                }
                if series.agreeing == AGREEING {
                    return series.end(target.pid, Moment::Running);
                }
            }
            Err(Missed::Unread(error)) if unread == PATIENT => return Err(error),
            Err(Missed::Unread(_)) => {
                (series.agreeing, unread) = (0, unread + 1);
                thread::sleep(PAUSE);
            }
            Err(Missed::For(error)) => return Err(error),
            Err(Missed::Changed(what)) => {
                series.agreeing = 0;
                series.changed = what;
                thread::sleep(PAUSE);
            }
        }
        // What failed is certain, whatever else changes.
        let enough = looks == FEW && series.fails();
        if enough || looks > FEW && start.elapsed() > LONG {
            break;
        }
    }
    series.give_up(target.pid)
}

/// One look, and what is to be thought of it.
struct Seen {
    snapshot: Snapshot,
    report: Report,
    moment: Moment,
}

fn once(
    target: &Target,
    expectation: &Expectation,
    vantage: &Vantage,
    known: &Known,
    candidates: &mut Candidates,
) -> Result<Seen, Missed> {
    let init = expectation
        .record
        .as_ref()
        .and_then(|record| record.init_pid);
    let scope = || Scope::of(target, init, vantage, known.members.as_ref());
    let (snapshot, filters, moment);
    if expectation.filters {
        let mut stopped = Stopped::default();
        let mut all = scope()?;
        // Until nobody is left who could start another.
        let mut rounds = 0..MOST;
        while !stopped.stop(&all)? {
            rounds.next().ok_or(Missed::Changed(
                "processes start faster than they are stopped",
            ))?;
            all = scope()?;
        }
        snapshot = all.look(vantage, candidates)?;
        filters = Some(Filters::read(&stopped, &snapshot, &known.loaded)?);
        moment = Moment::Stopped;
    } else {
        let scope = scope()?;
        let before = scope.at_rest();
        snapshot = scope.look(vantage, candidates)?;
        filters = None;
        let at_rest = before.is_some() && before == scope.at_rest();
        moment = if at_rest {
            Moment::AtRest
        } else {
            Moment::Running
        };
    }
    let view = View {
        expectation,
        vantage,
        neighbours: &known.neighbours,
        snapshot: &snapshot,
        filters: filters.as_ref(),
        inserted: OnceCell::new(),
    };
    Ok(Seen {
        report: view.report(target.pid),
        snapshot,
        moment,
    })
}

/// What was seen so far.
struct Series {
    last: Option<Snapshot>,
    newest: Option<Report>,
    /// With all that failed before.
    all: Option<Report>,
    agreeing: u32,
    looks: u32,
    changed: &'static str,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            last: None,
            newest: None,
            all: None,
            agreeing: 0,
            looks: 0,
            changed: "what it holds",
        }
    }
}

impl Series {
    fn add(&mut self, seen: Seen) {
        if self.last.as_ref() == Some(&seen.snapshot) {
            self.agreeing += 1;
        } else {
            self.agreeing = 1;
            self.changed = "what it holds";
        }
        let newest = Report {
            looks: self.looks,
            ..seen.report
        };
        let mut all = newest.clone();
        if let Some(earlier) = &self.all {
            all.remember(earlier);
        }
        (self.last, self.newest, self.all) = (Some(seen.snapshot), Some(newest), Some(all));
    }

    fn end(mut self, pid: i32, moment: Moment) -> Result<Report, AuditError> {
        let report = match moment {
            // All of it is of that moment; what was before is over.
            Moment::AtRest | Moment::Stopped => self.newest.take(),
            Moment::Running | Moment::Changing => self.all.take(),
        };
        match report {
            Some(report) => Ok(Report { moment, ..report }),
            None => self.give_up(pid),
        }
    }

    fn fails(&self) -> bool {
        self.all
            .as_ref()
            .is_some_and(|all| all.verdict == Verdict::Fails)
    }

    fn give_up(self, pid: i32) -> Result<Report, AuditError> {
        let (what, looks) = (self.changed, self.looks);
        match self.all {
            Some(report) if report.verdict == Verdict::Fails => Ok(Report {
                moment: Moment::Changing,
                ..report
            }),
            _ => Err(AuditError::Changing { pid, looks, what }),
        }
    }
}
