// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a backend does.

use std::{thread, time::Duration};

use xen_restrict::{
    Access, AccessError, BoundPort, Cause, EventChannel, GrantDevice, GrantOffset, GrantRef,
    GuestCopy, Handover, MappedGrants, PAGE_SIZE, Port, Restricted, UnmapNotify,
};

/// What it writes into each page, at this offset.
const MARK: u64 = 0x6d61_726b_6d61_726b;
const MARK_AT: usize = 8;
/// The byte that is cleared, and what it was.
const BYTE_AT: usize = 100;

struct Given {
    grants: GrantDevice<Restricted>,
    events: EventChannel<Restricted>,
}

fn given() -> Given {
    // SAFETY: first thing in this program, and only here.
    let handover = unsafe { Handover::receive() }.expect("handles");
    Given {
        grants: handover.grants.expect("a broker"),
        events: handover.events.expect("event channels"),
    }
}

fn refs(first: u32, count: u32) -> Vec<GrantRef> {
    (first..first + count).map(GrantRef::new).collect()
}

fn at(page: u32, offset: usize) -> usize {
    page as usize * PAGE_SIZE + offset
}

/// FIRST COUNT BASE: what page i of the guest holds at offset o is
/// `domid << 48 | (BASE + i) << 32 | o`.
pub(crate) fn map(numbers: &[u32]) {
    let &[first, all, base] = numbers else {
        panic!("FIRST COUNT BASE");
    };
    let grants = given().grants;
    let domid = u64::from(grants.guest().get());
    for count in [1, 16, all] {
        let pages = grants
            .map(&refs(first, count), Access::ReadWrite)
            .expect("map");
        assert_eq!(pages.pages(), count as usize);
        for page in 0..count {
            let expected = domid << 48 | u64::from(base + page) << 32 | 16;
            assert_eq!(pages.get::<u64>(at(page, 16)), Ok(expected), "page {page}");
            pages.set(at(page, MARK_AT), &MARK).expect("write");
        }
        let again = grants
            .map(&refs(first, count), Access::Read)
            .expect("the same grants twice");
        for page in 0..count {
            assert_eq!(again.get::<u64>(at(page, MARK_AT)), Ok(MARK));
        }
    }
}

/// FIRST COUNT
pub(crate) fn read_only(numbers: &[u32]) {
    let &[first, count] = numbers else {
        panic!("FIRST COUNT");
    };
    let grants = given().grants;
    let pages = grants.map(&refs(first, count), Access::Read).expect("map");
    assert_eq!(pages.set(0, &0_u8), Err(AccessError::ReadOnly));
    let error = grants
        .map(&refs(first, count), Access::ReadWrite)
        .expect_err("the guest granted it for reading");
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
    let place = GrantOffset {
        grant: GrantRef::new(first),
        offset: 0,
    };
    let mut copies = [GuestCopy::write(place, &[1, 2, 3]).expect("it fits")];
    grants.copy(&mut copies).expect("asked");
    copies[0].status().expect_err("not for writing");
}

/// REF...: grants that are not there.
pub(crate) fn refused(numbers: &[u32]) {
    let Given { grants, .. } = given();
    for number in numbers {
        let refs = [GrantRef::new(*number)];
        let error = grants.map(&refs, Access::Read).expect_err("no such grant");
        assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
        let mut byte = [7];
        let place = GrantOffset {
            grant: refs[0],
            offset: 0,
        };
        let mut copies = [GuestCopy::read(place, &mut byte).expect("it fits")];
        grants.copy(&mut copies).expect("asked");
        copies[0].status().expect_err("no such grant");
        assert_eq!(byte, [7]);
    }
    let error = grants.map(&[], Access::Read).expect_err("nothing");
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
    let many = vec![GrantRef::new(1); 5000];
    let error = grants.map(&many, Access::Read).expect_err("too many");
    assert!(matches!(error.cause, Cause::TooMany { .. }), "{error:#}");
    let many = vec![GrantRef::new(1); 4096];
    let quota = grants.quota();
    if quota < 4096 {
        let error = grants.map(&many, Access::Read).expect_err("over quota");
        assert!(matches!(error.cause, Cause::Quota { .. }), "{error:#}");
    }
}

/// FIRST COUNT: through the pages, by copies there and back.
pub(crate) fn copy(numbers: &[u32]) {
    let &[first, count] = numbers else {
        panic!("FIRST COUNT");
    };
    let grants = given().grants;
    let place = |page: usize| GrantOffset {
        grant: GrantRef::new(first + u32::try_from(page).expect("few")),
        offset: 0,
    };
    let pages = count as usize;
    let mut kept = vec![0_u8; pages * PAGE_SIZE];
    read(&grants, &mut kept, place);
    let written: Vec<u8> = (0..=250_u8).cycle().take(kept.len()).collect();
    write(&grants, &written, place);
    let mapped = grants.map(&refs(first, count), Access::Read).expect("map");
    let mut seen = vec![0_u8; kept.len()];
    mapped.read(0, &mut seen).expect("read");
    assert!(seen == written, "the mapping shows what was copied");
    let mut back = vec![0_u8; kept.len()];
    read(&grants, &mut back, place);
    assert!(back == written, "a copy reads what was copied");
    let mut between = [GuestCopy::between(place(0), place(1), 64).expect("it fits")];
    grants.copy(&mut between).expect("asked");
    between[0].status().expect("copied");
    assert_eq!(mapped.get::<u64>(PAGE_SIZE), mapped.get::<u64>(0));
    write(&grants, &kept, place);
}

