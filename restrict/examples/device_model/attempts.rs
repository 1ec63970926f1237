// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every request of the devices and every operation of the API, against every
//! kind of domain, as a table.

mod api;
mod raw;

use std::fmt;

use nix::errno::Errno;
use xen_restrict::{
    Cause, EventChannel, GrantAllocator, GrantDevice, GuestId, PrivCmd, Result, Unrestricted,
};
use xen_sys::domid;

/// What an attacker in the device model holds.
pub(crate) struct Handles {
    privcmd: PrivCmd<Unrestricted>,
    events: EventChannel<Unrestricted>,
    grants: GrantDevice<Unrestricted>,
    pages: GrantAllocator,
}

impl Handles {
    pub(crate) fn open() -> Result<Self> {
        Ok(Self {
            privcmd: PrivCmd::open()?,
            events: EventChannel::open()?,
            grants: GrantDevice::open()?,
            pages: GrantAllocator::open()?,
        })
    }

    /// Every attempt against every target.
    pub(crate) fn all(&self, a: GuestId, b: GuestId) -> Vec<Seen> {
        let rows = rows(a, b).into_iter();
        rows.map(|(attempt, target, _)| attempt.run(self, target))
            .collect()
    }
}

/// The same with fresh handles for each attempt, since some attempts restrict.
pub(crate) fn unrestricted(a: GuestId, b: GuestId) -> Result<Vec<Seen>> {
    let rows = rows(a, b).into_iter();
    rows.map(|(attempt, target, _)| Ok(attempt.run(&Handles::open()?, target)))
        .collect()
}

/// Attempt, domid, and the target's name: "-" where the attempt has no domid.
fn rows(a: GuestId, b: GuestId) -> Vec<(&'static Attempt, u16, &'static str)> {
    let targets = [
        (a.get(), "A"),
        (b.get(), "B"),
        (domid::DOM0, "dom0"),
        (domid::INVALID, "0x7FF4"),
    ];
    let mut rows = Vec::new();
    for attempt in raw::ATTEMPTS.iter().chain(api::ATTEMPTS) {
        if attempt.has_domid {
            rows.extend(targets.map(|(domid, name)| (attempt, domid, name)));
        } else {
            rows.push((attempt, 0, "-"));
        }
    }
    rows
}

/// Prints the table; whether every row is as expected.
pub(crate) fn print(a: GuestId, b: GuestId, before: &[Seen], after: &[Seen]) -> bool {
    println!(
        "{:<36} {:<8}{:<14}{:<11}{:<11}verdict",
        "operation", "target", "unrestricted", "expected", "restricted"
    );
    let (mut surprises, mut holes, mut last) = (0, 0, "");
    let rows = rows(a, b);
    let count = rows.len();
    for ((attempt, _, target), (before, after)) in rows.into_iter().zip(before.iter().zip(after)) {
        let expected = attempt.expected(target, *before);
        let verdict = match attempt.expect {
            _ if expected == *after => "holds",
            // Compiled without it.
            Expect::Absent(_) if *after == Seen::Errno(Errno::EOPNOTSUPP) => "holds",
            Expect::Absent(_) => "HOLE",
            _ => "SURPRISE",
        };
        surprises += usize::from(verdict == "SURPRISE");
        holes += usize::from(verdict == "HOLE");
        println!(
            "{:<36} {target:<8}{before:<14}{expected:<11}{after:<11}{verdict}",
            if attempt.name == last {
                ""
            } else {
                attempt.name
            },
        );
        last = attempt.name;
    }
    println!("\n{count} attempts, {surprises} surprises");
    if holes > 0 {
        println!("{holes} requests that this kernel has and does not check: docs/kernel-holes.md");
    }
    surprises == 0 && before.len() == count && after.len() == count
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Done,
    Errno(Errno),
    /// The kernel's restriction said no.
    Refused,
    Latched,
    Revoked,
    /// No `GuestId` says it.
    Unsayable,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.pad("done"),
            Self::Errno(errno) => f.pad(&format!("{errno:?}")),
            Self::Refused => f.pad("refused"),
            Self::Latched => f.pad("latched"),
            Self::Revoked => f.pad("revoked"),
            Self::Unsayable => f.pad("unsayable"),
        }
    }
}

/// What a restricted process should see.
#[derive(Clone, Copy)]
enum Expect {
    /// For its own guest what it saw before; for others this.
    Others(Seen),
    /// This, whoever is named.
    All(Seen),
    /// What it saw before: it is about this handle alone.
    Same,
    /// That the kernel has no such request. One that has it does not check it.
    Absent(Errno),
}

struct Attempt {
    name: &'static str,
    has_domid: bool,
    expect: Expect,
    how: How,
}

enum How {
    Raw(fn(&Handles, u16) -> Result<i32, Errno>),
    Api(fn(&Handles, GuestId) -> Result<()>),
}

impl Attempt {
    fn run(&self, handles: &Handles, domid: u16) -> Seen {
        let api = |result: Result<()>| match result.map_err(|e| e.cause) {
            Ok(()) => Seen::Done,
            Err(Cause::Latched { .. }) => Seen::Latched,
            Err(Cause::Revoked) => Seen::Revoked,
            Err(Cause::NoSuchDomain) => Seen::Errno(Errno::ESRCH),
            Err(Cause::Restricted) => Seen::Refused,
            Err(other) => Seen::Errno(Errno::from_raw(other.raw_os_error().unwrap_or(0))),
        };
        match self.how {
            How::Raw(raw) => raw(handles, domid).map_or_else(Seen::Errno, |_| Seen::Done),
            How::Api(call) if !self.has_domid => api(call(handles, GuestId::MIN)),
            How::Api(call) => match GuestId::new(domid) {
                Ok(guest) => api(call(handles, guest)),
                Err(_) => Seen::Unsayable,
            },
        }
    }

    fn expected(&self, target: &str, before: Seen) -> Seen {
        match self.expect {
            _ if before == Seen::Unsayable => Seen::Unsayable,
            Expect::Others(_) if target == "A" => before,
            // No such request, whoever asks: privcmd MMAP in a PVH dom0.
            Expect::Others(_) if before == Seen::Errno(Errno::ENOSYS) => before,
            Expect::Others(seen) | Expect::All(seen) => seen,
            Expect::Absent(errno) => Seen::Errno(errno),
            Expect::Same => before,
        }
    }
}
