// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs together, as the kernel runs them, on any call: none is let through that
//! the tables do not allow, and none is refused that they do.

use proptest::prelude::*;

use super::*;
use crate::confine::{
    by_hand::{
        ALLOW, Arch, KILL, NOTIFY, Verdict, audit, is_a_case, numbers, run, values, verdict,
    },
    xen_requests::{Allowed, POLICY, TYPES},
};

/// How a program can be launched.
#[derive(Clone, Copy, Debug)]
struct Way {
    xen_requests: bool,
    seccomp: bool,
    brokered: bool,
    phase: Phase,
    mapping: Mapping,
    denied: Denied,
}

fn ways() -> Vec<(Way, Filters)> {
    let bits = |n: u8, at: u8| n >> at & 1 == 1;
    let way = |n| Way {
        xen_requests: bits(n, 0),
        seccomp: bits(n, 1),
        brokered: bits(n, 2),
        phase: if bits(n, 3) {
            Phase::Sealed
        } else {
            Phase::SetUp
        },
        denied: if bits(n, 4) {
            Denied::Notify
        } else {
            Denied::Errno
        },
        mapping: if bits(n, 5) {
            Mapping::UntilSealed
        } else {
            Mapping::Always
        },
    };
    let with_filters = |way: Way| {
        let Way {
            xen_requests,
            seccomp,
            brokered,
            phase,
            mapping,
            denied,
        } = way;
        let filters = Filters::new(xen_requests, seccomp, brokered, phase, mapping, denied);
        (way, filters.unwrap())
    };
    (0..64).map(way).map(with_filters).collect()
}

const NATIVE: Arch = Arch::NATIVE.unwrap();

impl Filters {
    /// The kernel takes the most severe answer; a kill is negative to it.
    fn answer(&self, arch: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let programs = self.list.iter().map(|(_, filter)| match filter {
            Plain(program) | Asks(program) => program,
        });
        let answers = programs
            .chain(&self.last)
            .map(|p| run(p, arch, call, arguments));
        let action = |answer: &u32| (answer & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
        answers.min_by_key(action).unwrap_or(ALLOW)
    }
}

impl Way {
    /// What should become of a call: let through, refused, or asked about.
    fn expected(self, call: u32, arguments: [u64; 6]) -> u32 {
        let (verdict, name) = verdict(call);
        let denied = match self.denied {
            Denied::Errno => libc::SECCOMP_RET_ERRNO,
            Denied::Notify => NOTIFY,
        };
        if self.brokered && ["sendmsg", "sendmmsg", "io_uring_setup"].contains(&name) {
            return libc::SECCOMP_RET_ERRNO;
        }
        let request = u32::try_from(arguments[1] & 0xffff_ffff).unwrap();
        let group = (request >> 8 & 0xff) as u8;
        if name == "ioctl" && TYPES.contains(&group) {
            let row = POLICY.iter().find(|row| row.number == request);
            return match row.map_or(Allowed::Never, |row| row.until(self.mapping)) {
                _ if !self.xen_requests && !self.seccomp => ALLOW,
                Allowed::Always => ALLOW,
                Allowed::Never => denied,
                // Of both it is `xen-requests` that knows of the phases.
                Allowed::UntilSealed if self.denied == Denied::Notify => NOTIFY,
                Allowed::UntilSealed if !self.xen_requests => ALLOW,
                Allowed::UntilSealed if self.phase == Phase::SetUp => NOTIFY,
                Allowed::UntilSealed => denied,
            };
        }
        if name == "mremap" && self.xen_requests {
            return denied;
        }
        let is_allowed = verdict == Verdict::Allowed && is_a_case(name, arguments);
        if is_allowed || !self.seccomp {
            ALLOW
        } else {
            denied
        }
    }
}

fn any_call() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => prop::sample::select(numbers()),
        3 => prop::sample::select(vec![verdict_of("ioctl")]),
        1 => 0_u32..1000,
    ]
}

fn verdict_of(name: &str) -> u32 {
    numbers()
        .into_iter()
        .find(|number| verdict(*number).1 == name)
        .unwrap()
}

fn any_argument() -> impl Strategy<Value = u64> {
    let low = prop_oneof![
        3 => prop::sample::select(values()),
        2 => prop::sample::select(POLICY.iter().map(|row| row.number).collect::<Vec<_>>()),
        1 => (0_u32..32).prop_map(|bit| 1 << bit),
        1 => 0_u32..70,
        1 => any::<u32>(),
    ];
    let high = prop_oneof![3 => Just(0), 1 => Just(1_u64 << 32), 1 => any::<u64>()];
    (low, high).prop_map(|(low, high)| high >> 32 << 32 | u64::from(low))
}

#[test]
fn every_call_comes_to_what_the_tables_say() {
    let ways = ways();
    let arguments = || prop::array::uniform6(any_argument());
    let config = ProptestConfig::with_cases(4000);
    proptest!(config, |(call in any_call(), arguments in arguments())| {
        for (way, filters) in &ways {
            let answer = filters.answer(audit(NATIVE), call, arguments);
            let answer = answer & libc::SECCOMP_RET_ACTION_FULL;
            let expected = way.expected(call, arguments);
            prop_assert_eq!(answer, expected, "{:?} {:?}", verdict(call), way);
        }
    });
}

/// An audit takes that for granted, of those that a launcher has loaded itself.
#[test]
fn of_a_qemus_and_its_inits_an_audit_finds_nothing_wrong() {
    for seccomp in [true, false] {
        for denied in [Denied::Errno, Denied::Notify] {
            let programs = Filters::of_qemu(seccomp, denied).unwrap().programs();
            let wrong = crate::audit::wrong_with(&programs);
            assert_eq!(wrong, None, "{seccomp} {denied:?}");
        }
    }
    let inits = Filters::for_init(true).unwrap().programs();
    assert_eq!(crate::audit::wrong_with(&inits), None);
}

#[test]
fn another_architectures_calls_end_it() {
    let ways = ways();
    proptest!(|(call: u32, arch: u32, arguments: [u64; 6])| {
        for (way, filters) in &ways {
            let filtered = way.xen_requests || way.seccomp || way.brokered;
            if filtered && arch != audit(NATIVE) {
                prop_assert_eq!(filters.answer(arch, call, arguments), KILL, "{:?}", way);
            }
        }
    });
}
