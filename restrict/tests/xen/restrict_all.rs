// SPDX-License-Identifier: MIT OR Apache-2.0
//! Promises P2 and P4 for the whole process.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use nix::errno::Errno;
use xen_restrict::{
    Access, Cause, EventChannel, GrantAllocator, GrantDevice, Held, KernelHole, PrivCmd,
    confine::xen_requests::{Phase, enforce},
    restrict_all,
};
use xen_sys::evtchn;

use crate::support::{STATUS, a, alone, b, behind, fail_ioctl, may_bind, may_dm_op, number, open};

alone! {
    fn every_handle_is_restricted_or_revoked() {
        let privcmd = [PrivCmd::open().unwrap(), PrivCmd::open().unwrap()];
        let events = EventChannel::open().unwrap();
        let grants = GrantDevice::open().unwrap();
        let pages = GrantAllocator::open().unwrap();
        let early = PrivCmd::open().unwrap().restrict(a()).unwrap();
        restrict_all(a()).unwrap();
        for handle in &privcmd {
            assert_eq!(may_dm_op(handle, b().get()), Err(Errno::EPERM));
            assert_eq!(may_dm_op(handle, a().get()), Ok(0));
        }
        assert_eq!(may_bind(&events, b().get()), Errno::EACCES);
        assert_eq!(behind(number(&grants)), "/dev/null");
        let error = pages.grant(a(), 1, Access::Read).unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
        early.guest().map(&[STATUS], Access::Read).unwrap();
        // The type follows what the kernel did.
        let [first, _] = privcmd;
        first.restrict(a()).unwrap().guest().map(&[STATUS], Access::Read).unwrap();
        assert_eq!(events.restrict(a()).unwrap().restricted_to(), a());
        grants.restrict(a()).unwrap();
        // Saying it again proves it again, and what is open; another guest is refused.
        let mut holes = restrict_all(a()).unwrap();
        assert!(holes.contains(&KernelHole::MmapResource), "{holes:?}");
        let count = holes.len();
        holes.dedup();
        assert_eq!(holes.len(), count);
        enforce(Phase::Sealed).unwrap();
        let left = restrict_all(a()).unwrap();
        assert!(!left.iter().any(|hole| hole.is_refused_by_filter()), "{left:?}");
        let error = restrict_all(b()).unwrap_err();
        assert!(matches!(error.cause, Cause::RestrictedElsewhere { to: Some(to) } if to == a()));
        early.guest().map(&[STATUS], Access::Read).unwrap();
    }
}

alone! {
    fn nothing_is_opened_afterwards_from_any_thread() {
        let duplicate = {
            let kept = PrivCmd::open().unwrap();
            kept.as_fd().try_clone_to_owned().unwrap()
        };
        let own = PrivCmd::open().unwrap();
        restrict_all(a()).unwrap();
        let causes = || [
            PrivCmd::open().unwrap_err().cause,
            EventChannel::open().unwrap_err().cause,
            GrantDevice::open().unwrap_err().cause,
            GrantAllocator::open().unwrap_err().cause,
        ];
        let elsewhere = thread::spawn(causes).join().unwrap();
        for cause in elsewhere.into_iter().chain(causes()) {
            assert!(matches!(cause, Cause::Latched { to } if to == a()), "{cause}");
        }
        // A descriptor that the caller duplicated out and closed our side of is
        // the caller's: it is still unrestricted, and not adopted.
        assert_eq!(may_dm_op(&duplicate, b().get()), Ok(0));
        PrivCmd::from_fd(duplicate, a()).unwrap_err();
        // One that is restricted to the same guest is welcome.
        let restricted = own.as_fd().try_clone_to_owned().unwrap();
        PrivCmd::from_fd(restricted, a()).unwrap();
    }
}

alone! {
    fn one_failure_takes_all_down() {
        let privcmd = PrivCmd::open().unwrap();
        let events = EventChannel::open().unwrap();
        let grants = GrantDevice::open().unwrap();
        let late = PrivCmd::open().unwrap();
        fail_ioctl(evtchn::RESTRICT_DOMID.number(), libc::EIO);
        let error = restrict_all(a()).unwrap_err();
        assert_eq!(error.cause.raw_os_error(), Some(libc::EIO), "{error:#}");
        assert_eq!(behind(number(&events)), "/dev/null");
        assert_eq!(behind(number(&grants)), "/dev/null");
        // Restricted or revoked, but not what they were.
        for handle in [&privcmd, &late] {
            assert_ne!(may_dm_op(handle, b().get()), Ok(0));
        }
        let error = PrivCmd::open().unwrap_err();
        assert!(matches!(error.cause, Cause::Latched { .. }), "{error:#}");
    }
}

