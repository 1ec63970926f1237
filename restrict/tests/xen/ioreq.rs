// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device model's work, done with restricted handles.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use xen_restrict::{
    Cause, EventChannel, IoKind, IoRange, IoRequest, IoreqServer, IoreqServerId, Port, PrivCmd,
    Restricted, VcpuRequests,
};

use crate::support::{Field, LabGuest, Order, a, eventually, guest_a};

const PORTS: IoRange = IoRange::Ports(0x500..=0x503);
const MMIO: u64 = 0xf000_0000;
const SECOND: Duration = Duration::from_secs(1);

fn server(range: &IoRange) -> (EventChannel<Restricted>, IoreqServer, VcpuRequests) {
    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let server = privcmd.guest().create_ioreq_server(false).unwrap();
    server.map_range(range).unwrap();
    let requests = server.start(&events, 1).unwrap();
    (events, server, requests)
}

/// One round of answering; how many requests.
fn serve(
    requests: &mut VcpuRequests,
    events: &EventChannel<Restricted>,
    answer: impl FnMut(&IoRequest) -> u64,
) -> usize {
    let mut queue = [Port::new(0); 4];
    let served = requests.serve(events, SECOND, &mut queue, answer).unwrap();
    assert_eq!(served.others, []);
    served.answered
}

/// A device that reads back the complement of what was written last.
fn complement(last: &mut u32) -> impl FnMut(&IoRequest) -> u64 {
    |request| {
        if !request.read {
            *last = u32::try_from(request.data & 0xffff_ffff).unwrap();
        }
        u64::from(!*last)
    }
}

/// So many writes and reads of the guest's are answered, as such a device does.
fn serves(
    guest: &LabGuest,
    times: u64,
    events: &EventChannel<Restricted>,
    requests: &mut VcpuRequests,
) {
    let running = guest.order(Order::Ports, times);
    let mut last = 0;
    eventually("all that the guest asks is answered", || {
        serve(requests, events, complement(&mut last));
        running.is_done()
    });
    assert_eq!(running.errors(), 0);
}

#[test]
fn port_requests_are_answered() {
    let (_lock, guest) = guest_a();
    let (events, server, mut requests) = server(&PORTS);
    let running = guest.order(Order::Ports, 500);
    let (mut last, mut answered) = (0, 0);
    eventually("500 writes and 500 reads", || {
        answered += serve(&mut requests, &events, complement(&mut last));
        running.is_done()
    });
    assert_eq!((answered, running.errors()), (1000, 0));
    drop(running);
    server.close().unwrap();
}

#[test]
fn sizes_and_addresses_arrive_as_the_guest_used_them() {
    let (_lock, guest) = guest_a();
    let (events, _server, mut requests) = server(&PORTS);
    let running = guest.order(Order::PortSizes, 3);
    let mut seen = BTreeMap::new();
    eventually("accesses of three sizes", || {
        serve(&mut requests, &events, |request| {
            assert_eq!(request.kind, IoKind::Port);
            assert!((0x500..=0x503).contains(&request.address), "{request:?}");
            assert_eq!((request.vcpu, request.count), (0, 1));
            assert!(!request.data_is_pointer);
            *seen.entry((request.size, request.read)).or_insert(0) += 1;
            0
        });
        running.is_done()
    });
    let kinds: Vec<_> = seen.keys().copied().collect();
    let all = [1, 2, 4].map(|size| [(size, false), (size, true)]);
    assert_eq!(kinds, all.concat());
}

#[test]
fn memory_requests_are_answered() {
    let (_lock, guest) = guest_a();
    let (events, _server, mut requests) = server(&IoRange::Memory(MMIO..=MMIO + 0xfff));
    let running = guest.order(Order::Memory, 50);
    let mut last = 0;
    eventually("50 writes and reads", || {
        serve(&mut requests, &events, |request| {
            assert_eq!((request.kind, request.address), (IoKind::Memory, MMIO));
            complement(&mut last)(request)
        });
        running.is_done()
    });
    assert_eq!(running.errors(), 0);
}

