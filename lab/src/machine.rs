// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot: starts QEMU, follows both serial ports, and knows when to stop waiting.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

use crate::console::{Console, Trouble};
use crate::image::Image;
use crate::job::Plan;
use crate::process;
use crate::progress::say;
use crate::terminal;
use crate::wire::{Frame, Piece, Wire};

/// Virtual processors. One is no slower than two, and two suffer when this machine is busy:
/// each waits in vain for the other, which is not running.
pub(crate) const CPUS: u8 = 1;

/// Memory of the whole machine and of dom0, in MiB.
const MEMORY: u32 = 1024;
const DOM0_MEMORY: u32 = 512;

/// TCG gets SMAP and SMEP wrong for a PV kernel, and Xen trips over the others.
const CPU: &str = "max,-smap,-smep,-pku,-la57";

/// How long a run may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Without a byte on either port: then it hangs.
    pub(crate) silence: Duration,
    pub(crate) total: Duration,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        silence: Duration::from_secs(180),
        total: Duration::from_secs(20 * 60),
    };
    pub(crate) const NONE: Self = Self {
        silence: Duration::MAX,
        total: Duration::MAX,
    };
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
        }
    }
}

enum Event {
    Console(Vec<u8>),
    Port(Vec<u8>),
    Closed,
}

/// QEMU, killed when the value goes.
struct Qemu {
    child: Child,
    events: Receiver<Event>,
    port: UnixStream,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Boots, runs the plan's jobs, and returns their statuses. Their output goes to this
/// process's standard output.
///
/// # Errors
/// QEMU does not start, Xen or dom0 dies, or nothing happens for too long. The error ends
/// with the console's last lines.
pub(crate) fn run(
    image: &Image,
    plan: &Plan<'_>,
    folder: &Path,
    limits: Limits,
) -> Result<Outcome> {
    lay_out(image, plan, folder)?;
    let mut console = Console::create(folder.join("console.log"))?;
    say(&format!(
        "booting Xen {} with Linux {}",
        plan.suite.xen, plan.suite.linux
    ));
    let mut qemu = start(|console, port| qemu(folder, plan.cpus, console, port))?;
    let result = follow(&mut qemu, &mut console, plan, limits);
    drop(qemu);
    // What stays of a run is its logs.
    let _ = fs::remove_file(folder.join("root.cpio"));
    result?.map_err(|stop| report(&stop, &console, folder))
}

fn lay_out(image: &Image, plan: &Plan<'_>, folder: &Path) -> Result<()> {
    // QEMU splits its -initrd option at commas and spaces: it gets short names in its
    // current folder.
    symlink(image.xen(), folder.join("xen"))?;
    symlink(image.kernel(), folder.join("vmlinuz"))?;
    let root = folder.join("root.cpio");
    fs::copy(image.root(), &root)
        .with_context(|| format!("cannot copy dom0's root to {}", root.display()))?;
    File::options()
        .append(true)
        .open(&root)?
        .write_all(&plan.archive()?)
        .with_context(|| format!("cannot write {}", root.display()))
}

/// QEMU's command line; the ports are descriptors that it inherits.
fn qemu(folder: &Path, cpus: u8, console: RawFd, port: RawFd) -> Result<Command> {
    let log = File::create(folder.join("qemu.log"))?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        .current_dir(folder)
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none"])
        .args(["-accel", "tcg,thread=multi", "-cpu", CPU])
        .args(["-smp", &cpus.to_string()])
        .args(["-m", &MEMORY.to_string()])
        .args(["-chardev", &format!("socket,id=console,fd={console}")])
        .args(["-chardev", &format!("socket,id=port,fd={port}")])
        .args(["-serial", "chardev:console", "-serial", "chardev:port"])
        .args(["-kernel", "xen", "-append"])
        .arg(format!(
            "console=com1 com1=115200,8n1 dom0_mem={DOM0_MEMORY}M,max:{DOM0_MEMORY}M bootscrub=0"
        ))
        .args(["-initrd", "vmlinuz console=hvc0 panic=-1 quiet,root.cpio"])
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Starts the command that `build` makes for two ports, and listens to both.
fn start(build: impl FnOnce(RawFd, RawFd) -> Result<Command>) -> Result<Qemu> {
    let (console, console_end) = UnixStream::pair()?;
    let (port, port_end) = UnixStream::pair()?;
    let mut command = build(console_end.as_raw_fd(), port_end.as_raw_fd())?;
    command.stdin(Stdio::null());
    inherit(&mut command, vec![console_end.into(), port_end.into()]);
    process::dies_with_us(&mut command, Signal::SIGKILL);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::line(&command)))?;
    // Our copies of its ends must go, or the ports would never close.
    drop(command);

    let (sender, events) = mpsc::channel();
    read_all(console, sender.clone(), Event::Console);
    read_all(port.try_clone()?, sender, Event::Port);
    Ok(Qemu {
        child,
        events,
        port,
    })
}

