// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every dm_op: what Xen answers for a PVH guest, and that another guest's is
//! refused.

use xen_restrict::{
    CacheAttr, Cause, Event, EventKind, Gfn, Guest, MemType, PciAddress, PrivCmd, Result,
    ShutdownReason,
};

use crate::support::{a, b, nobody};

const DEVICE: PciAddress = PciAddress {
    domain: 0,
    bus: 0,
    device: 3,
};
const EVENT: Event = Event {
    vector: 255,
    kind: EventKind::ExternalInterrupt,
    instruction_length: 0,
    error_code: u32::MAX,
    extra: 0,
};

type Call = fn(&Guest) -> Result<()>;

/// Xen's answer for a PVH guest: 0, or the error that says what is missing.
type Answer = i32;

/// Each in a form that changes nothing that matters where it is accepted.
const CALLS: &[(&str, Call, Answer)] = &[
    (
        "track_dirty_vram",
        |g| g.track_dirty_vram(Gfn::new(0), 8, &mut [0]),
        0,
    ),
    (
        "track_dirty_vram, end",
        |g| g.track_dirty_vram(Gfn::new(0), 0, &mut []),
        0,
    ),
    (
        "set_pci_intx_level",
        |g| g.set_pci_intx_level(DEVICE, 0, false),
        0,
    ),
    ("set_isa_irq_level", |g| g.set_isa_irq_level(5, false), 0),
    ("set_pci_link_route", |g| g.set_pci_link_route(0, 0), 0),
    (
        "modified_memory",
        |g| g.modified_memory(&[(Gfn::new(0x300), 1)]),
        0,
    ),
    ("modified_memory, none", |g| g.modified_memory(&[]), 0),
    (
        "set_mem_type",
        |g| g.set_mem_type(Gfn::new(0x300), 1, MemType::RamRw),
        0,
    ),
    // Not an address of an interrupt.
    ("inject_msi", |g| g.inject_msi(0, 0), libc::ERANGE),
    (
        "relocate_memory",
        |g| g.relocate_memory(Gfn::new(0x300), Gfn::new(0x300), 0),
        0,
    ),
    // Nothing is pinned there.
    (
        "pin_memory_cacheattr",
        |g| g.pin_memory_cacheattr(Gfn::new(0), Gfn::new(1), CacheAttr::Delete),
        libc::ENOENT,
    ),
    // Arm's.
    (
        "set_irq_level",
        |g| g.set_irq_level(1, false),
        libc::EOPNOTSUPP,
    ),
    ("nr_vcpus", |g| g.nr_vcpus().map(drop), 0),
    (
        "create_ioreq_server",
        |g| g.create_ioreq_server(false).map(drop),
        0,
    ),
];

/// Those that would do harm to a guest that may be named.
const HARMFUL: &[(&str, Call, Answer)] = &[
    ("inject_event", |g| g.inject_event(0, EVENT), 0),
    (
        "remote_shutdown",
        |g| g.remote_shutdown(ShutdownReason::Crash),
        0,
    ),
];

#[test]
fn a_restricted_handle_says_no_for_every_other_guest() {
    let privcmd = PrivCmd::open().unwrap();
    let views = [privcmd.guest(b()), privcmd.guest(nobody())];
    privcmd.restrict(a()).unwrap();
    for (name, call, _) in CALLS.iter().chain(HARMFUL) {
        for guest in &views {
            let error = call(guest).unwrap_err();
            assert!(
                matches!(error.cause, Cause::Restricted),
                "{name}: {error:#}"
            );
        }
    }
}

#[test]
fn a_domain_that_is_not_there_is_told_apart_from_a_refusal() {
    let guest = PrivCmd::open().unwrap().restrict(nobody()).unwrap().guest();
    for (name, call, _) in CALLS.iter().chain(HARMFUL) {
        let error = call(&guest).unwrap_err();
        assert!(
            matches!(error.cause, Cause::NoSuchDomain),
            "{name}: {error:#}"
        );
    }
}

#[test]
fn its_own_guest_is_served() {
    let guest = PrivCmd::open().unwrap().restrict(a()).unwrap().guest();
    for (name, call, answer) in CALLS {
        let seen = call(&guest).map_or_else(|e| e.cause.raw_os_error(), |()| Some(0));
        // Before Xen 4.15 there was no such question.
        let old = *name == "nr_vcpus" && seen == Some(libc::EOPNOTSUPP) && xen_minor() < 15;
        assert!(seen == Some(*answer) || old, "{name}: {seen:?}");
    }
    guest
        .set_mem_type(Gfn::new(0x300), 1, MemType::RamRw)
        .unwrap();
    guest
        .modified_memory(&[(Gfn::new(0x300), 2), (Gfn::new(0x310), 1)])
        .unwrap();
    if xen_minor() >= 15 {
        assert_eq!(guest.nr_vcpus().unwrap(), 1);
    }
}

fn xen_minor() -> u16 {
    PrivCmd::open().unwrap().xen_version().unwrap().1
}

#[test]
fn counts_past_the_limits_say_which() {
    let guest = PrivCmd::open().unwrap().restrict(a()).unwrap().guest();
    let error = guest.modified_memory(&[(Gfn::new(0), 1); 257]).unwrap_err();
    assert!(
        matches!(error.cause, Cause::TooMany { count: 257, .. }),
        "{error:#}"
    );
    let error = guest
        .track_dirty_vram(Gfn::new(0), 9, &mut [0])
        .unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
    let mut large = vec![0; 4097];
    let error = guest.dm_op_raw(&mut [&mut large]).unwrap_err();
    assert!(matches!(error.cause, Cause::TooMany { .. }), "{error:#}");
    assert!(
        format!("{error:#}").contains("dm_op_buf_max_size"),
        "{error:#}"
    );
    let error = guest
        .dm_op_raw(&mut [&mut [0; 8], &mut [], &mut []])
        .unwrap_err();
    assert!(
        matches!(
            error.cause,
            Cause::TooMany {
                count: 3,
                limit: 2,
                ..
            }
        ),
        "{error:#}"
    );
    let mut buffers = [[0_u8; 8]; 17];
    let mut buffers: Vec<_> = buffers.iter_mut().map(|b| &mut b[..]).collect();
    let error = guest.dm_op_raw(&mut buffers).unwrap_err();
    assert!(
        matches!(error.cause, Cause::TooMany { count: 17, .. }),
        "{error:#}"
    );
}

#[test]
fn raw_operations_reach_xen() {
    let guest = PrivCmd::open().unwrap().restrict(a()).unwrap().guest();
    guest.dm_op_raw(&mut []).unwrap();
    let mut unknown = [0xff; 64];
    let error = guest.dm_op_raw(&mut [&mut unknown]).unwrap_err();
    assert_eq!(
        error.cause.raw_os_error(),
        Some(libc::EOPNOTSUPP),
        "{error:#}"
    );
    let error = guest.dm_op_raw(&mut [&mut [0; 3]]).unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EFAULT), "{error:#}");
}
