// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings of guest memory and resources.

use xen_restrict::{
    Access, AccessError, Cause, Gfn, GrantDevice, GrantRef, PAGE_SIZE, PrivCmd, Resource,
    Unrestricted,
};
use xen_sys::{hypercall, memory};

use crate::support::{Field, LabGuest, STATUS, a, alone, b, guest_a, nobody, xen_resources};

#[test]
fn reads_what_the_guest_wrote() {
    for id in [a(), b()] {
        let pattern = LabGuest::new(id).gfn(Field::PatternGfn);
        let privcmd = PrivCmd::open().unwrap().restrict(id).unwrap();
        let memory = privcmd.guest().map(&[pattern], Access::Read).unwrap();
        assert_eq!((memory.len(), memory.missing().count()), (PAGE_SIZE, 0));
        for offset in (0..PAGE_SIZE).step_by(8) {
            let value = memory.get::<u64>(offset).unwrap();
            assert_eq!(value, u64::from(id.get()) << 48 | offset as u64);
        }
        assert_eq!(memory.write(0, &[1]), Err(AccessError::ReadOnly));
        let outside = memory.read(PAGE_SIZE - 1, &mut [0; 2]);
        assert!(matches!(outside, Err(AccessError::OutOfRange { .. })));
    }
}

#[test]
fn writes_are_seen_through_another_mapping() {
    let (_lock, guest) = guest_a();
    let gfn = guest.gfn(Field::ReadOnlyGfn);
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let memory = privcmd.guest().map(&[gfn, gfn], Access::ReadWrite).unwrap();
    let before = memory.get::<u64>(8).unwrap();
    memory.set(8, &0x0123_4567_89ab_cdef_u64).unwrap();
    assert_eq!(
        memory.get::<u64>(PAGE_SIZE + 8).unwrap(),
        0x0123_4567_89ab_cdef
    );
    memory.set(8, &before).unwrap();
}

#[test]
fn pages_that_are_not_there_are_named_and_the_others_work() {
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let gfns = [STATUS, Gfn::new(0x00ff_ffff), STATUS];
    let memory = privcmd.guest().map(&gfns, Access::Read).unwrap();
    let missing: Vec<_> = memory.missing().map(|m| m.page).collect();
    assert_eq!(missing, [1]);
    let magic = memory.get::<u64>(0).unwrap();
    assert_eq!(memory.get::<u64>(2 * PAGE_SIZE).unwrap(), magic);
    let hole = memory.get::<u64>(PAGE_SIZE - 4).unwrap_err();
    assert!(
        matches!(hole, AccessError::Missing(m) if m.page == 1),
        "{hole}"
    );
    assert!(hole.to_string().contains("page 1"), "{hole}");
}

#[test]
fn a_page_that_comes_back_is_mapped_by_a_retry() {
    let (_lock, _guest) = guest_a();
    let gfn = Gfn::new(0x380);
    let privcmd = PrivCmd::open().unwrap();
    reservation(&privcmd, memory::DECREASE_RESERVATION, gfn);
    let mut memory = privcmd
        .guest(a())
        .map(&[STATUS, gfn, STATUS], Access::ReadWrite)
        .unwrap();
    assert_eq!(memory.missing().count(), 1);
    assert_eq!(memory.retry().unwrap(), 1);
    memory.get::<u64>(PAGE_SIZE).unwrap_err();
    reservation(&privcmd, memory::POPULATE_PHYSMAP, gfn);
    assert_eq!(memory.retry().unwrap(), 0);
    assert_eq!(memory.missing().count(), 0);
    memory.set(PAGE_SIZE, &7_u64).unwrap();
    assert_eq!(memory.get::<u64>(PAGE_SIZE).unwrap(), 7);
}

/// Takes a page of guest A away, or gives it one.
fn reservation(privcmd: &PrivCmd<Unrestricted>, operation: u32, gfn: Gfn) {
    let list = privcmd.hypercall_buffer(8).unwrap();
    list.memory().set(0, &gfn.get()).unwrap();
    let argument = privcmd
        .hypercall_buffer(size_of::<memory::Reservation>())
        .unwrap();
    let reservation = memory::Reservation {
        extent_start: list.address(),
        nr_extents: 1,
        domid: a().get(),
        ..Default::default()
    };
    argument.memory().set(0, &reservation).unwrap();
    let arguments = [operation.into(), argument.address(), 0, 0, 0];
    // SAFETY: the argument and its list are hypercall buffers; the page is one
    // that the guest does not use.
    let done = unsafe { privcmd.hypercall(hypercall::MEMORY_OP, arguments) };
    assert_eq!(done.unwrap(), 1);
}

