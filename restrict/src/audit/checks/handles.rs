// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ways to Xen: handles on its devices, sockets to xenstored, mapped memory; and where
//! there could be more.

use std::collections::BTreeSet;

use super::View;
use crate::{
    GuestId, KernelHole,
    audit::{
        descriptor::{Descriptor, Kind},
        filters::Filters,
        probe::Probed,
        process::{DEVICE, Process, Table},
        report::{HandleFinding, HandleState, Role, Verdict},
    },
    confine::Mechanism,
};

/// What is reported in place of a device where descriptors cannot be seen.
pub(super) const HIDDEN: &str = "hidden descriptors";

/// What is known of the filter that has to refuse what the kernel does not check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// It was read in every thread, and run on every request.
    Read,
    /// The launcher recorded it, and there are filters in every thread.
    Recorded,
    /// There are filters.
    Unknown,
    Missing,
}

impl View<'_> {
    /// The guest: as expected, else the one that all restricted handles agree on.
    pub(super) fn domid(&self) -> Option<GuestId> {
        let mut domids = BTreeSet::new();
        for (_, _, _, device) in self.xen() {
            if let HandleState::Restricted { domid } = device.1.state {
                domids.insert(domid);
            }
        }
        let single = domids.first().filter(|_| domids.len() == 1);
        self.expectation
            .domid
            .or_else(|| GuestId::new(*single?).ok())
    }

    /// Every handle.
    fn xen(&self) -> impl Iterator<Item = (&Process, &Table, &Descriptor, (&str, &Probed))> {
        let processes = self.snapshot.processes.iter();
        let tables = processes.flat_map(|process| process.tables.iter().map(move |t| (process, t)));
        let all = tables.flat_map(|(process, table)| {
            table
                .descriptors
                .iter()
                .map(move |descriptor| (process, table, descriptor))
        });
        all.filter_map(|(process, table, descriptor)| match &descriptor.kind {
            Kind::Xen { device, probed } => Some((process, table, descriptor, (&**device, probed))),
            _ => None,
        })
    }

    pub(super) fn handles(&self, domid: Option<GuestId>) -> Vec<HandleFinding> {
        let filter = self.filter();
        let held = self
            .xen()
            .map(|(process, _, descriptor, (device, probed))| {
                self.handle(process, descriptor.number, device, probed, domid, filter)
            });
        let mut findings: Vec<_> = held.collect();
        for process in &self.snapshot.processes {
            findings.extend(self.revoked(process));
            findings.extend(self.mapped(process));
            findings.extend(hidden(process));
        }
        findings
    }

    fn filter(&self) -> Filter {
        if !self.without_filter().is_empty() {
            Filter::Missing
        } else if let Some(filters) = self.filters {
            match self.let_through(filters).is_empty() {
                true => Filter::Read,
                false => Filter::Missing,
            }
        } else if self.expectation.recorded(Mechanism::XenRequests) {
            Filter::Recorded
        } else {
            Filter::Unknown
        }
    }

    fn is_recorded_as_sealed(&self) -> bool {
        let record = self.expectation.record.as_ref();
        record.is_some_and(|record| record.sealed)
    }

    /// As far as filters were read.
    fn can_be_sent(&self, process: &Process) -> bool {
        let threads = process.threads.iter().map(|thread| thread.tid);
        self.filters
            .is_some_and(|filters| !filters.keep_descriptors(threads))
    }

    fn handle(
        &self,
        process: &Process,
        number: i32,
        device: &str,
        probed: &Probed,
        domid: Option<GuestId>,
        filter: Filter,
    ) -> HandleFinding {
        let restrictable = matches!(device, "privcmd" | "evtchn");
        let expected = match (restrictable, domid) {
            (true, Some(domid)) => format!("restricted to {domid}"),
            (true, None) => "restricted, all to one guest".to_owned(),
            (false, _) if device == "gntdev" => "revoked, or brokered".to_owned(),
            (false, _) => "none".to_owned(),
        };
        let pid = process.pid;
        let mut state = probed.state;
        let (seen, verdict) = match probed.state {
            HandleState::Restricted { domid: to } => {
                let right = domid.is_some_and(|domid| domid.get() == to);
                let to = GuestId::new(to)
                    .map_or(format!("{to:#x}, which is no guest"), |d| d.to_string());
                let seen = format!("restricted to {to}");
                match right {
                    true => self.with_holes(seen, probed, filter),
                    false => (seen, Verdict::Fails),
                }
            }
            HandleState::Unknown => {
                let why = probed
                    .error
                    .map_or_else(String::new, |errno| format!(": {errno}"));
                (format!("it cannot be asked{why}"), Verdict::NotObserved)
            }
            _ if device == "gntdev" && self.can_be_sent(process) => (
                "unrestricted: its filters let it be sent to a process without them".to_owned(),
                Verdict::Fails,
            ),
            _ if device == "gntdev" => {
                let filter = match filter {
                    Filter::Recorded if !self.expectation.brokered() => Filter::Unknown,
                    known => known,
                };
                if matches!(filter, Filter::Read | Filter::Recorded) {
                    state = HandleState::Brokered;
                }
                mapped_only(filter)
            }
            _ if restrictable => ("unrestricted: every domain".to_owned(), Verdict::Fails),
            _ => ("there is no restricting it".to_owned(), Verdict::Fails),
        };
        let seen = match device {
            "evtchn" => seen + "; which ports are bound is not observable",
            _ => seen,
        };
        let (fd, device) = (Some(number), device.escape_default().to_string());
        HandleFinding {
            pid,
            fd,
            device,
            state,
            expected,
            seen,
            verdict,
        }
    }

    /// A restriction is worth what the kernel checks, and a filter refuses. What no filter
    /// can refuse is the same for all.
    fn with_holes(&self, seen: String, probed: &Probed, filter: Filter) -> (String, Verdict) {
        let holes = probed.holes.iter().filter(|h| h.is_refused_by_filter());
        let holes: Vec<_> = holes.map(ToString::to_string).collect();
        if holes.is_empty() {
            return (seen, Verdict::Holds);
        }
        // The one that is needed in set-up, and there only.
        let late = KernelHole::MmapResource;
        let programs = || {
            let threads = self
                .threads()
                .filter(|(process, _)| process.role != Role::Init);
            threads.map(|(_, thread)| thread.tid)
        };
        let for_good = |f: &Filters| f.let_resources_through(programs(), self.ask());
        if filter == Filter::Read
            && probed.holes.contains(&late)
            && self.filters.is_some_and(for_good)
        {
            let seen = format!(
                "{seen}, but this kernel does not check {late}, which its filters let through, and \
                 no supervisor is known that will refuse it"
            );
            return (seen, Verdict::Fails);
        }
        let holes = holes.join(", ");
        let refused = match filter {
            Filter::Read if self.filters.is_some_and(Filters::are_sealed) => {
                "which its filters refuse, as they were read and run"
            }
            Filter::Read => {
                "which its filters refuse, as they were read and run, once its supervisor has \
                 sealed it"
            }
            Filter::Recorded if !self.is_recorded_as_sealed() => {
                "which its filter refuses, once its supervisor has sealed it, by its launcher's \
                 record and /proc (`--filters` proves it)"
            }
            Filter::Recorded => {
                "which its filter refuses, by its launcher's record and /proc (`--filters` proves it)"
            }
            Filter::Unknown => {
                let text = "whether its filter refuses that, `--filters` tells";
                let seen = format!("{seen}, but this kernel does not check {holes}: {text}");
                return (seen, Verdict::NotObserved);
            }
            Filter::Missing => {
                let seen = format!(
                    "{seen}, but this kernel does not check {holes}, and no filter refuses it"
                );
                return (seen, Verdict::Fails);
            }
        };
        let seen = format!("{seen}; this kernel does not check {holes}, {refused}");
        (seen, Verdict::Holds)
    }

    /// Memory stays mapped, whatever becomes of the handle. A QEMU was root, and its filter has
    /// let no grant and no hypercall through.
    fn mapped(&self, process: &Process) -> impl Iterator<Item = HandleFinding> {
        let qemu = self.of_qemu().is_some();
        let counts = move |device: &&String| qemu || !device.starts_with(DEVICE);
        process.mapped.iter().filter(counts).map(move |device| {
            let guests = match device.as_str() {
                "privcmd" => true,
                "hypercall" | "gntdev" | "gntalloc" => !qemu,
                _ => false,
            };
            let (seen, verdict) = match guests {
                true => (
                    "memory is mapped; whose is not observable",
                    Verdict::NotObservable,
                ),
                false => ("memory is mapped", Verdict::Fails),
            };
            HandleFinding {
                pid: process.pid,
                fd: None,
                device: device.escape_default().to_string(),
                state: HandleState::Mapped,
                expected: if guests { "its guest's" } else { "none" }.to_owned(),
                seen: seen.to_owned(),
                verdict,
            }
        })
    }

    /// What was recorded as a handle, and is /dev/null.
    fn revoked(&self, process: &Process) -> Vec<HandleFinding> {
        let recorded = self
            .expectation
            .record
            .iter()
            .flat_map(|record| &record.fds);
        let names = recorded.filter_map(|fd| Some((fd.name.strip_prefix("xen-")?, fd.number)));
        let names: Vec<_> = names.collect();
        let descriptors = process.tables.iter().flat_map(|table| &table.descriptors);
        let nulls = descriptors.filter(|d| d.kind == Kind::CharacterDevice { major: 1, minor: 3 });
        let found = nulls.filter_map(|descriptor| {
            let (device, number) = names
                .iter()
                .find(|(_, number)| *number == descriptor.number)?;
            Some(HandleFinding {
                pid: process.pid,
                fd: Some(*number),
                device: device.escape_default().to_string(),
                state: HandleState::Revoked,
                expected: "revoked, or restricted".to_owned(),
                seen: "revoked: /dev/null is in its place".to_owned(),
                verdict: Verdict::Holds,
            })
        });
        found.collect()
    }
}

