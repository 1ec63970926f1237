// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot: follows both serial ports, and knows when to stop waiting.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::alone::End;
use crate::console::{Console, Trouble};
use crate::image::Image;
use crate::job::Plan;
use crate::progress::{self, say};
use crate::qemu::{self, Event, Qemu};
use crate::terminal;
use crate::wire::{Frame, Piece, Wire};

/// How long a run may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Without a byte on either port: then it hangs.
    pub(crate) silence: Duration,
    /// All tests of a suite take a PVH dom0 more than half an hour, and a slow machine more
    /// than three times that. What hangs is silent.
    pub(crate) total: Duration,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        silence: Duration::from_secs(300),
        total: Duration::from_secs(3 * 60 * 60),
    };
    pub(crate) const NONE: Self = Self {
        silence: Duration::MAX,
        total: Duration::MAX,
    };

    /// For a job of this length.
    pub(crate) fn lasting(time: Duration) -> Self {
        Self {
            total: Self::DEFAULT.total + time,
            ..Self::DEFAULT
        }
    }
}

/// What a boot came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The jobs' exit statuses, in order.
    pub(crate) statuses: Vec<i32>,
}

/// Why a boot did not come to its end.
#[derive(Debug)]
enum Stop {
    Said(String),
    Silent(Duration),
    TooLong(Duration),
    NoStart(ExitStatus),
    Qemu(ExitStatus),
    Xen(String),
    Dom0(String),
    Oops(String),
    Survived(End),
}

impl Stop {
    fn what(&self) -> String {
        match self {
            Self::Said(text) => format!("dom0's init gave up: {text}"),
            Self::Silent(time) => format!(
                "the machine hangs: nothing on its consoles for {} seconds",
                time.as_secs()
            ),
            Self::TooLong(time) => {
                format!("the run was not over after {} seconds", time.as_secs())
            }
            Self::NoStart(status) => format!("QEMU did not start ({status})"),
            Self::Qemu(status) => {
                format!("QEMU ended ({status}) before dom0 said that it was done")
            }
            Self::Xen(line) => format!("Xen died: {line}"),
            Self::Dom0(line) => format!("dom0's kernel died: {line}"),
            Self::Oops(line) => format!("dom0's kernel reported damage: {line}"),
            Self::Survived(end) => {
                format!(
                    "the machine came to its end, but not as expected: {}",
                    end.in_words()
                )
            }
        }
    }
}

/// Boots, runs the plan's jobs until `end`, and returns their statuses. Their output is passed
/// on as it comes.
///
/// # Errors
/// QEMU does not start, Xen or dom0 dies, or nothing happens for too long, and that is not
/// the end that was expected; or that does not come. The error ends with the console's last
/// lines.
pub(crate) fn run(
    image: &Image,
    plan: &Plan<'_>,
    folder: &Path,
    limits: Limits,
    end: End,
) -> Result<Outcome> {
    qemu::lay_out(image, plan, folder)?;
    let mut console = Console::create(folder.join("console.log"))?;
    say(&format!(
        "booting Xen {} with Linux {} in a {} dom0 with {}",
        plan.suite.xen, plan.suite.linux, plan.dom0.name, plan.work.contents.name
    ));
    let mut qemu = qemu::start(|console, port| qemu::command(plan, folder, console, port))?;
    let result = follow(&mut qemu, &mut console, plan, limits, end);
    drop(qemu);
    // What stays of a run is its logs.
    let _ = fs::remove_file(folder.join("root.cpio"));
    result?.map_err(|stop| report(&stop, &console, folder))
}

