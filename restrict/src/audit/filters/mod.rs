// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the seccomp filters of other processes do with the requests of Xen's devices.

#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::audit) mod laws;
mod program;
mod tracer;

use std::collections::BTreeMap;

pub(super) use program::{Instruction, Program};
pub(super) use tracer::Stopped;

use program::{Answer, Call, answer};

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
}

impl Filters {
    /// Reads those of all threads, which are stopped.
    pub(super) fn read(stopped: &Stopped, snapshot: &Snapshot) -> Result<Self, Missed> {
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
        Ok(filters)
    }

    /// What is wrong with the filters, by thread.
    pub(super) fn wrong(&self, ask: Ask) -> BTreeMap<i32, String> {
        let wrong: Vec<_> = self
            .lists
            .iter()
            .map(|list| let_through(list, ask))
            .collect();
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// A supervisor that is known.
    Trusted,
    /// Nobody knows who.
    Untrusted,
}

/// The first requests that should be refused and are not.
pub(super) fn let_through(programs: &[Program], ask: Ask) -> Option<String> {
    if programs.is_empty() {
        return Some("no filter".to_owned());
    }
    let passes = |call: Call| match answer(programs, call) {
        Answer::Refused => false,
        Answer::Asked => ask == Ask::Untrusted,
        Answer::Allowed => true,
    };
    let never = POLICY.iter().filter(|row| row.allowed == Allowed::Never);
    let open: Vec<_> = never.filter(|row| passes(ioctl(row.number))).collect();
    if let Some(first) = open.first() {
        let more = match open.len() {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        return Some(format!("filters let {} through{more}", first.request));
    }
    if let Some(number) = unlisted().find(|number| passes(ioctl(*number))) {
        return Some(format!(
            "filters let request {number:#x} through, which no driver has yet"
        ));
    }
    let foreign = FOREIGN.iter().find(|call| passes(**call));
    foreign.map(|call| {
        format!(
            "filters let ioctl through as system call {:#x} of arch {:#x}",
            call.number, call.arch
        )
    })
}

fn ioctl(request: u32) -> Call {
    let number = u32::try_from(libc::SYS_ioctl).unwrap_or(u32::MAX);
    Call {
        number,
        arch: ARCH,
        request,
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
    sending(libc::SYS_sendmsg),
    sending(libc::SYS_sendmmsg),
    sending(libc::SYS_io_uring_setup),
];

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of system calls are small"
)]
const fn sending(number: i64) -> Call {
    Call {
        number: number as u32,
        arch: ARCH,
        request: 0,
    }
}

/// ioctl by numbers of other architectures that this kernel may execute as well: privcmd's
/// HYPERCALL.
const FOREIGN: &[Call] = if cfg!(target_arch = "x86_64") {
    &[
        Call {
            number: 54,
            arch: I386,
            request: HYPERCALL,
        },
        Call {
            number: 0x4000_0000 + 514,
            arch: X86_64,
            request: HYPERCALL,
        },
        Call {
            number: 0x4000_0000 + 16,
            arch: X86_64,
            request: HYPERCALL,
        },
    ]
} else {
    &[Call {
        number: 54,
        arch: ARM,
        request: HYPERCALL,
    }]
};
const HYPERCALL: u32 = privcmd::HYPERCALL.number();

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
    all.filter(|number| !POLICY.iter().any(|row| row.number == *number))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        assert!(!filters.keep_descriptors([1]));
        assert!(!filters.keep_descriptors([2]));
    }
}