#[test]
fn a_dropped_server_is_gone() {
    let (_lock, guest) = guest_a();
    drop(server(&PORTS));
    // Nobody answers: Xen does, with all ones, and the guest is not stuck.
    let running = guest.order(Order::Ports, 10);
    eventually("10 answers by Xen", || running.is_done());
    assert!(running.errors() >= 9, "{}", running.errors());
}

/// Xen forgets a server that a vcpu waits for, and does not wake it.
#[test]
fn who_waits_for_a_server_that_is_dropped_goes_on() {
    let (_lock, guest) = guest_a();
    for requests_first in [false, true] {
        let (events, server, requests) = server(&PORTS);
        let running = guest.order(Order::Ports, 10);
        assert!(events.wait(SECOND).unwrap(), "the guest asks");
        match requests_first {
            true => drop((requests, events, server)),
            false => drop((server, events, requests)),
        }
        eventually("10 answers by Xen", || running.is_done());
    }
}

#[test]
fn a_forked_child_does_not_end_its_parents_server() {
    let (_lock, guest) = guest_a();
    let (events, server, mut requests) = server(&PORTS);
    // SAFETY: the child drops, and ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(server);
        // SAFETY: without what the parent's threads would have done at its end.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: its own child, and a place for its end.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7);
    serves(&guest, 5, &events, &mut requests);
}

#[test]
fn a_server_that_was_left_behind_is_taken_over_with_its_request() {
    let (_lock, guest) = guest_a();
    let (events, left, requests) = server(&PORTS);
    let running = guest.order(Order::Ports, 100);
    assert!(events.wait(SECOND).unwrap(), "the guest asks");
    // As Xen leaves it when the process ends: the file is closed, and nothing is tidied up.
    let id = left.id();
    // SAFETY: all that has this descriptor is forgotten here.
    assert_eq!(unsafe { libc::close(events.as_fd().as_raw_fd()) }, 0);
    std::mem::forget((left, requests, events));

    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let again = privcmd.guest().take_over_ioreq_server(id, &events, 1);
    let (server, mut requests) = again.unwrap();
    let (mut last, mut answered) = (0, 0);
    eventually("the first request and all others", || {
        answered += serve(&mut requests, &events, complement(&mut last));
        running.is_done()
    });
    assert_eq!((answered, running.errors()), (200, 0));
    drop(running);
    server.close().unwrap();
}

#[test]
fn a_server_that_is_served_is_not_taken_over() {
    let (_lock, guest) = guest_a();
    let (events, server, mut requests) = server(&PORTS);
    let other = EventChannel::open().unwrap().restrict(a()).unwrap();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    for (id, errno) in [
        (server.id(), libc::EINVAL),
        (IoreqServerId::new(7), libc::ENOENT),
        (IoreqServerId::new(u16::MAX), libc::ENOENT),
    ] {
        let refused = privcmd.guest().take_over_ioreq_server(id, &other, 1);
        let cause = refused.unwrap_err().cause;
        assert_eq!(cause.raw_os_error(), Some(errno), "{id}: {cause}");
    }
    serves(&guest, 10, &events, &mut requests);
}

#[test]
fn a_disabled_server_gets_nothing() {
    let (_lock, guest) = guest_a();
    let (events, server, mut requests) = server(&PORTS);
    // Binding left one event pending; it is no request.
    assert_eq!(serve(&mut requests, &events, |_| unreachable!()), 0);
    server.set_enabled(false).unwrap();
    let running = guest.order(Order::Ports, 10);
    eventually("10 answers by Xen", || running.is_done());
    events.set_nonblocking(true).unwrap();
    assert!(!events.wait(Duration::from_millis(50)).unwrap());
}

/// Xen looks for a request's slot in a page of the server's, there or not: it would die
/// here (`docs/campaign.md`).
#[test]
fn a_server_without_pages_is_not_enabled() {
    let (_lock, guest) = guest_a();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let server = privcmd.guest().create_ioreq_server(false).unwrap();
    server.map_range(&PORTS).unwrap();
    server.set_enabled(false).unwrap();
    let error = server.set_enabled(true).unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
    let running = guest.order(Order::Ports, 10);
    eventually("10 answers by Xen", || running.is_done());
}

