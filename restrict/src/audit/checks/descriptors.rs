// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fds`: what a process holds beside Xen's handles.

use super::{Judged, View};
use crate::audit::{
    descriptor::{Descriptor, Kind, Socket},
    process::{Process, Thread},
    report::Verdict,
    sys::{self, Stat},
    text,
    vantage::NET,
};
use crate::{
    confine::Profile,
    launch::{Record, RecordedFd},
    xenstore::Store,
};

/// What the kernel makes of nothing, and gives no way to anything.
const HARMLESS: [&str; 5] = [
    "eventfd",
    "eventpoll",
    "landlock-ruleset",
    "signalfd",
    "timerfd",
];
/// Families of sockets that a network namespace holds.
const FAMILIES: [libc::c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];
/// Major 1 of Linux's `Documentation/admin-guide/devices.txt`: null, zero, full, random,
/// urandom.
const HARMLESS_MEMORY_DEVICES: [u32; 5] = [3, 5, 7, 8, 9];
const MEMORY_DEVICES: u32 = 1;
/// The end of a pseudo terminal that makes it.
const PTMX: (u32, u32) = (5, 2);

/// What is to be thought of a descriptor.
enum Opinion {
    Harmless,
    /// What it could be is bad enough.
    Unknown(String),
    Bad(String),
}

