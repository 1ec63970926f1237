// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants: mapped, copied, and given.

use xen_restrict::{
    Access, AccessError, Cause, CopySegment, EventChannel, GrantAllocator, GrantDevice, GrantRef,
    GrantedByte, PAGE_SIZE, PrivCmd, UnmapNotify,
};

use crate::support::{Field, LabGuest, a, alone, b, eventually, guest_a, nobody, xen_resources};

fn refs(guest: &LabGuest, first: Field, count: Field) -> Vec<GrantRef> {
    let first: u32 = guest.get(first).try_into().unwrap();
    let count: u32 = guest.get(count).try_into().unwrap();
    (first..first + count).map(GrantRef::new).collect()
}

fn writable(guest: &LabGuest) -> Vec<GrantRef> {
    refs(guest, Field::FirstWritable, Field::WritableCount)
}

#[test]
fn granted_pages_are_the_guests_pages() {
    let (_lock, guest) = guest_a();
    let refs = writable(&guest);
    let pages = GrantDevice::open()
        .unwrap()
        .map(a(), &refs, Access::ReadWrite)
        .unwrap();
    assert_eq!(pages.pages(), 8);
    for page in 0..8_u64 {
        let at = usize::try_from(page).unwrap() * PAGE_SIZE + 16;
        let expected = u64::from(a().get()) << 48 | page << 32 | 16;
        assert_eq!(pages.get::<u64>(at).unwrap(), expected);
    }
    let guest_view = PrivCmd::open().unwrap().guest(a());
    let memory = guest_view
        .map(&[guest.gfn(Field::WritableGfn)], Access::Read)
        .unwrap();
    let old = pages.get::<u64>(24).unwrap();
    pages.set(24, &0xfeed_u64).unwrap();
    assert_eq!(memory.get::<u64>(24).unwrap(), 0xfeed);
    pages.set(24, &old).unwrap();
}

#[test]
fn read_only_grants_are_read_only() {
    let (_lock, guest) = guest_a();
    let refs = refs(&guest, Field::FirstReadOnly, Field::ReadOnlyCount);
    let grants = GrantDevice::open().unwrap();
    let pages = grants.map(a(), &refs, Access::Read).unwrap();
    assert_eq!(pages.set(0, &1_u8), Err(AccessError::ReadOnly));
    let error = pages.notify_on_unmap(UnmapNotify {
        clear_byte: Some(0),
        send_event: None,
    });
    let error = error.unwrap_err();
    assert!(
        matches!(error.cause, Cause::Access(AccessError::ReadOnly)),
        "{error:#}"
    );
    drop(pages);
    let error = grants.map(a(), &refs, Access::ReadWrite).unwrap_err();
    assert!(error.cause.raw_os_error().is_some(), "{error:#}");
}

#[test]
fn grants_that_are_not_there_are_refused_whole() {
    let (_lock, guest) = guest_a();
    let grants = GrantDevice::open().unwrap();
    let mut refs = writable(&guest);
    refs[3] = GrantRef::new(400);
    let error = grants.map(a(), &refs, Access::Read).unwrap_err();
    assert!(error.cause.raw_os_error().is_some(), "{error:#}");
    let error = grants.map(nobody(), &refs, Access::Read).unwrap_err();
    assert!(error.cause.raw_os_error().is_some(), "{error:#}");
    let error = grants.map(a(), &[], Access::Read).unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
    let many = vec![GrantRef::new(1); 70_000];
    let error = grants.map(a(), &many, Access::Read).unwrap_err();
    assert!(matches!(error.cause, Cause::TooMany { .. }), "{error:#}");
    // B's references are B's: the numbers alone are worth nothing.
    let pages = grants.map(b(), &writable(&guest), Access::Read).unwrap();
    assert_eq!(pages.get::<u64>(0).unwrap() >> 48, u64::from(b().get()));
}