#[test]
fn events_of_others_are_handed_on() {
    let (_lock, guest) = guest_a();
    let (events, _server, mut requests) = server(&PORTS);
    let other = events.bind_interdomain(guest.port(Field::Port1)).unwrap();
    let mut queue = [Port::new(0); 4];
    let served = requests
        .serve(&events, SECOND, &mut queue, |_| unreachable!())
        .unwrap();
    assert_eq!((served.answered, served.others), (0, &[other.port()][..]));
    // It is still masked; ours is not.
    other.notify().unwrap();
    serves(&guest, 3, &events, &mut requests);
    let own: Vec<_> = requests.ports().collect();
    assert_eq!(own.len(), 1);
    assert_ne!(own[0], other.port());
}

#[test]
fn starting_twice_fails_and_the_first_goes_on() {
    let (_lock, guest) = guest_a();
    let (events, server, mut requests) = server(&PORTS);
    let error = server.start(&events, 1).unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
    serves(&guest, 5, &events, &mut requests);
}

#[test]
fn ranges_are_claimed_once_and_given_back() {
    let (_lock, _guest) = guest_a();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let server = privcmd.guest().create_ioreq_server(true).unwrap();
    let pci = IoRange::Pci {
        segment: 0,
        bus: 0,
        device: 31,
        function: 7,
    };
    for range in [&PORTS, &IoRange::Memory(MMIO..=MMIO), &pci] {
        server.map_range(range).unwrap();
        let error = server.map_range(range).unwrap_err();
        assert_eq!(error.cause.raw_os_error(), Some(libc::EEXIST), "{error:#}");
        server.unmap_range(range).unwrap();
        let error = server.unmap_range(range).unwrap_err();
        assert_eq!(error.cause.raw_os_error(), Some(libc::ENOENT), "{error:#}");
    }
    let bad = IoRange::Pci {
        segment: 0,
        bus: 0,
        device: 32,
        function: 0,
    };
    let error = server.map_range(&bad).unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
}

#[test]
fn the_queue_of_buffered_requests_is_mapped_and_empty() {
    let (_lock, _guest) = guest_a();
    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let server = privcmd.guest().create_ioreq_server(true).unwrap();
    let mut queue = server.buffered_requests(&events).unwrap();
    assert_eq!(queue.drain(|request| panic!("{request:?}")).unwrap(), 0);
    assert_ne!(queue.port().get(), 0);
    let plain = privcmd.guest().create_ioreq_server(false).unwrap();
    let error = plain.buffered_requests(&events).unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid { .. }), "{error:#}");
}

#[test]
fn vcpus_that_are_not_there_are_refused() {
    let (_lock, _guest) = guest_a();
    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let privcmd = PrivCmd::open().unwrap().restrict(a()).unwrap();
    let server = privcmd.guest().create_ioreq_server(false).unwrap();
    for vcpus in [0, 129, u32::MAX] {
        let error = server.start(&events, vcpus).unwrap_err();
        assert!(matches!(error.cause, Cause::TooMany { .. }), "{error:#}");
    }
    let error = server.start(&events, 2).unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
}

#[test]
fn the_ninth_server_is_refused_and_the_eight_go() {
    let (_lock, _guest) = guest_a();
    let guest = PrivCmd::open().unwrap().restrict(a()).unwrap().guest();
    let servers: Result<Vec<_>, _> = (0..9).map(|_| guest.create_ioreq_server(false)).collect();
    let error = servers.unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::ENOSPC), "{error:#}");
    guest.create_ioreq_server(false).unwrap();
}

#[test]
fn iterations_are_counted_by_the_guest() {
    let (_lock, guest) = guest_a();
    let before = guest.get(Field::Iterations);
    let running = guest.order(Order::Ports, 7);
    eventually("7 iterations", || running.is_done());
    assert_eq!(guest.get(Field::Iterations), before + 7);
}