/// Waits for the end, whichever it is. The outer error is this machine's, the inner one the
/// booted machine's.
fn follow(
    qemu: &mut Qemu,
    console: &mut Console,
    plan: &Plan<'_>,
    limits: Limits,
    end: End,
) -> Result<Result<Outcome, Stop>> {
    let started = Instant::now();
    let mut wire = Wire::new(plan.nonce);
    let mut statuses = Vec::new();
    let mut jobs_run = false;
    let mut heard = Vec::new();
    let mut open = 2;
    let mut raw = None;
    let mut last = started;
    loop {
        let left = limits.total.saturating_sub(started.elapsed());
        let silence = limits.silence.saturating_sub(last.elapsed());
        let nudge = NUDGE.min(limits.silence / 4);
        let event = match qemu.events.recv_timeout(silence.min(left).min(nudge)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) if started.elapsed() >= limits.total => {
                return Ok(Err(Stop::TooLong(limits.total)));
            }
            Err(RecvTimeoutError::Timeout) if last.elapsed() < limits.silence => {
                if plan.shell.is_none() {
                    // It may end just now.
                    let _ = (&qemu.port).write_all(b"\0");
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) if end == End::Hang && jobs_run => {
                return Ok(Ok(Outcome { statuses }));
            }
            Err(RecvTimeoutError::Timeout) => {
                console.end_of_tail();
                for question in QUESTIONS {
                    // It may end just now.
                    let _ = qemu.console.write_all(question.as_bytes());
                    linger(qemu, console, limits.silence.min(ANSWER))?;
                }
                return Ok(Err(Stop::Silent(limits.silence)));
            }
            Err(RecvTimeoutError::Disconnected) => Event::Closed,
        };
        last = Instant::now();
        let bytes = match event {
            Event::Closed => {
                open -= 1;
                if open > 0 {
                    continue;
                }
                let status = qemu.child.wait()?;
                return Ok(if raw.is_some() && status.success() {
                    Ok(Outcome { statuses })
                } else if console.is_empty() {
                    Err(Stop::NoStart(status))
                } else {
                    Err(Stop::Qemu(status))
                });
            }
            Event::Console(bytes) => {
                console.feed(&bytes)?;
                if jobs_run && is_said(end, console) {
                    return Ok(Ok(Outcome { statuses }));
                }
                if console.is_dead() {
                    linger(qemu, console, LAST_WORDS)?;
                    return Ok(Err(stop_for(console).unwrap_or(Stop::Silent(LAST_WORDS))));
                }
                continue;
            }
            Event::Port(bytes) => bytes,
        };
        let pieces = match wire.feed(&bytes) {
            Ok(pieces) => pieces,
            Err(damage) => return Ok(Err(Stop::Said(damage))),
        };
        for piece in pieces {
            match piece {
                Piece::Output(bytes) => {
                    progress::pass_on(&bytes)?;
                    if let End::Said(text) = end {
                        heard.extend(bytes);
                        if String::from_utf8_lossy(&heard).contains(text) {
                            return Ok(Ok(Outcome { statuses }));
                        }
                    }
                }
                Piece::Frame(Frame::Step(text)) => say(&text),
                Piece::Frame(Frame::Begin(job)) => {
                    let name = plan.work.jobs.get(job).map_or("?", |job| job.name.as_str());
                    say(&format!("running {name} in dom0"));
                    jobs_run = true;
                }
                Piece::Frame(Frame::End(_, status)) => statuses.push(status),
                Piece::Frame(Frame::Shell) => {
                    say("dom0's prompt; `exit` powers off");
                    raw = Some(terminal::forward(&qemu.port)?);
                }
                Piece::Frame(Frame::Failed(text)) => {
                    linger(qemu, console, LAST_WORDS)?;
                    return Ok(Err(Stop::Said(text)));
                }
                Piece::Frame(Frame::Done) => {
                    linger(qemu, console, LAST_WORDS)?;
                    return Ok(match stop_for(console) {
                        _ if is_said(end, console) => Ok(Outcome { statuses }),
                        Some(stop) => Err(stop),
                        None if end != End::Well => Err(Stop::Survived(end)),
                        None if statuses.len() != plan.work.jobs.len() => Err(Stop::Said(format!(
                            "{} of {} jobs ran",
                            statuses.len(),
                            plan.work.jobs.len()
                        ))),
                        None => Ok(Outcome { statuses }),
                    });
                }
            }
        }
    }
}

/// Is that the end that was expected?
fn is_said(end: End, console: &Console) -> bool {
    matches!(end, End::Console(text) if console.says(text))
}

/// A machine that idles misses its timer now and then, under emulation, and sleeps until another
/// interrupt comes (docs/lab.md): that of a byte on the port, which nobody there reads.
const NUDGE: Duration = Duration::from_secs(5);

/// What a machine that hangs is asked on its console, for its log. Dom0's kernel: to say all
/// (Ctrl-O begins a SysRq there), and what its tasks wait for; then Xen, which Ctrl-A three times
/// turns to: registers, dom0's state, domains, run queues, event channels, timers.
const QUESTIONS: [&str; 2] = ["\x0f9\x0fw\x0ft", "\x01\x01\x01d0qrea"];
const ANSWER: Duration = Duration::from_secs(5);

/// For how long a machine may go on talking after what we stop it for.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn linger(qemu: &Qemu, console: &mut Console, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    while !console.has_ended()
        && let Ok(event) = qemu
            .events
            .recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        if let Event::Console(bytes) = event {
            console.feed(&bytes)?;
        }
    }
    Ok(())
}

/// The worst that the console told.
fn stop_for(console: &Console) -> Option<Stop> {
    let (trouble, line) = console.worst()?;
    let line = line.to_owned();
    Some(match trouble {
        Trouble::Xen => Stop::Xen(line),
        Trouble::Dom0 => Stop::Dom0(line),
        Trouble::Oops => Stop::Oops(line),
    })
}

fn report(stop: &Stop, console: &Console, folder: &Path) -> anyhow::Error {
    let mut text = stop.what();
    let qemu = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
    if !qemu.trim().is_empty() {
        let _ = write!(
            text,
            "\nQEMU said:\n  | {}",
            qemu.trim().replace('\n', "\n  | ")
        );
    }
    let _ = write!(
        text,
        "\nThe console's last lines:\n{}All of it: {}",
        console.tail(40),
        console.path().display()
    );
    anyhow::Error::msg(text)
}

#[cfg(test)]
mod tests;