/// Lets the child keep these descriptors, under their numbers.
fn inherit(command: &mut Command, descriptors: Vec<OwnedFd>) {
    // SAFETY: fcntl is one system call, allowed between fork and exec, and the closure
    // owns the descriptors, so their numbers are still theirs.
    unsafe {
        command.pre_exec(move || {
            for descriptor in &descriptors {
                fcntl(descriptor.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

fn read_all(mut from: UnixStream, to: Sender<Event>, event: fn(Vec<u8>) -> Event) {
    thread::spawn(move || {
        let mut buffer = [0; 16384];
        loop {
            let message = match from.read(&mut buffer) {
                Ok(0) | Err(_) => Event::Closed,
                Ok(count) => event(buffer[..count].to_vec()),
            };
            let last = matches!(message, Event::Closed);
            if to.send(message).is_err() || last {
                return;
            }
        }
    });
}

/// Waits for the end, whichever it is. The outer error is this machine's, the inner one the
/// booted machine's.
fn follow(
    qemu: &mut Qemu,
    console: &mut Console,
    plan: &Plan<'_>,
    limits: Limits,
) -> Result<Result<Outcome, Stop>> {
    let started = Instant::now();
    let mut wire = Wire::new(plan.nonce);
    let mut statuses = Vec::new();
    let mut open = 2;
    let mut raw = None;
    let mut output = io::stdout();
    loop {
        let left = limits.total.saturating_sub(started.elapsed());
        let event = match qemu.events.recv_timeout(limits.silence.min(left)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) if left < limits.silence => {
                return Ok(Err(Stop::TooLong(limits.total)));
            }
            Err(RecvTimeoutError::Timeout) => return Ok(Err(Stop::Silent(limits.silence))),
            Err(RecvTimeoutError::Disconnected) => Event::Closed,
        };
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
                    output.write_all(&bytes)?;
                    output.flush()?;
                }
                Piece::Frame(Frame::Step(text)) => say(&text),
                Piece::Frame(Frame::Begin(job)) => {
                    let name = plan.jobs.get(job).map_or("?", |job| job.name.as_str());
                    say(&format!("running {name} in dom0"));
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
                        Some(stop) => Err(stop),
                        None if statuses.len() != plan.jobs.len() => Err(Stop::Said(format!(
                            "{} of {} jobs ran",
                            statuses.len(),
                            plan.jobs.len()
                        ))),
                        None => Ok(Outcome { statuses }),
                    });
                }
            }
        }
    }
}

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
mod tests {
    use super::*;
    use crate::job::Job;
    use crate::suite::SUITES;
    use std::path::PathBuf;

    /// Plays a machine with two jobs: `script` writes to $1, the console, and $2, the port.
    fn play(script: &str, limits: Limits) -> Result<Outcome, String> {
        let folder = tempfile::tempdir().unwrap();
        let job = || Job {
            name: "job".to_owned(),
            executable: PathBuf::new(),
            arguments: Vec::new(),
        };
        let plan = Plan {
            suite: &SUITES[1],
            cpus: CPUS,
            nonce: "n",
            guest: PathBuf::new(),
            jobs: &[job(), job()],
            shell: None,
        };
        let mut console = Console::create(folder.path().join("console.log")).unwrap();
        let mut machine = start(|console, port| {
            let mut command = Command::new("bash");
            command.args(["-c", script, "bash"]);
            command.args([console.to_string(), port.to_string()]);
            Ok(command)
        })
        .unwrap();
        follow(&mut machine, &mut console, &plan, limits)
            .unwrap()
            .map_err(|stop| report(&stop, &console, folder.path()).to_string())
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn statuses_come_back_in_order() {
        let script =
            "echo 'lab: end' >&$1; printf '#lab:n:begin 0\\n#lab:n:end 0 0\\n#lab:n:end 1 101\\n#lab:n:done\\n' >&$2
                      exec sleep 60";
        let outcome = play(script, Limits::DEFAULT).unwrap();
        assert_eq!(outcome.statuses, [0, 101]);
    }

    #[test]
    fn a_dead_xen_is_not_waited_for() {
        let script = "echo '(XEN) Panic on CPU 0:' >&$1; echo 'last words' >&$1; exec sleep 60";
        let error = play(script, Limits::DEFAULT).unwrap_err();
        assert!(error.contains("Xen died: (XEN) Panic on CPU 0:"), "{error}");
        assert!(error.contains("  | last words"), "{error}");
    }

    #[test]
    fn damage_in_dom0_spoils_a_success() {
        let script = "printf '#lab:n:end 0 0\\n#lab:n:end 1 0\\n' >&$2
                      echo 'BUG: unable to handle page fault' >&$1
                      echo '#lab:n:done' >&$2; exec sleep 60";
        let error = play(script, Limits::DEFAULT).unwrap_err();
        assert!(error.contains("reported damage: BUG: unable"), "{error}");
    }

    #[test]
    fn silence_and_endless_talk_are_ended() {
        let silence = Limits {
            silence: SECOND,
            ..Limits::DEFAULT
        };
        let error = play("echo hello >&$1; exec sleep 60", silence).unwrap_err();
        assert!(error.contains("hangs"), "{error}");
        assert!(error.contains("  | hello"), "{error}");

        let total = Limits {
            total: SECOND,
            ..Limits::DEFAULT
        };
        let error = play("while sleep 0.1; do echo hello >&$1; done", total).unwrap_err();
        assert!(error.contains("not over after 1 seconds"), "{error}");
    }

    #[test]
    fn an_early_end_is_an_error() {
        let error = play("exit 3", Limits::DEFAULT).unwrap_err();
        assert!(
            error.contains("QEMU did not start (exit status: 3)"),
            "{error}"
        );
        let error = play("echo hello >&$1", Limits::DEFAULT).unwrap_err();
        assert!(
            error.contains("before dom0 said that it was done"),
            "{error}"
        );
        let error = play(
            "echo '#lab:n:failed no xl' >&$2; exec sleep 60",
            Limits::DEFAULT,
        )
        .unwrap_err();
        assert!(error.contains("init gave up: no xl"), "{error}");
        let script = "printf '#lab:n:end 0 0\\n#lab:n:done\\n' >&$2; exec sleep 60";
        let error = play(script, Limits::DEFAULT).unwrap_err();
        assert!(error.contains("1 of 2 jobs ran"), "{error}");
    }
}
