// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ports and their events.

use std::{os::fd::AsFd, thread, time::Duration};

use nix::errno::Errno;
use xen_restrict::{BoundPort, Cause, EventChannel, Port, Restricted};

use crate::support::{
    Field, LabGuest, a, alone, behind, eventually, fail, guest_a, nobody, number, xen_resources,
};

const SECOND: Duration = Duration::from_secs(1);

/// A handle restricted to A, with one of A's ports, its first event taken.
fn connected(guest: &LabGuest, field: Field) -> (EventChannel<Restricted>, BoundPort) {
    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let port = events.bind_interdomain(guest.port(field)).unwrap();
    let mut queue = [Port::new(0); 8];
    // A port bound to another domain comes with one event pending.
    assert_eq!(events.pending(&mut queue).unwrap(), [port.port()]);
    events.unmask(&[port.port()]).unwrap();
    (events, port)
}

#[test]
fn the_guest_hears_and_answers() {
    let (_lock, guest) = guest_a();
    let (events, port) = connected(&guest, Field::Port0);
    for _ in 0..3 {
        let before = guest.get(Field::Events);
        port.notify().unwrap();
        assert!(events.wait(20 * SECOND).unwrap());
        let mut queue = [Port::new(0); 8];
        assert_eq!(events.pending(&mut queue).unwrap(), [port.port()]);
        events.unmask(&[port.port()]).unwrap();
        assert_eq!(guest.get(Field::Events), before + 1);
    }
    port.close().unwrap();
}

#[test]
fn a_masked_port_is_silent_until_unmasked() {
    let (_lock, guest) = guest_a();
    let (events, port) = connected(&guest, Field::Port0);
    events.set_nonblocking(true).unwrap();
    let mut queue = [Port::new(0); 8];
    port.notify().unwrap();
    assert!(events.wait(20 * SECOND).unwrap());
    assert_eq!(events.pending(&mut queue).unwrap().len(), 1);
    let before = guest.get(Field::Events);
    port.notify().unwrap();
    eventually("the guest's second answer", || {
        guest.get(Field::Events) > before
    });
    thread::sleep(Duration::from_millis(20));
    assert_eq!(events.pending(&mut queue).unwrap(), []);
    events.unmask(&[port.port()]).unwrap();
    assert!(events.wait(20 * SECOND).unwrap());
    assert_eq!(events.pending(&mut queue).unwrap(), [port.port()]);
}

#[test]
fn ports_come_in_batches_and_only_as_many_as_asked_for() {
    let events = EventChannel::open().unwrap();
    let (_lock, guest) = guest_a();
    let remote = [Field::Port1, Field::Port2].map(|field| guest.port(field));
    let events = events.restrict(a()).unwrap();
    let bound = remote.map(|port| events.bind_interdomain(port).unwrap());
    events.set_nonblocking(true).unwrap();
    let mut one = [Port::new(0); 1];
    assert_eq!(events.pending(&mut []).unwrap(), []);
    let first = events.pending(&mut one).unwrap()[0];
    let second = events.pending(&mut one).unwrap()[0];
    assert_eq!([first, second], [bound[0].port(), bound[1].port()]);
    assert_eq!(events.pending(&mut one).unwrap(), []);
    // One call for both; a port that is not bound here is skipped.
    events.unmask(&[first, Port::new(9999), second]).unwrap();
    assert!(!events.wait(Duration::ZERO).unwrap());
}

#[test]
fn reading_blocks_unless_told_otherwise() {
    let (_lock, guest) = guest_a();
    let (events, port) = connected(&guest, Field::Port0);
    let reader = events.clone();
    let thread = thread::spawn(move || reader.pending(&mut [Port::new(0); 4]).unwrap().to_vec());
    thread::sleep(Duration::from_millis(50));
    assert!(!thread.is_finished());
    port.notify().unwrap();
    assert_eq!(thread.join().unwrap(), [port.port()]);
    events.set_nonblocking(true).unwrap();
    assert_eq!(events.pending(&mut [Port::new(0); 4]).unwrap(), []);
}