#[test]
fn the_other_side_learns_of_an_unmapping() {
    let (_lock, guest) = guest_a();
    let events = EventChannel::open().unwrap();
    let port = events
        .bind_interdomain(a(), guest.port(Field::Port2))
        .unwrap();
    let privcmd = PrivCmd::open().unwrap();
    let memory = privcmd
        .guest(a())
        .map(&[guest.gfn(Field::WritableGfn)], Access::ReadWrite);
    let memory = memory.unwrap();
    memory.set(100, &0x55_u8).unwrap();
    let pages = GrantDevice::open()
        .unwrap()
        .map(a(), &writable(&guest), Access::ReadWrite);
    let pages = pages.unwrap();
    pages
        .notify_on_unmap(UnmapNotify {
            clear_byte: Some(100),
            send_event: Some(&port),
        })
        .unwrap();
    let outside = UnmapNotify {
        clear_byte: Some(8 * PAGE_SIZE),
        send_event: None,
    };
    let error = pages.notify_on_unmap(outside).unwrap_err();
    assert!(matches!(
        error.cause,
        Cause::Access(AccessError::OutOfRange { .. })
    ));
    // The driver would keep the port of another domain past a restriction.
    let elsewhere = events.bind_unbound_port(b()).unwrap();
    let error = pages.notify_on_unmap(UnmapNotify {
        clear_byte: None,
        send_event: Some(&elsewhere),
    });
    assert!(matches!(error.unwrap_err().cause, Cause::Invalid { .. }));
    assert_eq!(memory.get::<u8>(100).unwrap(), 0x55);
    drop(pages);
    eventually("the byte is cleared", || {
        memory.get::<u8>(100).unwrap() == 0
    });
    let page = u64::from(a().get()) << 48;
    memory.set(96, &(page | 96)).unwrap();
}

#[test]
fn copies_go_both_ways_and_each_has_its_status() {
    let (_lock, guest) = guest_a();
    let grants = GrantDevice::open().unwrap();
    let refs = writable(&guest);
    let byte = |grant, offset| GrantedByte {
        guest: a(),
        grant,
        offset,
    };
    let mut page = vec![0; PAGE_SIZE];
    let mut word = [0; 8];
    let mut lost = [7; 4];
    let mut segments = [
        CopySegment::read(byte(refs[1], 0), &mut page).unwrap(),
        CopySegment::read(byte(GrantRef::new(400), 0), &mut lost).unwrap(),
        CopySegment::read(byte(refs[2], 4088), &mut word).unwrap(),
    ];
    assert!(segments[0].status().is_err(), "nothing was copied yet");
    grants.copy(&mut segments).unwrap();
    segments[0].status().unwrap();
    let refused = segments[1].status().unwrap_err();
    assert!(
        refused.status < 0 && !refused.to_string().is_empty(),
        "{refused}"
    );
    segments[2].status().unwrap();
    let domid = u64::from(a().get()) << 48;
    assert_eq!(page[8..16], (domid | 1 << 32 | 8).to_ne_bytes());
    assert_eq!(word, (domid | 2 << 32 | 4088).to_ne_bytes());
    assert_eq!(lost, [7; 4]);

    let pages = grants.map(a(), &refs, Access::ReadWrite).unwrap();
    let old = pages.get::<u64>(4 * PAGE_SIZE).unwrap();
    let mut segments = [CopySegment::write(byte(refs[4], 0), b"restrict").unwrap()];
    grants.copy(&mut segments).unwrap();
    segments[0].status().unwrap();
    assert_eq!(pages.get::<[u8; 8]>(4 * PAGE_SIZE).unwrap(), *b"restrict");
    let mut segments = [CopySegment::between(byte(refs[4], 0), byte(refs[5], 64), 8).unwrap()];
    grants.copy(&mut segments).unwrap();
    segments[0].status().unwrap();
    assert_eq!(
        pages.get::<[u8; 8]>(5 * PAGE_SIZE + 64).unwrap(),
        *b"restrict"
    );
    pages.set(4 * PAGE_SIZE, &old).unwrap();
    pages
        .set(5 * PAGE_SIZE + 64, &(domid | 5 << 32 | 64))
        .unwrap();

    // Read-only grants are not written.
    let read_only = refs_read_only(&guest);
    let mut segments = [CopySegment::write(byte(read_only, 0), b"no").unwrap()];
    grants.copy(&mut segments).unwrap();
    segments[0].status().unwrap_err();
}

