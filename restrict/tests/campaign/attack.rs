// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device model that its guest has taken over throws at Xen: through one handle
//! restricted to that guest, as raw requests.

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::OwnedFd,
    thread,
};

use nix::errno::Errno;
use xen_restrict::GuestId;
use xen_sys::{domid, memory};

use crate::{
    attempt::Attempt,
    operations,
    random::Random,
    raw::Raw,
    requests::{Answer, Mapping, is_gone, perform, restricted},
    victim::Victim,
};

/// How many of the last attempts a failure tells.
const REMEMBERED: usize = 40;
/// Mappings that are kept for a while, also past the guest's end.
const KEPT: usize = 8;
/// Requests of any number between two of those.
const RAW: u32 = 20;

#[derive(Debug)]
pub(crate) enum What {
    Operation(Attempt),
    /// Frames to map.
    Frames(Vec<u64>),
    /// Frames of a resource; always as many as the mapping has pages.
    Resource {
        type_: u32,
        id: u32,
        first: u32,
        pages: u32,
    },
}

pub(crate) struct Attack {
    random: Random,
    other: GuestId,
    victim: Victim,
    handle: OwnedFd,
    raw: Raw,
    kept: VecDeque<Mapping>,
    /// What was done last, and to whom; the answer, if there was time for one.
    last: VecDeque<(u16, What, Option<Answer>)>,
    /// Of each kind, how often it was tried, and how often it was done.
    pub(crate) counts: BTreeMap<String, (u64, u64)>,
    pub(crate) refused: u64,
    pub(crate) guests: u64,
}

impl Attack {
    pub(crate) fn new(seed: u64, other: GuestId) -> Self {
        let victim = Victim::create();
        let handle = restricted(victim.id());
        Self {
            random: Random::new(seed),
            other,
            raw: Raw::new(&handle, victim.id(), other),
            handle,
            victim,
            kept: VecDeque::new(),
            last: VecDeque::new(),
            counts: BTreeMap::new(),
            refused: 0,
            guests: 1,
        }
    }

    pub(crate) fn attempts(&self) -> u64 {
        self.refused + self.counts.values().map(|(tried, _)| tried).sum::<u64>()
    }

    pub(crate) fn go(&mut self, attempts: u32) {
        for _ in 0..attempts {
            for _ in 0..RAW {
                self.raw.once(&mut self.random);
            }
            let what = self.choose();
            // Its own guest, mostly; else one that it must not reach.
            let own = self.victim.id().get();
            let whom = if self.random.once_in(4) {
                self.forbidden()
            } else {
                own
            };
            let ends = matches!(&what, What::Operation(op) if op.may_end_the_guest());
            self.remember(whom, what);
            let (_, what, answer) = self.last.back_mut().unwrap();
            let result = perform(&self.handle, whom, what, &mut self.kept, self.other);
            *answer = Some(result);
            if whom != own {
                assert_eq!(
                    result,
                    Err(Errno::EPERM),
                    "not refused: {what:?} to {whom:#x}"
                );
                self.refused += 1;
                continue;
            }
            let count = self.counts.entry(what.kind()).or_default();
            count.0 += 1;
            count.1 += u64::from(result.is_ok());
            // An interrupt for a processor that is not there is ESRCH, too.
            let gone = result == Err(Errno::ESRCH) && is_gone(&self.handle, own);
            if gone || (ends && result.is_ok()) {
                self.renew();
            }
            self.kept.truncate(KEPT);
        }
    }

    /// Requests of any number, their answers, and how often.
    pub(crate) fn raw(&self) -> &BTreeMap<(&'static str, String), u64> {
        &self.raw.answers
    }

    fn remember(&mut self, whom: u16, what: What) {
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((whom, what, None));
    }

    /// The guest is gone, or as good as: another takes its place.
    fn renew(&mut self) {
        self.victim = Victim::create();
        self.handle = restricted(self.victim.id());
        let answers = std::mem::take(&mut self.raw.answers);
        self.raw = Raw::new(&self.handle, self.victim.id(), self.other);
        self.raw.answers = answers;
        self.guests += 1;
    }

    fn forbidden(&mut self) -> u16 {
        let other = self.other.get();
        let whom = [
            other,
            other,
            domid::DOM0,
            domid::SELF,
            domid::XEN,
            domid::INVALID,
            0xffff,
        ];
        self.random.one_of(&whom)
    }

    fn choose(&mut self) -> What {
        let random = &mut self.random;
        match random.below(8) {
            0 => {
                let pages = 1 + random.below(32);
                What::Frames((0..pages).map(|_| random.gfn()).collect())
            }
            1 => {
                const TYPES: &[u32] = &[
                    memory::RESOURCE_IOREQ_SERVER,
                    memory::RESOURCE_GRANT_TABLE,
                    memory::RESOURCE_VMTRACE_BUF,
                    3,
                ];
                let type_ = random.one_of(TYPES);
                let pages = 1 + u32::try_from(random.below(8)).unwrap();
                What::Resource {
                    type_,
                    id: random.u32(8),
                    first: random.u32(4),
                    pages,
                }
            }
            _ => What::Operation(operations::any(random)),
        }
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "guest {}; the last attempts, and to whom:",
                self.victim.id()
            );
            eprintln!("    raw: {}", self.raw.last);
            for (whom, what, answer) in &self.last {
                eprintln!("    {whom:#x} {what:x?} -> {answer:?}");
            }
        }
    }
}

impl What {
    fn kind(&self) -> String {
        match self {
            Self::Operation(attempt) => attempt.name(),
            Self::Frames(_) => "MMAPBATCH_V2".to_owned(),
            Self::Resource { .. } => "MMAP_RESOURCE".to_owned(),
        }
    }
}
