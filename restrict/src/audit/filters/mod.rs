// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the seccomp filters of other processes do with the requests of Xen's devices.

#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::audit) mod laws;
mod program;
mod requests;
mod tracer;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

pub(super) use program::{Instruction, Program, as_read};
pub(super) use tracer::Stopped;

use program::{Answer, Call};
use requests::{Requests, answer};

use super::look::{Missed, Snapshot};
use crate::confine::xen_requests::{Allowed, POLICY, TYPES};
use xen_sys::privcmd;

/// The filters of each thread.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// Each list once.
    lists: Vec<Vec<Program>>,
    /// Which of them a thread has.
    of: BTreeMap<i32, usize>,
    /// Those with which nothing is wrong, as is known.
    good: BTreeSet<usize>,
    /// What is wrong with each, once somebody asks: checks ask alike.
    wrong: RefCell<BTreeMap<Ask, Vec<Option<String>>>>,
}

impl Filters {
    /// Reads those of all threads, which are stopped.
    pub(super) fn read(
        stopped: &Stopped,
        snapshot: &Snapshot,
        good: &[Vec<Program>],
    ) -> Result<Self, Missed> {
        let mut filters = Self::default();
        let threads = snapshot
            .processes
            .iter()
            .flat_map(|process| &process.threads);
        for thread in threads {
            let list = stopped.filters(thread.tid)?;
            let known = filters.lists.iter().position(|known| *known == list);
            let at = known.unwrap_or(filters.lists.len());
            if known.is_none() {
                filters.lists.push(list);
            }
            filters.of.insert(thread.tid, at);
        }
        let is_good = |list: &Vec<Program>| !list.is_empty() && good.contains(list);
        let lists = filters.lists.iter().enumerate();
        let good = lists.filter(|(_, list)| is_good(list)).map(|(at, _)| at);
        filters.good = good.collect();
        Ok(filters)
    }

    /// What is wrong with the filters, by thread.
    pub(super) fn wrong(&self, ask: Ask) -> BTreeMap<i32, String> {
        let mut known = self.wrong.borrow_mut();
        let wrong = known.entry(ask).or_insert_with(|| {
            let lists = self.lists.iter().enumerate();
            let wrong = lists.map(|(at, list)| match self.good.contains(&at) {
                true => None,
                false => let_through(list, ask),
            });
            wrong.collect()
        });
        let of = |(tid, at): (&i32, &usize)| Some((*tid, wrong.get(*at)?.clone()?));
        self.of.iter().filter_map(of).collect()
    }

    /// Whether none of these threads can send a descriptor to somebody without its filters.
    pub(super) fn keep_descriptors(&self, threads: impl IntoIterator<Item = i32>) -> bool {
        threads.into_iter().all(|tid| {
            let list = self.of.get(&tid).and_then(|at| self.lists.get(*at));
            list.is_some_and(|list| {
                SENDING
                    .iter()
                    .all(|call| answer(list, *call) == Answer::Refused)
            })
        })
    }

    /// Whether no guest memory can be mapped.
    pub(super) fn refuse_mapping(&self) -> bool {
        let mapping = ioctl(privcmd::MMAPBATCH_V2.number());
        let mut lists = self.lists.iter();
        lists.all(|list| answer(list, mapping) == Answer::Refused)
    }

    /// Whether one of these threads can map a resource of the guest.
    pub(super) fn let_resources_through(
        &self,
        threads: impl IntoIterator<Item = i32>,
        ask: Ask,
    ) -> bool {
        threads.into_iter().any(|tid| {
            let list = self.of.get(&tid).and_then(|at| self.lists.get(*at));
            list.is_none_or(|list| passes(list, ioctl(privcmd::MMAP_RESOURCE.number()), ask))
        })
    }

    /// Whether all refuse what is allowed until a program is sealed.
    pub(super) fn are_sealed(&self) -> bool {
        self.set_up_is(|answer| answer == Answer::Refused)
    }

    /// Whether somebody decides about that, where it is not refused.
    pub(super) fn may_be_sealed(&self) -> bool {
        self.set_up_is(|answer| answer != Answer::Allowed)
    }

    fn set_up_is(&self, good: impl Fn(Answer) -> bool) -> bool {
        let until = POLICY
            .iter()
            .filter(|row| row.allowed == Allowed::UntilSealed);
        let until: Vec<_> = until.map(|row| row.number).collect();
        self.lists.iter().all(|list| {
            until
                .iter()
                .all(|number| good(answer(list, ioctl(*number))))
        })
    }
}