#[test]
fn thousands_of_pages_in_one_mapping() {
    // 16 MiB of guest, each frame three times.
    let gfns: Vec<_> = (0..3 * 4096).map(|i| Gfn::new(i % 4096)).collect();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let memory = privcmd.guest().map(&gfns, Access::Read).unwrap();
    let magic = memory.get::<u64>(0x200 * PAGE_SIZE).unwrap();
    assert_eq!(
        memory.get::<u64>((4096 + 0x200) * PAGE_SIZE).unwrap(),
        magic
    );
    assert_eq!(
        memory.get::<u64>((8192 + 0x200) * PAGE_SIZE).unwrap(),
        magic
    );
}

#[test]
fn the_grant_table_is_a_resource() {
    let guest = PrivCmd::open().unwrap().restrict(a()).unwrap().guest();
    let frames = guest.resource_frames(Resource::GrantTable).unwrap();
    assert!(frames >= 1, "{frames}");
    let table = guest
        .map_resource(Resource::GrantTable, 0, 1, Access::Read)
        .unwrap();
    let reference = LabGuest::new(a()).get(Field::FirstWritable);
    // Version 1 entries: flags, domid, frame; GTF_permit_access is 1.
    let at = usize::try_from(reference).unwrap() * 8;
    assert_eq!(table.get::<u16>(at).unwrap() & 3, 1);
    assert_eq!(table.get::<u16>(at + 2).unwrap(), 0, "granted to dom0");
}

#[test]
fn bad_mappings_say_why() {
    let privcmd = PrivCmd::open().unwrap();
    let error = privcmd.guest(a()).map(&[], Access::Read).unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
    let error = privcmd
        .guest(nobody())
        .map(&[STATUS; 2], Access::Read)
        .unwrap_err();
    assert!(matches!(error.cause, Cause::NoSuchDomain), "{error:#}");
    let error = privcmd
        .guest(nobody())
        .map_resource(Resource::GrantTable, 0, 1, Access::Read)
        .unwrap_err();
    assert!(matches!(error.cause, Cause::NoSuchDomain), "{error:#}");
    let error = privcmd
        .guest(a())
        .map_resource(Resource::GrantTable, 4096, 1, Access::Read)
        .unwrap_err();
    assert!(error.cause.raw_os_error().is_some(), "{error:#}");
    let error = privcmd
        .guest(a())
        .map_resource(Resource::GrantTable, 0, 0, Access::Read)
        .unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
}

alone! {
    fn failed_and_dropped_mappings_leave_nothing() {
        let before = xen_resources();
        {
            let privcmd = PrivCmd::open().unwrap();
            privcmd.guest(nobody()).map(&[STATUS; 9], Access::Read).unwrap_err();
            privcmd.guest(a()).map_resource(Resource::GrantTable, 4096, 2, Access::Read).unwrap_err();
            let memory = privcmd.guest(a()).map(&[STATUS], Access::Read).unwrap();
            assert_eq!(xen_resources().1, before.1 + 1);
            drop(privcmd);
            // The mapping keeps the handle: a restriction has to know of it.
            assert_eq!(xen_resources().0.len(), before.0.len() + 1);
            memory.get::<u64>(0).unwrap();
        }
        assert_eq!(xen_resources(), before);
    }
}

/// It would hold pages that no ledger knows of.
#[test]
fn a_forked_child_has_no_mappings() {
    let (_lock, guest) = guest_a();
    let privcmd = PrivCmd::open().unwrap();
    let _memory = privcmd.guest(a()).map(&[STATUS], Access::Read).unwrap();
    let _resource = privcmd
        .guest(a())
        .map_resource(Resource::GrantTable, 0, 1, Access::Read)
        .unwrap();
    let grant = GrantRef::new(guest.get(Field::FirstWritable).try_into().unwrap());
    let _grants = GrantDevice::open()
        .unwrap()
        .map(a(), &[grant], Access::ReadWrite)
        .unwrap();
    let mapped = |pid: libc::pid_t| {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        maps.matches("/dev/xen/").count()
    };
    // SAFETY: the child does nothing but wait.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: no arguments.
            unsafe { libc::pause() };
        }
    }
    let seen = (mapped(std::process::id().cast_signed()), mapped(child));
    // SAFETY: the child of this process.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: as above, and no status is wanted.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    // Of this process also what hypercalls are made with.
    assert!(seen.0 >= 3 && seen.1 == 0, "{seen:?}");
}
