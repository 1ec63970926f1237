// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ends of brokered grants: the program's, its broker's, the guest's, and the grant's own.

use std::{os::unix::process::ExitStatusExt as _, process::Command};

use xen_restrict::{Access, Gfn, PrivCmd};

use crate::{
    brokered::{
        BROKERED, GRANT_TABLE, Started, bulk, holder, line, mapped_grants, probe, started, tool,
        word,
    },
    support::{Field, LabGuest, STATUS, ShortLived, a, eventually, guest_a, xl},
};

const BYTE_AT: usize = 100;

/// Events that A received on that port.
fn events_of_port_2() -> u64 {
    let privcmd = PrivCmd::open().unwrap();
    let status = privcmd.guest(a()).map(&[STATUS], Access::Read).unwrap();
    status.get(0xa0).unwrap()
}

enum Victim {
    Program,
    Broker,
}

impl Victim {
    fn pid(self, child: &Started) -> libc::pid_t {
        match self {
            Self::Program => program_of("grants"),
            Self::Broker => child.0.id().cast_signed(),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Exited(i32),
    Killed(i32),
}

/// The process id of a program that runs.
fn program_of(instance: &str) -> libc::pid_t {
    let output = Command::new(tool("XEN_LAB_DM_RESTRICT"))
        .args(["list", "--json"])
        .output()
        .unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut records = list.as_array().unwrap().iter();
    let record = records.find(|record| record["instance"] == instance);
    let pid = record.unwrap()["pid"].as_i64().unwrap();
    pid.try_into().unwrap()
}

/// What a killed supervisor leaves.
fn reap() {
    let status = Command::new(tool("XEN_LAB_DM_RESTRICT"))
        .args(["reap", "--domid", &a().get().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn the_other_side_learns_of_the_unmapping_and_of_a_death() {
    let (_lock, guest) = guest_a();
    let first = word(&guest, Field::FirstBulk);
    let memory = bulk(&guest);
    let was = memory.get::<u64>(BYTE_AT & !7).unwrap();
    // The program unmaps and lets go of its port; dies; is killed; loses its broker.
    let killed = [
        ("notify", None, Ended::Exited(0)),
        ("notify-and-die", None, Ended::Exited(128 + libc::SIGABRT)),
        (
            "notify-and-hold",
            Some(Victim::Program),
            Ended::Exited(128 + libc::SIGKILL),
        ),
        (
            "notify-and-hold",
            Some(Victim::Broker),
            Ended::Killed(libc::SIGKILL),
        ),
    ];
    for (verb, victim, ended) in killed {
        let port = word(&guest, Field::Port2);
        let mut child = started(&mut probe(a(), "grants", &BROKERED, &[verb, &first, &port]));
        line(&mut child, "set");
        // The broker looked whose port it is by an event on it, which is over by now.
        let events = events_of_port_2();
        if let Some(victim) = victim {
            // SAFETY: a process of this test's.
            assert_eq!(unsafe { libc::kill(victim.pid(&child), libc::SIGKILL) }, 0);
        }
        let status = child.0.wait().unwrap();
        let seen = status
            .code()
            .map_or_else(|| Ended::Killed(status.signal().unwrap()), Ended::Exited);
        assert_eq!(seen, ended, "{verb}");
        eventually("the byte is cleared", || {
            memory.get::<u8>(BYTE_AT).unwrap() == 0
        });
        eventually(&format!("the guest has an event more: {verb}"), || {
            events_of_port_2() > events
        });
        memory.set(BYTE_AT & !7, &was).unwrap();
    }
    reap();
}

#[test]
fn whoever_dies_the_pages_are_unmapped() {
    let (_lock, guest) = guest_a();
    for (signal, whose) in [(libc::SIGTERM, "both"), (libc::SIGKILL, "the broker")] {
        let mut child = holder(&guest);
        // SAFETY: a child that was not waited for.
        assert_eq!(unsafe { libc::kill(child.0.id().cast_signed(), signal) }, 0);
        let status = child.0.wait().unwrap();
        assert!(
            status.code() == Some(128 + signal) || status.signal() == Some(signal),
            "{whose}"
        );
        eventually("nothing is mapped", || mapped_grants().is_empty());
    }
    reap();
}

/// Its domid is used again: nothing that serves it may go on.
#[test]
fn a_guest_that_is_destroyed_takes_program_and_broker_along() {
    let (_lock, _guest) = guest_a();
    for devices in ["evtchn,gntdev", "privcmd,evtchn,gntdev"] {
        let (guest, id) = ShortLived::create("granting");
        let first = word(&LabGuest::new(id), Field::FirstBulk);
        let options = [&BROKERED[..], &["--xen", devices]].concat();
        let mut child = started(&mut probe(id, "grants", &options, &["hold", &first, "64"]));
        line(&mut child, "holds 64");
        drop(guest);
        let status = child.0.wait().unwrap();
        assert_eq!(status.code(), Some(128 + libc::SIGKILL), "{devices}");
        // No page of it is mapped any more.
        let listed = format!(" {} ", id.get());
        eventually("the domain is gone", || !xl(&["list"]).contains(&listed));
    }
}

#[test]
fn a_grant_that_is_taken_back_is_not_mapped() {
    let (_lock, guest) = guest_a();
    let first: u32 = word(&guest, Field::FirstBulk).parse().unwrap();
    let mut child = started(&mut probe(
        a(),
        "grants",
        &BROKERED,
        &["taken-back", &first.to_string()],
    ));
    line(&mut child, "reserved");
    let table = PrivCmd::open()
        .unwrap()
        .guest(a())
        .map(
            &[Gfn::new(GRANT_TABLE), Gfn::new(GRANT_TABLE + 1)],
            Access::ReadWrite,
        )
        .unwrap();
    let entry = first as usize * 8;
    let flags: u16 = table.get(entry).unwrap();
    table.set(entry, &0_u16).unwrap();
    let status = child.0.wait().unwrap();
    table.set(entry, &flags).unwrap();
    assert!(status.success(), "{status}");
}