/// Whether it is as good that somebody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// A supervisor that is known.
    Trusted,
    /// Nobody knows who.
    Untrusted,
}

fn passes(programs: &[Program], call: Call, ask: Ask) -> bool {
    answer(programs, call).passes(ask)
}

impl Answer {
    fn passes(self, ask: Ask) -> bool {
        match self {
            Self::Refused => false,
            Self::Asked => ask == Ask::Untrusted,
            Self::Allowed => true,
        }
    }
}

/// The first requests that should be refused and are not.
pub(super) fn let_through(programs: &[Program], ask: Ask) -> Option<String> {
    if programs.is_empty() {
        return Some("no filter".to_owned());
    }
    let requests = Requests::of(programs, IOCTL);
    let request_passes = |request| requests.answer(Some(request)).passes(ask);
    let passes = |call: Call| passes(programs, call, ask);
    let never = POLICY.iter().filter(|row| row.allowed == Allowed::Never);
    let open: Vec<_> = never.filter(|row| request_passes(row.number)).collect();
    if let Some(first) = open.first() {
        let more = match open.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        return Some(format!("filters let {} through{more}", first.request));
    }
    if let Some(number) = unlisted().find(|number| request_passes(*number)) {
        return Some(format!(
            "filters let request {number:#x} through, which no driver has yet"
        ));
    }
    if passes(MREMAP) {
        return Some("filters let mremap through".to_owned());
    }
    let foreign = FOREIGN.iter().find(|(_, call)| passes(*call));
    foreign.map(|(name, call)| {
        format!(
            "filters let {name} through as system call {:#x} of arch {:#x}",
            call.number, call.arch
        )
    })
}

fn ioctl(request: u32) -> Call {
    Call {
        request: Some(request),
        ..IOCTL
    }
}

/// Of Linux's `linux/audit.h`.
const X86_64: u32 = 0xc000_003e;
const AARCH64: u32 = 0xc000_00b7;
const I386: u32 = 0x4000_0003;
const ARM: u32 = 0x4000_0028;
const ARCH: u32 = if cfg!(target_arch = "x86_64") {
    X86_64
} else {
    AARCH64
};

/// What sends descriptors.
const SENDING: [Call; 3] = [
    call(libc::SYS_sendmsg),
    call(libc::SYS_sendmmsg),
    call(libc::SYS_io_uring_setup),
];

/// Of whatever request.
const IOCTL: Call = call(libc::SYS_ioctl);

/// What moves a mapping.
const MREMAP: Call = call(libc::SYS_mremap);

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of system calls are small"
)]
const fn call(number: i64) -> Call {
    Call {
        number: number as u32,
        arch: ARCH,
        request: None,
    }
}

/// By numbers of other architectures that this kernel may execute as well: ioctl, of privcmd's
/// HYPERCALL, and mremap.
const FOREIGN: &[(&str, Call)] = if cfg!(target_arch = "x86_64") {
    &[
        foreign_ioctl(54, I386),
        foreign_ioctl(X32 + 514, X86_64),
        foreign_ioctl(X32 + 16, X86_64),
        foreign_mremap(163, I386),
        foreign_mremap(X32 + 25, X86_64),
    ]
} else {
    &[foreign_ioctl(54, ARM), foreign_mremap(163, ARM)]
};
const X32: u32 = 0x4000_0000;
const HYPERCALL: u32 = privcmd::HYPERCALL.number();

const fn foreign_ioctl(number: u32, arch: u32) -> (&'static str, Call) {
    let request = Some(HYPERCALL);
    let call = Call {
        number,
        arch,
        request,
    };
    ("ioctl", call)
}

const fn foreign_mremap(number: u32, arch: u32) -> (&'static str, Call) {
    let request = None;
    let call = Call {
        number,
        arch,
        request,
    };
    ("mremap", call)
}

