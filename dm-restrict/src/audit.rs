// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict audit`.

mod table;

use std::{
    error::Error,
    io::{self, Write as _},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use xen_restrict::{
    GuestId,
    audit::{AuditError, Expectation, Report, Verdict, audit as look_at},
    launch::{self, Record},
};

use crate::{
    cli::{Audit, Whom},
    say, with_causes,
};

/// When a look takes longer, something in it is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `--json` prints; `docs/audit.md` has the meaning of each field.
#[derive(Serialize)]
struct Output {
    version: u32,
    verdict: Verdict,
    reports: Vec<Report>,
    errors: Vec<Failure>,
}

/// A program that could not be looked at.
#[derive(Serialize)]
struct Failure {
    pid: Option<i32>,
    domid: Option<u16>,
    instance: Option<String>,
    error: String,
}

/// The exit code: 0 when every check holds, 1 when one fails, 2 when it could not look.
pub(crate) fn audit(options: &Audit) -> u8 {
    let mut output = Output {
        version: 1,
        verdict: Verdict::Holds,
        reports: Vec::new(),
        errors: Vec::new(),
    };
    match targets(options) {
        Ok(targets) => {
            for (pid, expectation) in targets {
                output.look(pid, expectation, options.whom.all);
            }
        }
        Err(error) => output.fail(None, None, &*error),
    }
    output.judge();
    let mut out = io::stdout().lock();
    let written = if options.json {
        serde_json::to_writer_pretty(&mut out, &output)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        output
            .reports
            .iter()
            .try_for_each(|report| table::print(&mut out, report))
    };
    if let Err(error) = written {
        say(&format!("the result cannot be written: {error}"));
        return 2;
    }
    match output.verdict {
        Verdict::Fails => 1,
        Verdict::NotObserved => 2,
        _ => 0,
    }
}

/// The same for one process, held against what was recorded at its start.
pub(crate) fn audit_process(pid: i32) -> u8 {
    audit(&Audit {
        whom: Whom {
            pid: Some(pid),
            domid: None,
            all: false,
        },
        profile: None,
        without: Vec::new(),
        filters: false,
        json: false,
    })
}

impl Output {
    fn look(&mut self, pid: i32, expectation: Expectation, all: bool) {
        let record = expectation.record.clone();
        match in_time(pid, expectation) {
            Ok(report) => self.reports.push(report),
            // It was there when it was listed. That it ended is no finding.
            Err(error) if all && has_ended(&*error) => say(&with_causes(&*error)),
            Err(error) => self.fail(Some(pid), record.as_ref(), &*error),
        }
    }

    fn fail(&mut self, pid: Option<i32>, record: Option<&Record>, error: &dyn Error) {
        let error = with_causes(error);
        say(&error);
        let domid = record.and_then(|record| record.domid);
        let instance = record.map(|record| record.instance.escape_default().to_string());
        self.errors.push(Failure {
            pid,
            domid,
            instance,
            error,
        });
    }

    /// The worst of all; what could not be looked at is not said to hold.
    fn judge(&mut self) {
        let missed = if self.errors.is_empty() {
            Verdict::Holds
        } else {
            Verdict::NotObserved
        };
        let reports = self.reports.iter().map(|report| report.verdict);
        self.verdict = reports.chain([missed]).max().unwrap_or(missed);
    }
}

fn has_ended(error: &(dyn Error + 'static)) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            AuditError::NoSuchProcess { .. }
                | AuditError::Ended { .. }
                | AuditError::AnotherProcess { .. }
        )
    )
}

/// Two descriptors are held for each process that is looked at. If there cannot be more,
/// an error says so.
fn make_room() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// Looks in a thread of its own, which is left behind if it does not come back.
fn in_time(pid: i32, expectation: Expectation) -> Result<Report, Box<dyn Error>> {
    make_room();
    let (send, receive) = mpsc::channel();
    let looking = move || {
        // Nobody listens any more when it took too long.
        let _ = send.send(look_at(pid, &expectation));
    };
    thread::Builder::new().name("audit".into()).spawn(looking)?;
    match receive.recv_timeout(PATIENCE) {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(format!(
            "looking at process {pid} takes longer than {} s: a file system it uses, or the kernel, \
             does not answer",
            PATIENCE.as_secs()
        )
        .into()),
    }
}

/// Which processes, and what each is held against.
fn targets(options: &Audit) -> Result<Vec<(i32, Expectation)>, Box<dyn Error>> {
    let whom = &options.whom;
    let recorded = launch::running();
    let Some(pid) = whom.pid else {
        let recorded = recorded?
            .into_iter()
            .filter(|record| is_of(record, whom.domid));
        let targets = recorded.map(|record| Ok((record.pid, expectation(options, record)?)));
        let targets = targets.collect::<Result<Vec<_>, AuditError>>()?;
        if let (Some(domid), []) = (whom.domid, targets.as_slice()) {
            return Err(format!(
                "no program of {domid} was started by dm-restrict, or it has ended: `dm-restrict \
                 list` shows those that run; any process is audited by its number"
            )
            .into());
        }
        if targets.is_empty() {
            say("no program runs that was started by dm-restrict");
        }
        return Ok(targets);
    };
    // By number it may be anybody's, and it is no matter where there are no records.
    let recorded = recorded
        .unwrap_or_default()
        .into_iter()
        .find(|record| record.pid == pid);
    let expectation = match recorded.filter(|_| options.profile.is_none()) {
        Some(record) => expectation(options, record)?,
        None => Expectation {
            profile: options.profile.unwrap_or_default(),
            without: options.without.clone(),
            filters: options.filters,
            ..Expectation::default()
        },
    };
    Ok(vec![(pid, expectation)])
}

fn is_of(record: &Record, domid: Option<GuestId>) -> bool {
    domid.is_none_or(|domid| record.domid == Some(domid.get()))
}

fn expectation(options: &Audit, record: Record) -> Result<Expectation, AuditError> {
    let mut expectation = Expectation::try_from(record)?;
    expectation.profile = options.profile.unwrap_or(expectation.profile);
    expectation.without.extend(&options.without);
    expectation.filters = options.filters;
    Ok(expectation)
}
