// SPDX-License-Identifier: MIT OR Apache-2.0
//! For tests: what the kernel does not check on a restricted handle (`docs/kernel-holes.md`),
//! each for real. As `dm-restrict run` starts it: with handles restricted to its guest, and a
//! filter or, for comparison, none. It says how each request was answered.
//!
//! Where nothing refuses it, most of this damages or stops the machine.

mod events;
mod memory;

use std::{
    env, io,
    io::Write as _,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixDatagram,
    },
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use xen_restrict::{EventChannel, Handover, PrivCmd, Restricted};
use xen_sys::{Request, privcmd};

/// What it was given.
struct Given {
    privcmd: PrivCmd<Restricted>,
    events: EventChannel<Restricted>,
}

impl Given {
    fn domid(&self) -> u16 {
        self.privcmd.restricted_to().get()
    }
}

/// A hole, and what is done with it; the numbers are what was said on the command line.
type Attempt = fn(&Given, &[u32]);

const ATTEMPTS: &[(&str, Attempt)] = &[
    ("static", events::take_ports),
    ("static-and-end", events::take_ports_and_let_go),
    ("count", memory::more_than_the_mapping_has),
    ("short", memory::fewer_than_the_mapping_has),
    ("twice", memory::a_resource_twice),
    ("foreign", memory::a_mapping_that_is_not_privcmds),
    ("moved", memory::a_mapping_that_is_moved),
    ("batch", memory::an_array_without_memory),
    ("empty", memory::an_empty_buffer),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hole_probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let (name, numbers) = words.split_first().ok_or("say what to do")?;
    let numbers = numbers.iter().map(|word| word.parse());
    let numbers = numbers.collect::<Result<Vec<u32>, _>>()?;
    let attempt = ATTEMPTS.iter().find(|(known, _)| known == name);
    let (_, attempt) = attempt.ok_or("there is no such attempt")?;
    // SAFETY: nothing in this process has taken or opened a descriptor before.
    let handover = unsafe { Handover::receive() }?;
    let given = Given {
        privcmd: handover.privcmd.ok_or("no privcmd")?,
        events: handover.events.ok_or("no evtchn")?,
    };
    sealed(&given)?;
    attempt(&given, &numbers);
    say("over");
    Ok(())
}

/// Ends the set-up phase, where there is one: it is the guest's bug that makes the attempt.
fn sealed(given: &Given) -> io::Result<()> {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    UnixDatagram::unbound()?.send_to(b"READY=1", socket)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    // Without a filter, nothing is sealed.
    while restrict_again(given) == Ok(0) && Instant::now() < deadline {
        if env::var_os("HOLE_PROBE_UNFILTERED").is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// To the same guest, which changes nothing, and is for set-up only.
fn restrict_again(given: &Given) -> Result<i32, Errno> {
    raw(&given.privcmd, privcmd::RESTRICT, &mut given.domid())
}

/// A request as injected code would make it.
fn raw<T>(fd: &impl AsFd, request: Request<T>, argument: &mut T) -> Result<i32, Errno> {
    let number = libc::Ioctl::from(request.number());
    // SAFETY: number and argument belong together by type. What the driver does with the
    // addresses in it is what is tried here: only to memory that nothing else refers to.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number, argument) })
}

/// At once: there may be no later.
fn say(text: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn tell(what: &str, answer: Result<i32, Errno>) {
    match answer {
        Ok(_) => say(&format!("{what}: done")),
        Err(errno) => say(&format!("{what}: {errno:?}")),
    }
}
