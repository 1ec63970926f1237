// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one operation takes, whatever else the machine does: a process of its own does it
//! N and 2 N times, and the difference is that of N.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    env, io,
    os::unix::process::CommandExt,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use nix::{
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::operation::Operation;

/// The first argument of that process.
pub(crate) const WORK: &str = "work";

/// Of all threads: a broker has its own.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: each call is the system allocator's, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise about `layout` is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller got `ptr` from `alloc` above, which is System's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What that process does; it prints how often it allocated.
pub(crate) fn work(all: &[Operation], name: &str, whose: &str, times: &str) {
    let operation = all.iter().find(|operation| operation.name == name);
    let operation = operation.expect("a name of the list");
    let prepare = match (&operation.floor, whose) {
        (Some((_, floor)), "floor") => floor,
        _ => &operation.own,
    };
    let mut work = prepare();
    let before = ALLOCATIONS.load(Relaxed);
    work(times.parse().expect("a number"));
    println!("{}", ALLOCATIONS.load(Relaxed) - before);
}

/// One more of `few`.
fn one(few: u64, mut count: impl FnMut(u64) -> io::Result<u64>) -> io::Result<f64> {
    let (once, twice) = (count(few)?, count(2 * few)?);
    #[allow(clippy::cast_precision_loss, reason = "counts of short runs")]
    Ok((twice as f64 - once as f64) / few as f64)
}

/// `whose` is "own" or "floor".
fn arguments(operation: &Operation, whose: &str, times: u64) -> [String; 4] {
    [WORK, &operation.name, whose, &times.to_string()].map(str::to_owned)
}

fn ended(output: Output) -> io::Result<Output> {
    match output.status.success() {
        true => Ok(output),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

fn number(text: &[u8]) -> io::Result<u64> {
    let text = String::from_utf8_lossy(text);
    let wrong = || io::Error::other(format!("not a number: {text:?}"));
    text.trim().parse().map_err(|_| wrong())
}

pub(crate) fn allocations(operation: &Operation, whose: &str) -> io::Result<f64> {
    one(operation.few, |times| {
        let mut command = Command::new(env::current_exe()?);
        let output = command.args(arguments(operation, whose, times)).output()?;
        number(&ended(output)?.stdout)
    })
}

/// As callgrind counts them, of all threads.
pub(crate) fn instructions(operation: &Operation, whose: &str) -> io::Result<f64> {
    one(operation.few, |times| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe()?)
            .args(arguments(operation, whose, times))
            .output()?;
        let text = String::from_utf8_lossy(&ended(output)?.stderr).into_owned();
        let collected = text
            .lines()
            .find_map(|line| line.split_once("Collected : "));
        number(collected.map_or(&*text, |(_, count)| count).as_bytes())
    })
}

pub(crate) fn system_calls(operation: &Operation, whose: &str) -> io::Result<f64> {
    one(operation.few, |times| {
        let mut command = Command::new(env::current_exe()?);
        command
            .args(arguments(operation, whose, times))
            .stdout(Stdio::null());
        // SAFETY: in the forked child, one system call.
        unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
        Ok(traced(Pid::from_raw(command.spawn()?.id().cast_signed()))?)
    })
}

/// Of a child that stops when it is executed, and of its threads.
fn traced(child: Pid) -> nix::Result<u64> {
    waitpid(child, None)?;
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
    ptrace::setoptions(child, options | Options::PTRACE_O_EXITKILL)?;
    let mut next = (child, None);
    let mut stops = 0;
    loop {
        // A thread can end while the process does.
        let _ = ptrace::syscall(next.0, next.1);
        next = match waitpid(None, Some(WaitPidFlag::__WALL))? {
            WaitStatus::PtraceSyscall(pid) => {
                stops += 1;
                (pid, None)
            }
            // A thread begins with this.
            WaitStatus::Stopped(pid, Signal::SIGSTOP | Signal::SIGTRAP)
            | WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == child => break,
            _ => (child, None),
        };
    }
    // Begin and end of each.
    Ok(stops / 2)
}
