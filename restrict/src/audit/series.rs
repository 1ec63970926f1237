// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks until it is certain.

use std::{panic::resume_unwind, thread, time::Duration};

use super::{
    checks::View,
    error::AuditError,
    expectation::Expectation,
    filters::{Filters, Stopped},
    look::{Missed, Scope, Snapshot},
    probe::Candidates,
    process::Target,
    report::{Moment, Report, Verdict},
    scope::Neighbours,
    vantage::Vantage,
};

/// So many looks in a row must have found the same where threads run. Who moves a
/// descriptor to and fro between two numbers is missed at one look with a chance of one
/// in four.
const AGREEING: u32 = 12;
/// When to give up.
const MOST: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);

/// Looks at the process and all that belong to it.
pub(super) fn run(
    target: &Target,
    expectation: &Expectation,
    vantage: &Vantage,
) -> Result<Report, AuditError> {
    let run = || series(target, expectation, vantage);
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
) -> Result<Report, AuditError> {
    let mut candidates = Candidates::default();
    expectation
        .domid
        .into_iter()
        .for_each(|domid| candidates.add(domid.get()));
    let mut series = Series::default();
    for looks in 1..=MOST {
        match once(target, expectation, vantage, &mut candidates) {
            Ok(seen) => {
                let moment = seen.moment;
                series.add(seen, looks);
                if moment != Moment::Running {
                    return series.end(moment);
                }
                if series.agreeing == AGREEING {
                    return series.end(Moment::Running);
                }
            }
            Err(Missed::For(error)) => return Err(error),
            Err(Missed::Changed(what)) => {
                series.agreeing = 0;
                series.changed = what;
                thread::sleep(PAUSE);
            }
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
    candidates: &mut Candidates,
) -> Result<Seen, Missed> {
    let neighbours = Neighbours::look()?;
    let init = expectation
        .record
        .as_ref()
        .and_then(|record| record.init_pid);
    let scope = || Scope::of(target, init, vantage);
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
        filters = Some(Filters::read(&stopped, &snapshot)?);
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
        neighbours: &neighbours,
        snapshot: &snapshot,
        filters: filters.as_ref(),
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
    changed: &'static str,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            last: None,
            newest: None,
            all: None,
            agreeing: 0,
            changed: "what it holds",
        }
    }
}

impl Series {
    fn add(&mut self, seen: Seen, looks: u32) {
        if self.last.as_ref() == Some(&seen.snapshot) {
            self.agreeing += 1;
        } else {
            self.agreeing = 1;
            self.changed = "what it holds";
        }
        let newest = Report {
            looks,
            ..seen.report
        };
        let mut all = newest.clone();
        if let Some(earlier) = &self.all {
            all.remember(earlier);
        }
        (self.last, self.newest, self.all) = (Some(seen.snapshot), Some(newest), Some(all));
    }

    fn end(self, moment: Moment) -> Result<Report, AuditError> {
        let report = match moment {
            // All of it is of that moment; what was before is over.
            Moment::AtRest | Moment::Stopped => self.newest,
            Moment::Running | Moment::Changing => self.all,
        };
        let report = report.ok_or(AuditError::Ended { pid: 0 })?;
        Ok(Report { moment, ..report })
    }

    fn give_up(self, pid: i32) -> Result<Report, AuditError> {
        let what = self.changed;
        match self.all {
            Some(report) if report.verdict == Verdict::Fails => Ok(Report {
                moment: Moment::Changing,
                ..report
            }),
            _ => Err(AuditError::Changing {
                pid,
                looks: MOST,
                what,
            }),
        }
    }
}
