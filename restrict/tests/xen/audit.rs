// SPDX-License-Identifier: MIT OR Apache-2.0
//! Audits of processes that hold real handles.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::json;
use xen_restrict::{
    Access, EventChannel, GrantDevice, GuestId, PrivCmd,
    audit::{Expectation, HandleFinding, HandleState, Report, Verdict, audit},
    confine::{
        Mechanism, Profile,
        xen_requests::{self, Phase},
    },
};
use xen_sys::privcmd;

use crate::support::{STATUS, a, alone, b, may_bind, may_dm_op, nobody, open, raw};

/// The number of the first descriptor that a holder has beside its standard ones.
const FIRST: i32 = 10;
const ROLE: &str = "XEN_TEST_AUDITED";

/// A process that holds descriptors, from [`FIRST`] on.
struct Holder {
    child: Child,
}

impl Holder {
    fn of(fds: &[BorrowedFd<'_>]) -> Self {
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        Self {
            child: inherit(&mut sleep, fds).spawn().unwrap(),
        }
    }

    /// The same, which is the test binary, and does something first.
    fn that(role: &str, fds: &[BorrowedFd<'_>]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([
                "audit::is_looked_at",
                "--exact",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ROLE, role)
            .stdout(Stdio::piped());
        let mut child = inherit(&mut command, fds).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().contains("is ready"));
        assert!(ready, "{role}");
        Self { child }
    }

    fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    fn audit(&self, expectation: &Expectation) -> Report {
        audit(self.pid(), expectation).unwrap()
    }

    /// Its handles, where nothing more is known than that it is a device model.
    fn handles(&self) -> Vec<HandleFinding> {
        self.audit(&libxl(None)).handles
    }

