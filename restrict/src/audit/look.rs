// SPDX-License-Identifier: MIT OR Apache-2.0
//! One look at all processes, and how to know that it is of one moment.

use std::collections::BTreeMap;

use super::{
    descriptor::Reader,
    error::AuditError,
    place::Places,
    probe::Candidates,
    process::{Process, Target, parse_status},
    procfs::{ProcDir, Unread},
    report::Role,
    scope,
    vantage::Vantage,
};

/// All processes at one look, the one that was asked about first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) processes: Vec<Process>,
}

/// Why a look came to nothing.
#[derive(Debug)]
pub(super) enum Missed {
    /// Something ended or changed meanwhile; it may be there the next time.
    Changed(&'static str),
    /// It could not be read. A process that is about to end answers oddly, so once is no
    /// reason to give up.
    Unread(AuditError),
    /// There is no point in trying again.
    For(AuditError),
}

impl From<AuditError> for Missed {
    fn from(error: AuditError) -> Self {
        Self::For(error)
    }
}

/// The processes to look at, held by descriptors that stay theirs.
#[derive(Debug)]
pub(super) struct Scope(pub(super) Vec<(Target, Role)>);

impl Scope {
    /// Where its pid namespace has a /proc, that tells whether others are in there.
    pub(super) fn of(
        asked: &Target,
        init: Option<i32>,
        vantage: &Vantage,
        namespace: Option<&ProcDir>,
    ) -> Result<Self, Missed> {
        let mut scope = Vec::new();
        let members = match init.zip(namespace) {
            Some((init, namespace)) => match scope::alone(asked.pid, init, namespace) {
                Ok(true) => scope::both(asked.pid, init),
                Ok(false) => return Err(Missed::Changed(scope::OTHERS)),
                Err(Unread::Gone) => return Err(Missed::Changed("a process ended")),
                Err(unread) => return Err(Missed::Unread(AuditError::of(asked.pid, unread))),
            },
            None => scope::members(asked.pid, init, vantage)?,
        };
        for (pid, role) in members {
            match Target::open(pid) {
                Ok(target) if role == Role::Program => scope.insert(0, (target, role)),
                Ok(target) => scope.push((target, role)),
                Err(unread) => missed(pid, role, unread, "a process ended")?,
            }
        }
        // Its number may be another's by now.
        if asked.has_ended() || !matches!(scope.first(), Some((_, Role::Program))) {
            return Err(Missed::For(AuditError::Ended { pid: asked.pid }));
        }
        Ok(Self(scope))
    }

    /// Looks at all of them.
    pub(super) fn look(
        &self,
        vantage: &Vantage,
        candidates: &mut Candidates,
    ) -> Result<Snapshot, Missed> {
        let mut places = Places::new(vantage);
        let mut reader = Reader {
            vantage,
            candidates,
        };
        let mut processes = Vec::new();
        for (target, role) in &self.0 {
            match Process::read(target, *role, &mut reader, &mut places) {
                Ok(Some(process)) => processes.push(process),
                Ok(None) if *role == Role::Program => {
                    return Err(Missed::For(AuditError::Ended { pid: target.pid }));
                }
                Ok(None) => {}
                Err(Unread::Gone) if !target.has_ended() => {
                    return Err(Missed::Changed("a thread, descriptor or mapping"));
                }
                Err(unread) => missed(target.pid, *role, unread, "a process ended")?,
            }
        }
        Ok(Snapshot { processes })
    }

    /// Every thread, and how often it left a processor, if none is on one.
    ///
    /// Whoever runs in between leaves a processor in between: two equal answers mean that
    /// nobody ran from the first to the second.
    pub(super) fn at_rest(&self) -> Option<BTreeMap<(i32, i32), [u64; 2]>> {
        let mut threads = BTreeMap::new();
        for (target, _) in &self.0 {
            for tid in target.dir.numbers("task").ok()? {
                let dir = target.dir.thread(tid).ok()?;
                // The kernel waits until it has really left the processor, or says that
                // it is running. Only then are its switches counted.
                let call = dir.read("syscall");
                let status = parse_status(&dir).ok()?;
                match call {
                    Ok(call) if call != b"running\n" && status.state != 'R' => {}
                    _ if status.has_ended() => {}
                    _ => return None,
                }
                threads.insert((target.pid, tid), status.switches);
            }
        }
        Some(threads)
    }
}

/// A process that belongs to it may end at any time; the one that was asked about is what
/// it is all for.
fn missed(pid: i32, role: Role, unread: Unread, what: &'static str) -> Result<(), Missed> {
    match unread {
        Unread::Gone if role != Role::Program => Err(Missed::Changed(what)),
        Unread::Gone => Err(Missed::For(AuditError::Ended { pid })),
        unread => Err(Missed::Unread(AuditError::of(pid, unread))),
    }
}