impl View<'_> {
    pub(super) fn fds(&self) -> Judged {
        let (mut bad, mut unknown, mut count, mut named) =
            (Vec::new(), Vec::new(), 0_usize, 0_usize);
        for process in &self.snapshot.processes {
            bad.extend(self.mapped_files(process));
            for descriptor in process.tables.iter().flat_map(|table| &table.descriptors) {
                count += 1;
                named += usize::from(self.is_named(descriptor));
                let at = format!("{} of process {}", descriptor.number, process.pid);
                let link = text::quoted(&descriptor.link);
                match self.opinion(process, descriptor) {
                    Opinion::Harmless => {}
                    Opinion::Unknown(what) => unknown.push(format!("{at}: {what}, {link}")),
                    Opinion::Bad(what) => bad.push(format!("{at}: {what}, {link}")),
                }
            }
            unknown.extend(
                process
                    .threads
                    .iter()
                    .filter_map(|thread| untold(process, thread)),
            );
        }
        let expected = match &self.expectation.record {
            Some(record) => format!(
                "stdio, {}, and what leads nowhere",
                text::count(record.fds.len(), "named descriptor")
            ),
            None => "stdio, and what leads nowhere".to_owned(),
        };
        if bad.is_empty() && !unknown.is_empty() {
            return Judged::new(expected, text::some(&unknown), Verdict::NotObserved);
        }
        let seen = format!(
            "{} ({named} named) in {}",
            text::count(count, "descriptor"),
            text::count(
                self.snapshot
                    .processes
                    .iter()
                    .map(|process| process.tables.len())
                    .sum(),
                "table"
            )
        );
        Judged::of(expected, seen, &bad)
    }

    /// Standard input and outputs, and what the launcher recorded. A QEMU was root: it could
    /// have put anything in the place of these, so by its number nothing is known, and have
    /// opened the same once more, to write to it.
    fn is_named(&self, descriptor: &Descriptor) -> bool {
        let number = descriptor.number;
        match self.of_qemu() {
            Some(record) => {
                let mut recorded = record.fds.iter();
                recorded.any(|recorded| {
                    recorded.number == number && is(recorded, &descriptor.stat, descriptor.writes)
                })
            }
            None => {
                let recorded = self.expectation.record.iter();
                let mut recorded = recorded.flat_map(|record| &record.fds);
                (0..=2).contains(&number) || recorded.any(|recorded| recorded.number == number)
            }
        }
    }

    pub(super) fn of_qemu(&self) -> Option<&Record> {
        let record = self.expectation.record.as_ref();
        record.filter(|_| self.expectation.profile == Profile::Qemu)
    }

    /// Whether a QEMU was started with it: a disk that was named, opened before it gave root
    /// up, or a duplicate of a named descriptor.
    pub(super) fn is_given(&self, stat: &Stat, writes: bool) -> bool {
        let Some(record) = self.of_qemu() else {
            return false;
        };
        // Until it has given root up nothing is inserted.
        let inserted = || match record.sealed {
            true => self.inserted.get_or_init(|| self.inserted()).as_slice(),
            false => &[],
        };
        let at = |path: &String| sys::stat_at(path).is_some_and(|found| found.is_same(stat));
        record.fds.iter().any(|recorded| is(recorded, stat, writes))
            || record.read_write.iter().any(at)
            || !writes && record.read_only.iter().any(at)
            || inserted().iter().any(at)
    }

    /// The disks that libxl has given to it meanwhile, as one does that is inserted.
    fn inserted(&self) -> Vec<String> {
        let disks = |domid| Store::connect()?.disks(domid);
        let domid = self.expectation.domid;
        // Where xenstored does not say so, nothing was.
        domid.map_or_else(Vec::new, |domid| disks(domid).unwrap_or_default())
    }

    fn opinion(&self, process: &Process, descriptor: &Descriptor) -> Opinion {
        let named = self.is_named(descriptor);
        let unless_named = |what: &str| match named {
            true => Opinion::Harmless,
            false => Opinion::Bad(what.to_owned()),
        };
        let given = || self.is_given(&descriptor.stat, descriptor.writes);
        let unless_given = |what: &str| match given() {
            true => Opinion::Harmless,
            false => unless_named(what),
        };
        match &descriptor.kind {
            // By their numbers they may be named; what they are is told elsewhere.
            Kind::Xen { .. } => Opinion::Harmless,
            Kind::Directory => Opinion::Bad("a directory".to_owned()),
            Kind::BlockDevice => unless_given("a block device"),
            Kind::CharacterDevice { major, minor } => match (*major, *minor) {
                (MEMORY_DEVICES, minor) if HARMLESS_MEMORY_DEVICES.contains(&minor) => {
                    Opinion::Harmless
                }
                // Its guest's serial port.
                PTMX if self.expectation.profile == Profile::Qemu => Opinion::Harmless,
                (MEMORY_DEVICES, 1 | 2 | 4) => Opinion::Bad("the machine's memory".to_owned()),
                (major, minor) => unless_named(&format!("character device {major}:{minor}")),
            },
            Kind::File { mount } => match process.has_mount(*mount) {
                true => Opinion::Harmless,
                false => unless_given("a file from outside of its root"),
            },
            Kind::MemoryFile | Kind::Pipe => Opinion::Harmless,
            Kind::Socket(None) => Opinion::Unknown("a socket that cannot be asked".to_owned()),
            Kind::Socket(Some(_)) if named || given() => Opinion::Harmless,
            Kind::Socket(Some(socket)) => self.of_socket(process, socket),
            Kind::Anonymous(name) if HARMLESS.contains(&name.as_str()) => Opinion::Harmless,
            Kind::Anonymous(_) | Kind::Ring { .. } => Opinion::Bad("not harmless".to_owned()),
            Kind::Namespace => Opinion::Bad("a namespace".to_owned()),
            Kind::Process => Opinion::Bad("a process".to_owned()),
            Kind::Other => unless_named("a file of no known kind"),
        }
    }

    /// A socket belongs to the network it was made in, whoever holds it.
    fn of_socket(&self, process: &Process, socket: &Socket) -> Opinion {
        if !FAMILIES.contains(&socket.family) {
            return Opinion::Bad(format!("a socket of family {}", socket.family));
        }
        let own = process
            .threads
            .iter()
            .any(|thread| Some(thread.namespaces[NET]) == socket.network);
        // To QEMU all that is local is handed over, and sockets can keep what no table has.
        if self.of_qemu().is_some() && socket.family == libc::AF_UNIX {
            return match self.is_accepted(process, socket) {
                true => Opinion::Harmless,
                false => Opinion::Bad("a local socket that nobody handed over".to_owned()),
            };
        }
        if !own {
            return Opinion::Bad("a socket of another network namespace".to_owned());
        }
        let inside = self.own_pids();
        match socket.peer {
            None if socket.connected => {
                Opinion::Bad("a socket of datagrams to somebody".to_owned())
            }
            Some(peer) if !inside.contains(&peer) => {
                Opinion::Bad(format!("a socket to process {peer}"))
            }
            _ => Opinion::Harmless,
        }
    }

    /// Whether somebody else connected to a socket that was handed over.
    fn is_accepted(&self, process: &Process, socket: &Socket) -> bool {
        let held = process.tables.iter().flat_map(|table| &table.descriptors);
        let named = held.filter(|held| self.is_named(held));
        let mut listeners = named.filter_map(|held| match &held.kind {
            Kind::Socket(Some(listener)) if listener.listening => listener.name.as_ref(),
            _ => None,
        });
        let inside = self.own_pids();
        let by_another = socket.peer.is_some_and(|peer| !inside.contains(&peer));
        by_another && listeners.any(|name| Some(name) == socket.name.as_ref())
    }
}

/// Whether it is that file, and no more can be done with it.
fn is(recorded: &RecordedFd, stat: &Stat, writes: bool) -> bool {
    recorded.file == Some(stat.recorded()) && (recorded.writes || !writes)
}

/// A thread of which nobody knows whether its descriptors are the others'.
fn untold(process: &Process, thread: &Thread) -> Option<String> {
    let told = thread.table.is_some();
    (!told).then(|| {
        format!(
            "thread {} of process {} may have descriptors of its own, the kernel has no kcmp",
            thread.tid, process.pid
        )
    })
}
