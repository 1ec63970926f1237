// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stops threads for a moment, and reads their filters meanwhile.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::program::{Instruction, Program};
use crate::audit::{
    error::AuditError,
    look::{Missed, Scope},
    process::parse_status,
    procfs::{ProcDir, Unread},
    sys,
};

/// How long threads may take to stop, all together: one in a call to a slow disk does so after
/// it, and the others stand still meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where they are to be let go of.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_micros(50);

/// Threads that stand still until this is dropped, by the thread that stopped them. When
/// that ends, the kernel lets go of them as well.
#[derive(Debug, Default)]
pub(in crate::audit) struct Stopped {
    /// With the signal that each was about to get; none of one that has yet to stop.
    threads: BTreeMap<i32, Option<i32>>,
}

impl Stopped {
    /// Stops every thread that is not stopped yet; returns whether there was none.
    pub(in crate::audit) fn stop(&mut self, scope: &Scope) -> Result<bool, Missed> {
        for (target, _) in &scope.0 {
            let Ok(tids) = target.dir.numbers("task") else {
                return Ok(false);
            };
            for tid in tids {
                if self.threads.contains_key(&tid) {
                    continue;
                }
                let status = target.dir.thread(tid).and_then(|dir| parse_status(&dir));
                let Ok(status) = status else { return Ok(false) };
                if status.has_ended() {
                    continue;
                }
                if status.tracer != 0 {
                    let why = format!("process {} traces it: look again without", status.tracer);
                    return Err(AuditError::NotStopped { tid, why }.into());
                }
                self.interrupt(&target.dir, tid)?;
            }
        }
        // Those of an earlier time, too, that was cut short.
        let running = self.threads.iter().filter(|(_, stopped)| stopped.is_none());
        let running: Vec<_> = running.map(|(tid, _)| *tid).collect();
        let deadline = Instant::now() + PATIENCE;
        for tid in &running {
            self.wait(*tid, deadline)?;
        }
        Ok(running.is_empty())
    }

    /// Has it stop, soon.
    fn interrupt(&mut self, process: &ProcDir, tid: i32) -> Result<(), Missed> {
        let changed = || Missed::Changed("a thread ended");
        // One that has ended, and was not waited for yet, gets EPERM as one that may not be
        // traced does.
        let failed = |errno: Errno| match errno {
            Errno::ESRCH => changed(),
            _ if has_ended(process, tid) => changed(),
            other => AuditError::NotStopped {
                tid,
                why: other.to_string(),
            }
            .into(),
        };
        sys::seize(tid).map_err(failed)?;
        // From here on it is let go of with the others, stopped or not.
        self.threads.insert(tid, None);
        sys::interrupt(tid).map_err(failed)
    }

    fn wait(&mut self, tid: i32, deadline: Instant) -> Result<(), Missed> {
        match stops(tid, deadline) {
            Some(signal) => {
                self.threads.insert(tid, Some(signal));
                Ok(())
            }
            None if sys::stopped_by(tid).is_err() => Err(Missed::Changed("a thread ended")),
            None => {
                let why = "it does not stop, maybe in uninterruptible sleep; look again without \
                           `--filters`";
                let why = why.to_owned();
                Err(AuditError::NotStopped { tid, why }.into())
            }
        }
    }

    /// The filters of a thread that is stopped.
    pub(in crate::audit) fn filters(&self, tid: i32) -> Result<Vec<Program>, Missed> {
        let mut programs = Vec::new();
        loop {
            match filter(tid, programs.len()) {
                Ok(program) => programs.push(program),
                // No more of them, or none at all.
                Err(Errno::ENOENT | Errno::EINVAL) => return Ok(programs),
                Err(Errno::ESRCH) => return Err(Missed::Changed("a thread ended")),
                Err(errno) => return Err(unreadable(tid, errno).into()),
            }
        }
    }
}

/// With which signal it stops, if it does before the deadline.
fn stops(tid: i32, deadline: Instant) -> Option<i32> {
    loop {
        match sys::stopped_by(tid) {
            Ok(None) if Instant::now() < deadline => thread::sleep(PAUSE),
            stopped => return stopped.ok().flatten(),
        }
    }
}

/// Whether it is certain that this thread runs no more: what cannot be read may well run.
fn has_ended(process: &ProcDir, tid: i32) -> bool {
    match process.thread(tid).and_then(|dir| parse_status(&dir)) {
        Ok(status) => status.has_ended(),
        Err(Unread::Gone) => true,
        Err(_) => false,
    }
}

fn filter(tid: i32, index: usize) -> Result<Program, Errno> {
    let length = sys::filter_length(tid, index)?;
    let mut program = vec![Instruction::default(); length];
    sys::filter(tid, index, &mut program)?;
    Ok(program)
}

fn unreadable(tid: i32, errno: Errno) -> AuditError {
    let why = match errno {
        Errno::EACCES => {
            "its filters are not shown to a process that has one itself: audit outside of that sandbox"
                .to_owned()
        }
        Errno::EIO => "this kernel does not show filters (CONFIG_CHECKPOINT_RESTORE)".to_owned(),
        other => format!("its filters cannot be read: {other}"),
    };
    AuditError::NotStopped { tid, why }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let (stopped, running): (Vec<_>, Vec<_>) = self
            .threads
            .iter()
            .partition(|(_, signal)| signal.is_some());
        for (tid, signal) in stopped {
            let _ = sys::detach(*tid, signal.unwrap_or(0));
        }
        let deadline = Instant::now() + LAST_PATIENCE;
        for (tid, _) in running {
            // One that did not stop cannot be let go of; it is when this thread ends.
            let _ = sys::detach(*tid, stops(*tid, deadline).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn stop(pid: i32) -> Result<(), Missed> {
        Stopped::default().interrupt(&ProcDir::of(pid).unwrap(), pid)
    }

    #[test]
    fn a_thread_that_ends_before_it_is_stopped_is_no_refusal() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        let dir = ProcDir::of(pid).unwrap();
        while !has_ended(&dir, pid) {
            thread::sleep(PAUSE);
        }
        assert_eq!(sys::seize(pid), Err(Errno::EPERM));
        let missed = stop(pid).unwrap_err();
        assert!(matches!(missed, Missed::Changed(_)), "{missed:?}");
        child.wait().unwrap();
        assert!(has_ended(&dir, pid));
    }

    #[test]
    fn one_that_has_yet_to_stop_is_let_go_of() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        let dir = ProcDir::of(pid).unwrap();
        for _ in 0..100 {
            let mut stopped = Stopped::default();
            stopped.interrupt(&dir, pid).unwrap();
            drop(stopped);
            assert_eq!(parse_status(&dir).unwrap().tracer, 0);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Nobody traces a thread of his own process.
    #[test]
    fn a_thread_that_lives_and_cannot_be_traced_is_one() {
        let own = std::process::id().cast_signed();
        assert_eq!(sys::seize(own), Err(Errno::EPERM));
        let missed = stop(own).unwrap_err();
        assert!(
            matches!(missed, Missed::For(AuditError::NotStopped { tid, .. }) if tid == own),
            "{missed:?}"
        );
    }
}
