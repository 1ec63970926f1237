// SPDX-License-Identifier: MIT OR Apache-2.0
//! `identity`, `capabilities`, `no-new-privs`, `seccomp` and `xen-requests`.

use super::{Judged, View};
use crate::{
    GuestId,
    audit::{
        filters::{Ask, Filters},
        report::Verdict,
    },
    confine::{Mechanism, Profile, qemu},
};

const SETS: [&str; 5] = [
    "inheritable",
    "permitted",
    "effective",
    "bounding",
    "ambient",
];
const BOUNDING: usize = 3;

impl View<'_> {
    pub(super) fn identity(&self, domid: Option<GuestId>) -> Judged {
        let record = self.expectation.record.as_ref();
        let own = self.threads().next().map_or((0, 0), |(_, thread)| {
            (thread.status.uids[0], thread.status.gids[0])
        });
        // Of the uids that belong to domains, the one of this domain.
        let ranged = || {
            let (first, last) = self.vantage.uids()?;
            let is_of_range = (first..=last).contains(&own.0);
            Some(first - 1 + u32::from(domid.filter(|_| is_of_range)?.get()))
        };
        let (uid, gid) = match record {
            Some(record) => (Some(record.uid), Some(record.gid)),
            None => (ranged(), None),
        };
        let deviations = self.deviations(|_, thread| {
            let [ruid, rest @ ..] = thread.status.uids;
            let [rgid, groups @ ..] = thread.status.gids;
            let others: Vec<_> = thread
                .status
                .groups
                .iter()
                .filter(|g| **g != rgid)
                .collect();
            if rest.iter().any(|uid| *uid != ruid) {
                Some(format!("uids {:?}", thread.status.uids))
            } else if groups.iter().any(|gid| *gid != rgid) {
                Some(format!("gids {:?}", thread.status.gids))
            } else if matches!(ruid, 0 | 65534 | 65535 | u32::MAX) {
                Some(format!("uid {ruid}, which is nobody's own"))
            } else if matches!(rgid, 0 | 65535 | u32::MAX) {
                Some(format!("gid {rgid}"))
            } else if uid.unwrap_or(own.0) != ruid {
                Some(format!("uid {ruid}"))
            } else if gid.unwrap_or(own.1) != rgid {
                Some(format!("gid {rgid}"))
            } else {
                (!others.is_empty()).then(|| format!("groups {others:?}"))
            }
        });
        let gid = gid.map_or("one gid".to_owned(), |gid| format!("gid {gid}"));
        let expected = match (uid, domid) {
            (Some(uid), Some(domid)) if record.is_none() => {
                format!("uid {uid} of {domid}, {gid}, no other groups")
            }
            (Some(uid), _) => format!("uid {uid}, {gid}, no other groups"),
            (None, _) => format!("one uid that is not root's or nobody's, {gid}, no other groups"),
        };
        let seen = format!("uid {}, gid {} {}", own.0, own.1, self.all());
        Judged::of(expected, seen, &deviations)
    }

    pub(super) fn capabilities(&self) -> Judged {
        // The kernel shows what an exec could give at most.
        let bounding = match self.expectation.profile {
            Profile::Libxl => u64::MAX,
            Profile::Qemu => qemu::CAPABILITIES | qemu::OPENS_OTHERS,
            Profile::Strict => 0,
        };
        let bounding_too = bounding == 0;
        let allowed = |set: usize| if set == BOUNDING { bounding } else { 0 };
        let deviations = self.deviations(|_, thread| {
            let sets = thread.status.capabilities.iter().zip(SETS).enumerate();
            let held = sets.filter(|(at, (set, _))| **set & !allowed(*at) != 0);
            let held: Vec<_> = held
                .map(|(_, (set, name))| format!("{name} {set:#x}"))
                .collect();
            (!held.is_empty()).then(|| held.join(", "))
        });
        let expected = match self.expectation.profile {
            Profile::Strict => "all five sets empty, securebits locked",
            Profile::Qemu => "all sets empty, but the few that bound what was root's",
            Profile::Libxl => "all sets but the bounding set empty",
        };
        let seen = match bounding_too {
            true => format!("empty {}; securebits are not observable", self.all()),
            false => format!("empty {}", self.all()),
        };
        Judged::of(expected, seen, &deviations)
    }

    pub(super) fn no_new_privs(&self) -> Judged {
        let off =
            self.deviations(|_, thread| (!thread.status.no_new_privs).then(|| "off".to_owned()));
        Judged::of("on", format!("on {}", self.all()), &off)
    }

    pub(super) fn seccomp(&self) -> Judged {
        let none = self.without_filter();
        let counts = self
            .threads()
            .filter_map(|(_, thread)| thread.status.filters);
        let filters = match counts.min() {
            Some(least) => format!("{least} or more"),
            None => "filters, how many is not told before Linux 5.9,".to_owned(),
        };
        Judged::of(
            "filters in every thread",
            format!("{filters} {}", self.all()),
            &none,
        )
    }

    pub(super) fn xen_requests(&self) -> Judged {
        let expected = "a filter on the requests of Xen's devices in every thread";
        let none = self.without_filter();
        if !none.is_empty() {
            return Judged::of(expected, "", &none);
        }
        if let Some(filters) = self.filters {
            return self.by_filters(expected, filters);
        }
        let whose = match self.expectation.recorded(Mechanism::XenRequests) {
            true => "the launcher recorded this to be one",
            false => "nobody recorded what they do",
        };
        let mapping = self.mapping();
        let seen = format!("filters, of which {whose}; `--filters` reads them; {mapping}");
        Judged::new(expected, seen, Verdict::NotObservable)
    }

    fn by_filters(&self, expected: &str, filters: &Filters) -> Judged {
        let wrong = self.let_through(filters);
        let sealed = filters.are_sealed();
        let late = self
            .expectation
            .record
            .as_ref()
            .is_some_and(|record| record.sealed);
        // A supervisor that recorded it refuses what it is asked about.
        if wrong.is_empty() && late && !filters.may_be_sealed() {
            let seen = "recorded as sealed, but its filters do not refuse what is for set-up only";
            return Judged::new(expected, seen, Verdict::Fails);
        }
        let phase = match (sealed, late) {
            (true, _) => "sealed",
            (false, true) => "sealed by its supervisor",
            (false, false) => "set-up, or sealed by its supervisor",
        };
        Judged::of(
            expected,
            format!("as in phase {phase}, {}; {}", self.all(), self.mapping()),
            &wrong,
        )
    }

    /// Who is asked by filters that ask.
    pub(super) fn ask(&self) -> Ask {
        match self.expectation.record {
            Some(_) => Ask::Trusted,
            None => Ask::Untrusted,
        }
    }

    /// Threads whose filters let through what they must not.
    pub(super) fn let_through(&self, filters: &Filters) -> Vec<String> {
        let wrong = filters.wrong(self.ask());
        self.deviations_but_init(|_, thread| wrong.get(&thread.tid).cloned())
    }

    /// Threads that no filter holds back.
    pub(super) fn without_filter(&self) -> Vec<String> {
        self.deviations(|_, thread| (thread.status.seccomp != 2).then(|| "no filter".to_owned()))
    }
}