/// Linux cannot restrict gntdev; a filter can leave it for mapping only.
fn mapped_only(filter: Filter) -> (String, Verdict) {
    match filter {
        Filter::Read => (
            "brokered: its filters, as they were read and run, refuse every request, and to send it"
                .to_owned(),
            Verdict::Holds,
        ),
        Filter::Recorded => (
            "brokered: the launcher recorded the filters that refuse every request, and to send it; \
             `--filters` reads them"
                .to_owned(),
            Verdict::Holds,
        ),
        Filter::Unknown => (
            "unrestricted, unless its filter refuses the requests: `--filters` tells".to_owned(),
            Verdict::NotObserved,
        ),
        Filter::Missing => (
            "unrestricted: every domain's grants".to_owned(),
            Verdict::Fails,
        ),
    }
}

/// Where a descriptor can be that no table lists.
fn hidden(process: &Process) -> Vec<HandleFinding> {
    let finding = |fd, seen: String, verdict| HandleFinding {
        pid: process.pid,
        fd,
        device: HIDDEN.to_owned(),
        state: HandleState::Unknown,
        expected: "none".to_owned(),
        seen,
        verdict,
    };
    let descriptors = process.tables.iter().flat_map(|table| &table.descriptors);
    let places = descriptors.filter_map(|descriptor| {
        let fd = Some(descriptor.number);
        match &descriptor.kind {
            Kind::Socket(Some(socket)) if socket.in_flight => Some(finding(
                fd,
                "some wait in this socket".to_owned(),
                Verdict::NotObserved,
            )),
            Kind::Ring { files } if *files != Some(0) => Some(finding(
                fd,
                "some may be registered with this io_uring".to_owned(),
                Verdict::NotObserved,
            )),
            Kind::Socket(Some(socket)) if socket.listening => Some(finding(
                fd,
                "some may wait in a connection that was not accepted yet".to_owned(),
                Verdict::NotObservable,
            )),
            _ => None,
        }
    });
    let threads = process
        .threads
        .iter()
        .filter(|thread| thread.table.is_none())
        .map(|thread| {
            let seen = format!(
                "thread {} may have some of its own: the kernel has no kcmp",
                thread.tid
            );
            finding(None, seen, Verdict::NotObserved)
        });
    places.chain(threads).collect()
}
