// SPDX-License-Identifier: MIT OR Apache-2.0
//! The assembled programs, on every number.

use std::collections::BTreeSet;

use xen_sys::privcmd;

use super::{
    super::bpf::interpreter::{ALLOW, ARM, EPERM, I386, KILL, NOTIFY, audit, run},
    Allowed::{Always, Never},
    *,
};

const NATIVE: Arch = Arch::NATIVE.unwrap();

const MAPPINGS: [Mapping; 2] = [Mapping::Always, Mapping::UntilSealed];

fn ioctl(program: &BpfProgram, request: u64) -> u32 {
    let call = u32::try_from(libc::SYS_ioctl).unwrap();
    run(program, audit(NATIVE), call, [3, request, 0, 0, 0, 0])
}

#[test]
fn every_number_of_the_types_is_refused_unless_its_row_allows_it() {
    let mut sizes: Vec<u32> = POLICY.iter().map(|row| row.number >> 16 & 0x3fff).collect();
    sizes.extend([0, 1, 2, 3, 8, 16, 24, 0x3fff]);
    sizes.sort_unstable();
    sizes.dedup();
    let phases = [Phase::SetUp, Phase::Sealed].map(|phase| MAPPINGS.map(|m| (phase, m)));
    for (phase, mapping) in phases.into_iter().flatten() {
        let program = refusing(NATIVE, phase, mapping).unwrap();
        let mut allowed = 0;
        for (group, nr) in TYPES
            .iter()
            .flat_map(|g| (0..=255_u32).map(move |nr| (*g, nr)))
        {
            for (size, direction) in sizes.iter().flat_map(|s| (0..4_u32).map(move |d| (*s, d))) {
                let number = direction << 30 | size << 16 | u32::from(group) << 8 | nr;
                let row = POLICY.iter().find(|row| row.number == number);
                let expected = row.is_some_and(|row| row.until(mapping).during(phase));
                let answer = if expected { ALLOW } else { EPERM };
                for high in [0, 1 << 32, u64::MAX << 32] {
                    assert_eq!(
                        ioctl(&program, high | u64::from(number)),
                        answer,
                        "{number:#x}"
                    );
                }
                allowed += usize::from(expected);
            }
        }
        let rows = POLICY
            .iter()
            .filter(|row| row.until(mapping).during(phase))
            .count();
        assert_eq!(allowed, rows);
    }
}

#[test]
fn other_types_are_left_alone_and_all_calls_but_one() {
    let program = refusing(NATIVE, Phase::Sealed, Mapping::Always).unwrap();
    for group in (0..=255_u64).filter(|g| !TYPES.iter().any(|t| u64::from(*t) == *g)) {
        assert_eq!(ioctl(&program, group << 8 | 1), ALLOW, "{group:#x}");
    }
    let of_call = |call| {
        let request = privcmd::HYPERCALL.number().into();
        run(&program, audit(NATIVE), call, [3, request, 0, 0, 0, 0])
    };
    for call in 0..1000 {
        let expected = match i64::from(call) {
            libc::SYS_ioctl | libc::SYS_mremap => EPERM,
            _ => ALLOW,
        };
        assert_eq!(of_call(call), expected, "{call}");
    }
}

#[test]
fn other_architectures_are_killed() {
    for (arch, foreign) in [(Arch::X86_64, Arch::Aarch64), (Arch::Aarch64, Arch::X86_64)] {
        let program = refusing(arch, Phase::SetUp, Mapping::Always).unwrap();
        for other in [I386, ARM, audit(foreign)] {
            assert_eq!(run(&program, other, 54, [0; 6]), KILL);
        }
    }
    let program = refusing(Arch::X86_64, Phase::SetUp, Mapping::Always).unwrap();
    for call in [0x4000_0000, 0x4000_0202, u32::MAX] {
        assert_eq!(
            run(&program, audit(Arch::X86_64), call, [0; 6]),
            KILL,
            "{call:#x}"
        );
    }
}

#[test]
fn the_numbers_of_the_calls_are_the_kernels() {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let rules = all_refused(arch, Phase::Sealed, Mapping::Always, &[]).unwrap();
        let number = |name| {
            let (_, call) = super::super::syscalls::all().find(|(_, c)| c.name == name)?;
            call.number(arch).map(i64::from)
        };
        let expected = ["ioctl", REFUSED_CALL].map(|name| number(name).unwrap());
        assert_eq!(rules.into_keys().collect::<BTreeSet<_>>(), expected.into());
    }
}

fn asked(mapping: Mapping) -> [BpfProgram; 4] {
    let Supervised {
        never,
        until_sealed,
    } = supervised(mapping).unwrap();
    let (sealed, notifying) = (sealed(mapping).unwrap(), notifying(mapping).unwrap());
    [never, until_sealed, sealed, notifying]
}

#[test]
fn only_guest_memory_can_be_mapped_in_set_up_only() {
    let moved: Vec<_> = POLICY
        .iter()
        .filter(|row| row.until(Mapping::UntilSealed) != row.until(Mapping::Always))
        .map(|row| (row.request, row.until(Mapping::UntilSealed)))
        .collect();
    assert_eq!(moved, [("privcmd MMAPBATCH_V2", UntilSealed)]);
}

#[test]
fn the_supervisor_is_asked_about_what_its_row_says_and_nothing_else() {
    for mapping in MAPPINGS {
        let asked = asked(mapping);
        for row in POLICY {
            for high in [0, u64::MAX << 32] {
                let number = high | u64::from(row.number);
                let answers = asked.each_ref().map(|p| ioctl(p, number));
                let expected = match row.until(mapping) {
                    Always => [ALLOW; 4],
                    UntilSealed => [ALLOW, NOTIFY, EPERM, NOTIFY],
                    Never => [EPERM, ALLOW, EPERM, NOTIFY],
                };
                assert_eq!(answers, expected, "{}", row.request);
                let until_sealed = mapping.until_sealed()(row.number);
                assert_eq!(until_sealed, row.until(mapping) == UntilSealed);
            }
        }
    }
    let [never, until_sealed, sealed, notifying] = asked(Mapping::Always);
    let mremap = |p: &BpfProgram| {
        let call = u32::try_from(libc::SYS_mremap).unwrap();
        run(p, audit(NATIVE), call, [0; 6])
    };
    assert_eq!(
        [&never, &until_sealed, &sealed, &notifying].map(mremap),
        [EPERM, ALLOW, EPERM, NOTIFY]
    );
    // FIONREAD, and a number of the devices' types that nobody has yet.
    assert_eq!(
        [&never, &until_sealed, &sealed, &notifying].map(|p| ioctl(p, 0x541b)),
        [ALLOW; 4]
    );
    assert_eq!(
        [&never, &until_sealed, &notifying].map(|p| ioctl(p, 0x50ff)),
        [EPERM, ALLOW, NOTIFY]
    );
}

#[test]
fn a_person_reads_every_row() {
    let mut text = String::new();
    describe(&mut text, Mapping::Always).unwrap();
    assert!(
        POLICY
            .iter()
            .all(|row| text.contains(row.request) && text.contains(row.reason)),
        "{text}"
    );
}

#[test]
fn the_policy_names_each_number_once_and_has_a_reason() {
    for (at, row) in POLICY.iter().enumerate() {
        assert!(
            TYPES.contains(&(row.number.to_ne_bytes()[1])),
            "{}",
            row.request
        );
        assert!(!row.reason.is_empty(), "{}", row.request);
        let again = POLICY[..at].iter().find(|other| other.number == row.number);
        assert!(again.is_none(), "{} and {again:?}", row.request);
    }
}