/// Requests of the devices' types that are not in the policy: the next ones that a kernel
/// could have, in likely sizes and all directions.
fn unlisted() -> impl Iterator<Item = u32> {
    const NUMBERS: u32 = 64;
    const SIZES: [u32; 10] = [0, 2, 4, 8, 16, 24, 32, 40, 48, 64];
    let numbers = TYPES
        .iter()
        .flat_map(|group| (0..NUMBERS).map(|nr| u32::from(*group) << 8 | nr));
    let sized = numbers.flat_map(|number| SIZES.iter().map(move |size| size << 16 | number));
    let all = sized.flat_map(|number| (0..4_u32).map(move |direction| direction << 30 | number));
    let mut listed: Vec<_> = POLICY.iter().map(|row| row.number).collect();
    listed.sort_unstable();
    all.filter(move |number| listed.binary_search(number).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::{
        seccomp::{self, Denied},
        xen_requests::{self, Mapping},
    };

    #[test]
    fn no_filter_lets_everything_through() {
        assert_eq!(let_through(&[], Ask::Trusted).as_deref(), Some("no filter"));
        assert!(unlisted().count() > 5000);
    }

    #[test]
    fn who_has_no_filter_can_send_descriptors() {
        let filters = Filters {
            lists: vec![Vec::new()],
            of: BTreeMap::from([(1, 0)]),
            ..Filters::default()
        };
        assert!(!filters.keep_descriptors([1]));
        assert!(!filters.keep_descriptors([2]));
    }

    fn of_one(programs: Vec<Program>) -> Filters {
        Filters {
            lists: vec![programs],
            of: BTreeMap::from([(1, 0)]),
            ..Filters::default()
        }
    }

    #[test]
    fn resources_are_let_through_until_somebody_refuses_them() {
        let both = xen_requests::supervised(Mapping::Always).unwrap();
        let [never, asks] = [both.never, both.until_sealed].map(|program| as_read(&program));
        let sealed = as_read(&xen_requests::sealed(Mapping::Always).unwrap());
        for (filters, trusted, untrusted) in [
            (of_one(vec![sealed]), false, false),
            (of_one(vec![never.clone(), asks]), false, true),
            (of_one(vec![never]), true, true),
        ] {
            assert!(filters.wrong(Ask::Untrusted).is_empty());
            let through = |thread, ask| filters.let_resources_through([thread], ask);
            assert_eq!(through(1, Ask::Trusted), trusted);
            assert_eq!(through(1, Ask::Untrusted), untrusted);
            assert!(through(2, Ask::Trusted), "a thread that was not read");
        }
    }

    #[test]
    fn only_what_is_known_to_be_good_is_not_evaluated() {
        let allows = vec![Instruction::of(0x06, 0, 0, libc::SECCOMP_RET_ALLOW)];
        let filters = Filters {
            lists: vec![vec![allows.clone()], vec![allows]],
            of: BTreeMap::from([(1, 0), (2, 1)]),
            good: BTreeSet::from([1]),
            ..Filters::default()
        };
        let wrong = filters.wrong(Ask::Trusted);
        assert_eq!(wrong.keys().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn one_answer_for_many_requests_is_that_of_each() {
        let both = xen_requests::supervised(Mapping::Always).unwrap();
        let seccomp = seccomp::program(Denied::Errno, Mapping::Always).unwrap();
        let programs = [both.never, both.until_sealed, seccomp].map(|program| as_read(&program));
        for programs in [&programs[..], &programs[..2]] {
            let requests = Requests::of(programs, IOCTL);
            let of_policy = POLICY.iter().map(|row| row.number);
            for number in of_policy.chain(unlisted().step_by(97)).chain([0, u32::MAX]) {
                let alone = answer(programs, ioctl(number));
                assert_eq!(requests.answer(Some(number)), alone, "{number:#x}");
            }
        }
    }

    /// The old size is what some sandboxes look at: 0 makes a second mapping.
    #[test]
    fn a_filter_of_some_moves_only_lets_mremap_through() {
        let of_size = |size: u32| {
            let mremap = u32::try_from(libc::SYS_mremap).unwrap();
            vec![
                Instruction::of(0x20, 0, 0, 0),
                Instruction::of(0x15, 0, 2, mremap),
                Instruction::of(
                    0x20,
                    0,
                    0,
                    if cfg!(target_endian = "little") {
                        24
                    } else {
                        28
                    },
                ),
                Instruction::of(0x15, 0, 1, size),
                Instruction::of(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | 1),
                Instruction::of(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
            ]
        };
        for size in [0, 4096] {
            assert_eq!(answer(&[of_size(size)], MREMAP), Answer::Allowed, "{size}");
        }
    }
}