fn read(grants: &GrantDevice<Restricted>, into: &mut [u8], place: impl Fn(usize) -> GrantOffset) {
    let chunks = into.chunks_mut(PAGE_SIZE).enumerate();
    let mut copies: Vec<_> = chunks
        .map(|(page, chunk)| GuestCopy::read(place(page), chunk).expect("it fits"))
        .collect();
    grants.copy(&mut copies).expect("asked");
    copies
        .iter()
        .for_each(|copy| copy.status().expect("copied"));
}

fn write(grants: &GrantDevice<Restricted>, from: &[u8], place: impl Fn(usize) -> GrantOffset) {
    let chunks = from.chunks(PAGE_SIZE).enumerate();
    let mut copies: Vec<_> = chunks
        .map(|(page, chunk)| GuestCopy::write(place(page), chunk).expect("it fits"))
        .collect();
    grants.copy(&mut copies).expect("asked");
    copies
        .iter()
        .for_each(|copy| copy.status().expect("copied"));
}

/// FIRST PORT
fn notified(given: &Given, numbers: &[u32]) -> (MappedGrants, BoundPort) {
    let &[first, port] = numbers else {
        panic!("FIRST PORT");
    };
    let port = given
        .events
        .bind_interdomain(Port::new(port))
        .expect("bind");
    let pages = given
        .grants
        .map(&refs(first, 2), Access::ReadWrite)
        .expect("map");
    pages.set(BYTE_AT, &0x55_u8).expect("write");
    let notify = UnmapNotify {
        clear_byte: Some(BYTE_AT),
        send_event: Some(&port),
    };
    pages.notify_on_unmap(notify).expect("notify");
    assert_eq!(pages.get::<u8>(BYTE_AT), Ok(0x55));
    (pages, port)
}

/// Who looks from outside has time to, before anything is unmapped.
fn set() {
    println!("set");
    thread::sleep(Duration::from_millis(700));
}

pub(crate) fn notify(numbers: &[u32]) {
    let given = given();
    let (pages, port) = notified(&given, numbers);
    thread::sleep(Duration::from_millis(200));
    set();
    drop(pages);
    // It is sent all the same.
    drop(port);
}

/// As both, and the pages stay: until it is ended.
pub(crate) fn notify_and_hold(numbers: &[u32]) {
    let given = given();
    let _notified = notified(&given, numbers);
    thread::sleep(Duration::from_millis(200));
    set();
    thread::sleep(Duration::from_secs(1000));
}

pub(crate) fn notify_and_die(numbers: &[u32]) {
    let given = given();
    let _notified = notified(&given, numbers);
    thread::sleep(Duration::from_millis(200));
    set();
    std::process::abort();
}

/// FIRST COUNT TIMES
pub(crate) fn cycles(numbers: &[u32]) {
    let &[first, count, times] = numbers else {
        panic!("FIRST COUNT TIMES");
    };
    let grants = given().grants;
    let refs = refs(first, count);
    let maps = || std::fs::read_to_string("/proc/self/maps").expect("--proc");
    let files = || std::fs::read_dir("/proc/self/fd").expect("--proc").count();
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").expect("--proc");
        let pages = statm.split(' ').nth(1).and_then(|word| word.parse().ok());
        pages.unwrap_or(0_usize)
    };
    let once = || drop(grants.map(&refs, Access::ReadWrite).expect("map"));
    once();
    let tell = |what| {
        // For who looks at the broker meanwhile.
        thread::sleep(Duration::from_millis(300));
        println!("{what}");
        thread::sleep(Duration::from_millis(700));
    };
    tell("warm");
    let before = (maps().lines().count(), files());
    let memory = resident();
    for done in 0..times {
        if done % 1000 == 0 {
            // For who takes a silent machine for one that hangs.
            eprintln!("{done} of {times} cycles");
        }
        once();
    }
    tell("cycled");
    assert_eq!((maps().lines().count(), files()), before);
    assert!(resident() < memory + 64, "{memory} pages before");
}

/// FIRST COUNT: until it is ended.
pub(crate) fn hold(numbers: &[u32]) {
    let &[first, count] = numbers else {
        panic!("FIRST COUNT");
    };
    let grants = given().grants;
    let pages = grants
        .map(&refs(first, count), Access::ReadWrite)
        .expect("map");
    println!("holds {}", pages.pages());
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}
