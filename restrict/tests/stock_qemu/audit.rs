// SPDX-License-Identifier: MIT OR Apache-2.0
//! Audits of what Xen's own tools and QEMU make.

use std::collections::BTreeSet;

use xen_restrict::{
    EventChannel, GuestId, PrivCmd,
    audit::{Expectation, HandleState, Report, Verdict, audit},
    confine::{
        Mechanism::{
            self, Capabilities, Fds, Identity, IpcNs, MountNs, Rlimits, Root, XenRequests,
        },
        Profile,
    },
};

use crate::guest::{StockGuest, eventually, fails_restricted};

fn failing(report: &Report) -> BTreeSet<Mechanism> {
    let findings = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fails);
    findings.map(|finding| finding.check).collect()
}

fn libxl() -> Expectation {
    Expectation {
        profile: Profile::Libxl,
        ..Expectation::default()
    }
}

/// When libxl has hung up, whose last question to QEMU may be under way.
fn audit_at_rest(guest: &StockGuest) -> Report {
    let look = || audit(guest.pid, &libxl()).unwrap();
    eventually("libxl has hung up", || !failing(&look()).contains(&Fds));
    look()
}

/// What a restricted privcmd and evtchn handle is worth on this dom0's kernel, where no
/// filter refuses what it does not check.
fn worth() -> [Verdict; 2] {
    let privcmd = PrivCmd::open().unwrap().kernel_holes();
    let events = EventChannel::open().unwrap().kernel_holes();
    [privcmd, events].map(
        |holes| match holes.iter().any(|hole| hole.is_refused_by_filter()) {
            true => Verdict::Fails,
            false => Verdict::Holds,
        },
    )
}

#[test]
fn with_dm_restrict_all_but_the_filter_is_there() {
    let guest = StockGuest::start(true);
    let report = audit_at_rest(&guest);
    let mut expected = BTreeSet::from([XenRequests]);
    if fails_restricted() {
        // The limit on files was lifted, or it would not run.
        expected.insert(Rlimits);
    }
    assert_eq!(failing(&report), expected, "{report:#?}");
    let domid = GuestId::new(guest.domid).unwrap();
    assert_eq!(report.domid, Some(domid));
    let identity = &report.finding(Identity).unwrap().expected;
    assert!(
        identity.contains(&format!("uid {} of {domid}", guest.uid())),
        "{identity}"
    );

    let restricted = HandleState::Restricted { domid: guest.domid };
    let held = report
        .handles
        .iter()
        .filter(|handle| handle.state == restricted);
    let held: Vec<_> = held
        .map(|handle| (&*handle.device, handle.verdict))
        .collect();
    let [privcmd, events] = worth();
    let mut expected = vec![("privcmd", privcmd); 4];
    expected.push(("evtchn", events));
    assert_eq!(held, expected, "{:#?}", report.handles);
    let others = report
        .handles
        .iter()
        .filter(|handle| handle.state != restricted);
    assert!(
        others.clone().all(|h| h.verdict == Verdict::NotObservable),
        "{:#?}",
        report.handles
    );

    // What `xl` cannot do is left out by name: the rest holds where the kernel lets it.
    let mut without = libxl();
    without.without = vec![XenRequests, Rlimits];
    let report = audit(guest.pid, &without).unwrap();
    let all_checked = [privcmd, events] == [Verdict::Holds; 2];
    assert_eq!(report.holds(), all_checked, "{report:#?}");
}

#[test]
fn without_dm_restrict_little_is() {
    let guest = StockGuest::start(false);
    let report = audit_at_rest(&guest);
    let expected = BTreeSet::from([
        Identity,
        Capabilities,
        XenRequests,
        MountNs,
        IpcNs,
        Root,
        Rlimits,
    ]);
    assert_eq!(failing(&report), expected, "{report:#?}");
    let devices: BTreeSet<_> = report
        .handles
        .iter()
        .map(|handle| &*handle.device)
        .collect();
    for device in ["privcmd", "evtchn", "hypercall", "xenstored"] {
        assert!(devices.contains(device), "{device}: {:#?}", report.handles);
    }
    let states = report
        .handles
        .iter()
        .filter(|h| matches!(&*h.device, "privcmd" | "evtchn") && h.fd.is_some());
    for handle in states {
        assert_eq!(
            (handle.state, handle.verdict),
            (HandleState::Unrestricted, Verdict::Fails)
        );
    }
}

#[test]
fn it_runs_on_after_its_filters_were_read() {
    let guest = StockGuest::start(true);
    let expectation = Expectation {
        filters: true,
        ..libxl()
    };
    for _ in 0..3 {
        let report = audit(guest.pid, &expectation).unwrap();
        let finding = report.finding(XenRequests).unwrap();
        assert_eq!(finding.verdict, Verdict::Fails);
    }
    let state = std::fs::read_to_string(format!("/proc/{}/stat", guest.pid)).unwrap();
    let state = state.rsplit_once(") ").unwrap().1.chars().next();
    assert!(matches!(state, Some('S' | 'R')), "{state:?}");
}