fn refs_read_only(guest: &LabGuest) -> GrantRef {
    refs(guest, Field::FirstReadOnly, Field::ReadOnlyCount)[0]
}

#[test]
fn a_copy_beyond_the_page_is_not_even_tried() {
    let from = GrantedByte {
        guest: a(),
        grant: GrantRef::new(8),
        offset: 4000,
    };
    let mut buffer = vec![0; 97];
    let error = CopySegment::read(from, &mut buffer).unwrap_err();
    assert!(matches!(error, AccessError::OutOfRange { .. }), "{error}");
    assert!(CopySegment::read(from, &mut buffer[..96]).is_ok());
    assert!(CopySegment::between(from, from, usize::MAX).is_err());
}

#[test]
fn pages_are_granted_and_taken_back() {
    let (_lock, guest) = guest_a();
    let pages = GrantAllocator::open()
        .unwrap()
        .grant(a(), 3, Access::ReadWrite)
        .unwrap();
    assert_eq!((pages.refs().len(), pages.pages()), (3, 3));
    pages.set(2 * PAGE_SIZE, &42_u64).unwrap();
    assert_eq!(pages.get::<u64>(2 * PAGE_SIZE).unwrap(), 42);
    assert_eq!(pages.get::<u64>(0).unwrap(), 0, "zeroed");
    let events = EventChannel::open().unwrap();
    let port = events
        .bind_interdomain(a(), guest.port(Field::Port1))
        .unwrap();
    pages
        .notify_on_unmap(UnmapNotify {
            clear_byte: Some(0),
            send_event: Some(&port),
        })
        .unwrap();
}

#[test]
fn bad_numbers_of_pages_say_why() {
    let pages = GrantAllocator::open().unwrap();
    let error = pages.grant(a(), 0, Access::Read).unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
    let error = pages.grant(a(), 65_536, Access::Read).unwrap_err();
    assert!(matches!(error.cause, Cause::TooMany { .. }), "{error:#}");
    let error = pages.grant(a(), 2000, Access::Read).unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::ENOSPC), "{error:#}");
}

alone! {
    fn the_port_of_a_revoked_handle_is_not_used() {
        let guest = LabGuest::new(a());
        let mapped = GrantDevice::open().unwrap().map(a(), &writable(&guest), Access::ReadWrite);
        let granted = GrantAllocator::open().unwrap().grant(a(), 1, Access::ReadWrite);
        let (mapped, granted) = (mapped.unwrap(), granted.unwrap());
        let events = EventChannel::open().unwrap();
        let stale = events.bind_interdomain(a(), guest.port(Field::Port1)).unwrap();
        // The number is free from here on, and may become another domain's.
        events.restrict(b()).unwrap_err();
        let notify = UnmapNotify {
            clear_byte: None,
            send_event: Some(&stale),
        };
        for outcome in [mapped.notify_on_unmap(notify), granted.notify_on_unmap(notify)] {
            let error = outcome.unwrap_err();
            assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
        }
    }
}

alone! {
    fn failed_and_dropped_grants_leave_nothing() {
        let before = xen_resources();
        let guest = LabGuest::new(a());
        {
            let grants = GrantDevice::open().unwrap();
            grants.map(a(), &[GrantRef::new(400); 5], Access::Read).unwrap_err();
            // The index was given back: the first one is free again.
            for _ in 0..3 {
                drop(grants.map(a(), &writable(&guest), Access::ReadWrite).unwrap());
            }
            let pages = GrantAllocator::open().unwrap();
            // Far more than the driver's limit of 1024 pages, in all.
            for _ in 0..20 {
                drop(pages.grant(a(), 100, Access::ReadWrite).unwrap());
            }
        }
        drop(guest);
        assert_eq!(xen_resources(), before);
    }
}