alone! {
    fn a_leftover_of_one_handle_takes_all_down() {
        let events = EventChannel::open().unwrap();
        let port = events.bind_unbound_port(b()).unwrap();
        let privcmd = PrivCmd::open().unwrap();
        // The handle is dropped; its mapping still counts.
        let foreign = privcmd.guest(b()).map(&[STATUS], Access::Read).unwrap();
        let descriptor = number(&privcmd);
        drop(privcmd);
        drop(port);
        let error = restrict_all(a()).unwrap_err();
        // Saying it again does not make it true.
        restrict_all(a()).unwrap_err();
        let Cause::Leftovers(leftovers) = &error.cause else { panic!("{error:#}") };
        assert_eq!(leftovers[0].what, Held::Memory(1));
        assert_eq!(behind(descriptor), "/dev/null");
        assert_ne!(may_bind(&events, b().get()), Errno::EINVAL);
        drop(foreign);
        restrict_all(a()).unwrap();
    }
}

alone! {
    fn waiting_ends_with_a_revocation() {
        let events = EventChannel::open().unwrap();
        let waiting = events.clone();
        let waiter = thread::spawn(move || waiting.wait(Duration::from_secs(60)));
        thread::sleep(Duration::from_millis(100));
        fail_ioctl(evtchn::RESTRICT_DOMID.number(), libc::EIO);
        restrict_all(a()).unwrap_err();
        let error = waiter.join().unwrap().unwrap_err();
        assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
    }
}

#[cfg(feature = "tokio")]
alone! {
    fn awaiting_ends_with_a_revocation() {
        let events = EventChannel::open().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        runtime.block_on(async {
            let events = xen_restrict::AsyncEventChannel::new(events).unwrap();
            let mut queue = [xen_restrict::Port::new(0); 4];
            let restriction = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                fail_ioctl(evtchn::RESTRICT_DOMID.number(), libc::EIO);
                restrict_all(a()).unwrap_err();
            };
            let (pending, ()) = tokio::join!(events.pending(&mut queue), restriction);
            let error = pending.unwrap_err();
            assert!(matches!(error.cause, Cause::Revoked), "{error:#}");
        });
    }
}

alone! {
    fn threads_that_open_clone_and_drop_do_not_slip_through() {
        let stop = AtomicBool::new(false);
        let opened = AtomicUsize::new(0);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..6)
                .map(|worker| {
                    let (stop, opened) = (&stop, &opened);
                    scope.spawn(move || churn(worker, stop, opened))
                })
                .collect();
            // They do run before.
            while opened.load(Ordering::SeqCst) <= 50 {
                thread::sleep(Duration::from_millis(50));
            }
            let restricted = restrict_all(a());
            let after = restricted.is_ok().then(unrestricted_descriptors);
            thread::sleep(Duration::from_millis(50));
            stop.store(true, Ordering::SeqCst);
            // What they kept is checked while they keep it.
            let kept: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
            restricted.unwrap();
            assert_eq!(after, Some(Vec::new()));
            assert_eq!(unrestricted_descriptors(), Vec::<String>::new());
            drop(kept);
        });
    }
}

/// Opens, clones and drops until latched; keeps the last few.
fn churn(worker: usize, stop: &AtomicBool, opened: &AtomicUsize) -> Vec<Box<dyn Send>> {
    let mut kept: Vec<Box<dyn Send>> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let handle: Result<Box<dyn Send>, _> = match worker % 3 {
            0 => PrivCmd::open().map(|h| Box::new((h.clone(), h)) as Box<dyn Send>),
            1 => EventChannel::open().map(|h| Box::new(h.clone()) as Box<dyn Send>),
            _ => GrantDevice::open().map(|h| Box::new(h) as Box<dyn Send>),
        };
        match handle {
            Ok(handle) => {
                opened.fetch_add(1, Ordering::SeqCst);
                kept.push(handle);
                if kept.len() > 4 {
                    kept.swap_remove(0);
                }
            }
            Err(error) => {
                assert!(matches!(error.cause, Cause::Latched { .. }), "{error:#}");
                // Dropping goes on after the restriction.
                kept.pop();
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    kept
}

/// Every descriptor of this process that could affect guest B.
fn unrestricted_descriptors() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let path = entry.unwrap().path();
        let Ok(link) = fs::read_link(&path) else {
            continue;
        };
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // SAFETY: only borrowed for one ioctl; a number that was closed or
        // reused meanwhile gives an error or the truth about its successor.
        let fd: BorrowedFd<'_> = unsafe { BorrowedFd::borrow_raw(number) };
        let open = match link.to_str() {
            Some("/dev/xen/privcmd") => may_dm_op(&fd, b().get()) == Ok(0),
            Some("/dev/xen/evtchn") => may_bind(&fd, b().get()) == Errno::EINVAL,
            Some(path) => path.contains("xen/gnt"),
            None => false,
        };
        if open {
            found.push(format!("{number}: {}", link.display()));
        }
    }
    found
}

/// The checker above does find what it looks for.
#[test]
fn an_unrestricted_descriptor_is_seen() {
    let fd: OwnedFd = open("/dev/xen/gntdev");
    let found = unrestricted_descriptors();
    assert!(
        found.contains(&format!("{}: /dev/xen/gntdev", number(&fd))),
        "{found:?}"
    );
}