    /// Its only handle.
    fn handle(&self) -> HandleFinding {
        let [handle] = self.handles().try_into().unwrap();
        handle
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn inherit<'c>(command: &'c mut Command, fds: &[BorrowedFd<'_>]) -> &'c mut Command {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let hook = move || {
        for (number, to) in numbers.iter().zip(FIRST..) {
            // SAFETY: numbers, in a process that is about to execute.
            if *number == to || unsafe { libc::dup2(*number, to) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: system calls only.
    unsafe { command.pre_exec(hook) }
}

/// Far from the numbers that a holder gets.
fn high(fd: impl Into<OwnedFd>) -> OwnedFd {
    let fd = fd.into();
    // SAFETY: a number.
    let high = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 200) };
    assert!(high >= 0);
    // SAFETY: just made.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(high) }
}

fn node(path: &str) -> OwnedFd {
    high(open(path))
}

fn restricted_privcmd(guest: GuestId) -> OwnedFd {
    high(
        PrivCmd::open()
            .unwrap()
            .restrict(guest)
            .unwrap()
            .as_fd()
            .try_clone_to_owned()
            .unwrap(),
    )
}

fn restricted_events(guest: GuestId) -> OwnedFd {
    let events = EventChannel::open().unwrap().restrict(guest).unwrap();
    high(events.as_fd().try_clone_to_owned().unwrap())
}

fn libxl(domid: Option<GuestId>) -> Expectation {
    Expectation {
        domid,
        profile: Profile::Libxl,
        ..Expectation::default()
    }
}

/// What a restriction is worth on this kernel, without a filter.
fn without_a_filter(fd: &OwnedFd) -> Verdict {
    let privcmd = PrivCmd::from_fd(fd.try_clone().unwrap(), a()).map(|h| h.kernel_holes());
    let holes = privcmd
        .or_else(|_| EventChannel::from_fd(fd.try_clone().unwrap(), a()).map(|h| h.kernel_holes()));
    match holes
        .unwrap()
        .iter()
        .any(|hole| hole.is_refused_by_filter())
    {
        true => Verdict::Fails,
        false => Verdict::Holds,
    }
}

#[test]
fn an_unrestricted_handle_is_found_and_stays_as_it_is() {
    let (privcmd, events) = (node("/dev/xen/privcmd"), node("/dev/xen/evtchn"));
    let holder = Holder::of(&[privcmd.as_fd(), events.as_fd()]);
    for _ in 0..3 {
        let handles = holder.handles();
        let names: Vec<_> = handles.iter().map(|h| (h.fd, &*h.device)).collect();
        assert_eq!(
            names,
            [(Some(FIRST), "privcmd"), (Some(FIRST + 1), "evtchn")]
        );
        for handle in &handles {
            assert_eq!(handle.state, HandleState::Unrestricted);
            assert_eq!(handle.verdict, Verdict::Fails, "{handle:?}");
        }
    }
    for guest in [a(), b(), nobody()] {
        assert_eq!(may_dm_op(&privcmd, guest.get()), Ok(0));
        assert_ne!(may_bind(&events, guest.get()), nix::errno::Errno::EACCES);
    }
    // Nothing keeps it from being restricted yet.
    let mut to = a().get();
    raw(&privcmd, privcmd::RESTRICT, &mut to).unwrap();
    let mut to = xen_sys::evtchn::RestrictDomid { domid: a().get() };
    raw(&events, xen_sys::evtchn::RESTRICT_DOMID, &mut to).unwrap();
    let states: Vec<_> = holder.handles().iter().map(|h| h.state).collect();
    assert_eq!(states, [HandleState::Restricted { domid: a().get() }; 2]);
}

#[test]
fn a_restricted_handle_is_told_with_its_domain() {
    for guest in [a(), b(), nobody(), GuestId::MAX] {
        for fd in [restricted_privcmd(guest), restricted_events(guest)] {
            let holder = Holder::of(&[fd.as_fd()]);
            let report = holder.audit(&libxl(None));
            let handle = &report.handles[0];
            assert_eq!(handle.state, HandleState::Restricted { domid: guest.get() });
            assert_eq!(report.domid, Some(guest));
            assert!(
                handle.seen.contains(&format!("restricted to {guest}")),
                "{handle:?}"
            );
        }
    }
}

#[test]
fn its_own_guest_is_right_and_another_wrong() {
    for fd in [restricted_privcmd(a()), restricted_events(a())] {
        let expected = without_a_filter(&fd);
        let holder = Holder::of(&[fd.as_fd()]);
        let handle = &holder.audit(&libxl(Some(a()))).handles[0];
        assert_eq!(handle.verdict, expected, "{handle:?}");
        assert_eq!(
            expected == Verdict::Fails,
            handle.seen.contains("does not check")
        );
        let handle = &holder.audit(&libxl(Some(b()))).handles[0];
        assert_eq!(handle.verdict, Verdict::Fails, "{handle:?}");
    }
}

#[test]
fn handles_of_two_guests_are_wrong_together() {
    let (one, other) = (restricted_privcmd(a()), restricted_privcmd(b()));
    let report = Holder::of(&[one.as_fd(), other.as_fd()]).audit(&libxl(None));
    assert_eq!(report.domid, None);
    assert!(
        report
            .handles
            .iter()
            .all(|handle| handle.verdict == Verdict::Fails)
    );
}

#[test]
fn a_duplicate_is_the_same_handle() {
    let fd = restricted_events(a());
    let other = high(fd.try_clone().unwrap());
    let handles = Holder::of(&[fd.as_fd(), other.as_fd()]).handles();
    assert_eq!(handles.len(), 2);
    assert!(
        handles
            .iter()
            .all(|h| h.state == HandleState::Restricted { domid: a().get() })
    );
}

/// What Linux accepts, and is no restriction to a guest.
#[test]
fn a_restriction_to_no_guest_is_not_taken_for_one() {
    for (domid, state) in [
        (0x7FF4, HandleState::Unrestricted),
        (0x7FF0, HandleState::Restricted { domid: 0x7FF0 }),
        (0xFFFF, HandleState::Restricted { domid: 0xFFFF }),
        (0, HandleState::Restricted { domid: 0 }),
    ] {
        let fd = node("/dev/xen/privcmd");
        let mut to = domid;
        raw(&fd, privcmd::RESTRICT, &mut to).unwrap();
        let report = Holder::of(&[fd.as_fd()]).audit(&libxl(None));
        let handle = &report.handles[0];
        assert_eq!(
            (handle.state, handle.verdict),
            (state, Verdict::Fails),
            "{handle:?}"
        );
        assert_eq!(report.domid, None);
    }
}

#[test]
fn each_way_to_xen_is_known() {
    for (path, device) in [
        ("/dev/xen/gntdev", "gntdev"),
        ("/dev/xen/gntalloc", "gntalloc"),
        ("/dev/xen/hypercall", "hypercall"),
        ("/dev/xen/xenbus", "xenbus"),
        ("/dev/xen/xenbus_backend", "xenbus_backend"),
        ("/proc/xen/privcmd", "privcmd"),
        ("/proc/xen/xenbus", "xenfs"),
        ("/proc/xen/capabilities", "xenfs"),
    ] {
        let file = File::options().read(true).open(path).unwrap();
        let file = high(file);
        let handle = Holder::of(&[file.as_fd()]).handle();
        assert_eq!(
            (&*handle.device, handle.verdict),
            (device, Verdict::Fails),
            "{handle:?}"
        );
        assert_eq!(handle.state, HandleState::Unrestricted);
    }
    let restricted = node("/proc/xen/privcmd");
    let mut to = a().get();
    raw(&restricted, privcmd::RESTRICT, &mut to).unwrap();
    let handle = Holder::of(&[restricted.as_fd()]).handle();
    assert_eq!(
        (&*handle.device, handle.state),
        ("privcmd", HandleState::Restricted { domid: to })
    );
}

#[test]
fn a_connection_to_xenstored_is_a_way_to_xen() {
    let socket = high(UnixStream::connect("/run/xenstored/socket").unwrap());
    let handle = Holder::of(&[socket.as_fd()]).handle();
    assert_eq!(
        (&*handle.device, handle.verdict),
        ("xenstored", Verdict::Fails)
    );
    let other = high(UnixStream::pair().unwrap().0);
    assert_eq!(Holder::of(&[other.as_fd()]).handles(), []);
}

#[test]
fn what_is_mapped_is_told_though_its_handle_is_gone() {
    let holder = Holder::that("maps", &[]);
    let handle = holder.handle();
    assert_eq!((&*handle.device, handle.fd), ("privcmd", None));
    assert_eq!(
        (handle.state, handle.verdict),
        (HandleState::Mapped, Verdict::NotObservable)
    );
}

#[test]
fn a_filter_makes_up_for_what_the_kernel_does_not_check() {
    let fds = [
        restricted_privcmd(a()),
        restricted_events(a()),
        node("/dev/xen/gntdev"),
    ];
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let holder = Holder::that("is filtered", &fds);
    let expectation = Expectation {
        filters: true,
        ..libxl(Some(a()))
    };
    let report = holder.audit(&expectation);
    let verdicts = report
        .handles
        .iter()
        .map(|handle| (&*handle.device, handle.verdict));
    let mut verdicts: Vec<_> = verdicts.collect();
    verdicts.sort_by_key(|(device, _)| *device);
    // No request on it, but it can be sent to who may make them.
    assert_eq!(
        verdicts,
        [
            ("evtchn", Verdict::Holds),
            ("gntdev", Verdict::Fails),
            ("privcmd", Verdict::Holds)
        ]
    );
    let finding = report.finding(Mechanism::XenRequests).unwrap();
    assert_eq!(finding.verdict, Verdict::Holds, "{finding:?}");
    // Without a look at the filter, nobody says so.
    let report = holder.audit(&libxl(Some(a())));
    let gntdev = report
        .handles
        .iter()
        .find(|handle| handle.device == "gntdev")
        .unwrap();
    assert_eq!(
        (gntdev.verdict, report.holds()),
        (Verdict::NotObserved, false)
    );
}

#[test]
fn a_handle_of_a_thread_alone_is_not_overlooked() {
    let holder = Holder::that("has a thread with a handle of its own", &[]);
    let handle = holder.handle();
    assert_eq!((&*handle.device, handle.fd.is_some()), ("privcmd", true));
    match handle.state {
        // Linux 6.9 can duplicate it.
        HandleState::Unrestricted => assert_eq!(handle.verdict, Verdict::Fails),
        HandleState::Unknown => assert_eq!(handle.verdict, Verdict::NotObserved),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_revoked_handle_is_recognized_by_what_was_recorded() {
    let null = high(File::open("/dev/null").unwrap());
    let holder = Holder::of(&[null.as_fd()]);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", holder.pid())).unwrap();
    let started = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(19)
        .unwrap();
    let record = json!({
        "version": 1, "domid": a().get(), "instance": "dm", "pid": holder.pid(),
        "start_time": started.parse::<u64>().unwrap(), "init_pid": null, "supervisor_pid": 1,
        "profile": "libxl", "without": [], "absent": [], "uid": 0, "gid": 0, "rlimits": [],
        "cgroup": null, "cgroup_limits": [], "fds": [{"number": FIRST, "name": "xen-gntdev"}],
        "env": [], "read_only": [], "read_write": [], "landlock_abi": null, "program": [],
        "started": 0, "sealed": true
    });
    let record: xen_restrict::launch::Record = serde_json::from_value(record).unwrap();
    let report = holder.audit(&record.try_into().unwrap());
    let handle = &report.handles[0];
    assert_eq!((&*handle.device, handle.fd), ("gntdev", Some(FIRST)));
    assert_eq!(
        (handle.state, handle.verdict),
        (HandleState::Revoked, Verdict::Holds)
    );
}

alone! {
    /// A look leaves nothing open, and binds no port.
    fn a_look_leaves_nothing_behind() {
        let fds = [node("/dev/xen/privcmd"), node("/dev/xen/evtchn"), restricted_events(a())];
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let holder = Holder::of(&fds);
        let channels = || {
            let output = Command::new("lsevtchn").arg("0").output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().count()
        };
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = (channels(), open());
        for _ in 0..10 {
            holder.handles();
        }
        assert_eq!((channels(), open()), before);
    }
}

/// Not a test: what [`Holder::that`] starts.
#[test]
#[ignore = "the other tests start it"]
fn is_looked_at() {
    let Ok(role) = env::var(ROLE) else { return };
    let mapped = match &*role {
        "maps" => {
            let memory = PrivCmd::open()
                .unwrap()
                .guest(a())
                .map(&[STATUS], Access::Read)
                .unwrap();
            // The mapping stays, the handle goes.
            for number in 3..50 {
                // SAFETY: a number; this process ends without it.
                unsafe { libc::close(number) };
            }
            Some(memory)
        }
        "is filtered" => {
            xen_requests::enforce(Phase::Sealed).unwrap();
            None
        }
        _ => {
            let (tell, ready) = std::sync::mpsc::channel();
            thread::spawn(move || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_FILES).unwrap();
                let privcmd = PrivCmd::open().unwrap();
                tell.send(()).unwrap();
                thread::sleep(Duration::from_secs(600));
                drop(privcmd);
            });
            ready.recv().unwrap();
            None
        }
    };
    println!("\n{role}: is ready");
    thread::sleep(Duration::from_secs(600));
    std::mem::forget(mapped);
}

/// A handle that the library made is what an audit says of it.
#[test]
fn the_librarys_own_handles_are_seen_as_what_they_are() {
    let gntdev = GrantDevice::open().unwrap();
    let gntdev = high(gntdev.as_fd().try_clone_to_owned().unwrap());
    let handle = Holder::of(&[gntdev.as_fd()]).handle();
    assert_eq!(
        (&*handle.device, handle.verdict),
        ("gntdev", Verdict::Fails)
    );
    assert!(handle.seen.contains("every domain's grants"), "{handle:?}");
}