#[test]
fn waiting_ends() {
    let events = EventChannel::open().unwrap();
    let start = std::time::Instant::now();
    assert!(!events.wait(Duration::from_millis(30)).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[cfg(feature = "tokio")]
#[test]
fn tokio_awaits_the_guest() {
    let (_lock, guest) = guest_a();
    let (events, port) = connected(&guest, Field::Port0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let events = xen_restrict::AsyncEventChannel::new(events).unwrap();
        let mut queue = [Port::new(0); 8];
        let short = Duration::from_millis(50);
        tokio::time::timeout(short, events.pending(&mut queue))
            .await
            .unwrap_err();
        for _ in 0..3 {
            port.notify().unwrap();
            let pending = tokio::time::timeout(20 * SECOND, events.pending(&mut queue));
            let pending = pending.await.expect("an event within 20 s").unwrap();
            assert_eq!(pending, [port.port()]);
            events.get_ref().unmask(pending).unwrap();
        }
    });
}

#[test]
fn a_port_is_bound_once_and_free_again_when_dropped() {
    let (_lock, guest) = guest_a();
    let (events, port) = connected(&guest, Field::Port3);
    let error = events
        .bind_interdomain(guest.port(Field::Port3))
        .unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
    drop(port);
    // Xen takes the remote end back to unbound.
    let again = events.bind_interdomain(guest.port(Field::Port3)).unwrap();
    again.notify().unwrap();
}

#[test]
fn bad_ports_and_domains_say_why() {
    let events = EventChannel::open().unwrap();
    let error = events.bind_interdomain(nobody(), Port::new(1)).unwrap_err();
    assert!(matches!(error.cause, Cause::NoSuchDomain), "{error:#}");
    let error = events
        .bind_interdomain(a(), Port::new(u32::MAX))
        .unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
    let error = events.bind_virq(1000).unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
    assert!(error.guest.is_none());
}

alone! {
    fn an_overflow_is_told() {
        let events = EventChannel::open().unwrap();
        events.reset().unwrap();
        let reader = events.clone();
        thread::spawn(move || {
            fail(libc::SYS_read, None, libc::EFBIG);
            let error = reader.pending(&mut [Port::new(0)]).unwrap_err();
            assert!(matches!(error.cause, Cause::RingOverflow), "{error:#}");
        })
        .join()
        .unwrap();
        events.reset().unwrap();
        assert!(!events.wait(Duration::ZERO).unwrap());
    }
}

alone! {
    fn half_a_port_is_no_port() {
        let events = EventChannel::open().unwrap();
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut writer, &[1, 2, 3, 4, 5, 6]).unwrap();
        // Somebody puts another file over the number.
        // SAFETY: dup2 onto a number that `events` owns and keeps.
        Errno::result(unsafe { libc::dup2(number(&reader), number(&events)) }).unwrap();
        let error = events.pending(&mut [Port::new(0); 4]).unwrap_err();
        assert!(matches!(error.cause, Cause::ShortRead(6)), "{error:#}");
    }
}

alone! {
    fn dropped_ports_and_handles_leave_nothing() {
        let before = xen_resources();
        let guest = LabGuest::new(a());
        let events = EventChannel::open().unwrap();
        let descriptor = number(&events);
        let port = events.bind_unbound_port(a()).unwrap();
        let first = port.port();
        drop(port);
        // Xen gives the lowest free port: it was given back.
        let port = events.bind_unbound_port(a()).unwrap();
        assert_eq!(port.port(), first);
        let _ = events.as_fd();
        drop(events);
        assert_eq!(behind(descriptor), "/dev/xen/evtchn", "the port keeps it");
        drop((port, guest));
        assert_eq!(xen_resources(), before);
    }
}
