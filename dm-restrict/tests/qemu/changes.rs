// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `xl` does to a guest that runs.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use crate::{
    disk,
    stock::{eventually, from_lab},
    support::{Guest, Wanted, alone, every_check_holds, is_there, scratch},
};

fn xl(arguments: &[&str]) {
    let output = Command::new("xl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{arguments:?}: {text}\nQEMU: {}",
        last_log()
    );
}

/// What the QEMU said that spoke last: its guest may have another name by now.
fn last_log() -> String {
    let entries = fs::read_dir("/var/log/xen").unwrap().flatten();
    let logs = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("qemu-dm-"));
    let last = logs.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap());
    last.map_or_else(String::new, |entry| {
        fs::read_to_string(entry.path()).unwrap()
    })
}

/// Whether a guest is restored by this. libxl 4.20 hands its QEMU a file for it; that of sid,
/// 11, takes none in this way, and a guest without `dm_restrict` is not restored there either.
fn restores(arguments: &[&str]) -> bool {
    if from_lab("XEN_LAB_SUITE") != "sid" {
        xl(arguments);
        return true;
    }
    let output = Command::new("xl").args(arguments).output().unwrap();
    let log = last_log();
    assert!(!output.status.success(), "it is by now: {log}");
    assert!(
        log.contains("fd: migration to a file is not supported"),
        "{log}"
    );
    false
}

/// By whatever path it was opened.
fn has_open(pid: i32, path: &Path) -> bool {
    let file = fs::metadata(path).unwrap();
    let mut entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries.any(|entry| {
        fs::metadata(entry.path())
            .is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
    })
}

fn is_as_it_was_started(guest: &Guest) {
    every_check_holds(guest.stock.domid);
}

/// One that uses its disk for as long as it runs.
fn that_goes_on() -> Guest {
    let guest = Guest::that(&Wanted {
        times: u16::MAX,
        ..Wanted::default()
    });
    eventually("it uses its disk", || disk::count(&guest.disk) > 10);
    guest
}

#[test]
fn a_cd_is_ejected_and_another_inserted() {
    let _alone = alone();
    let [first, second] = ["first", "second"].map(scratch);
    for path in [&first, &second] {
        disk::make(path, 1);
    }
    let guest = Guest::that(&Wanted {
        cd: Some(&first),
        ..Wanted::default()
    });
    guest.has_done_its_work();
    let name = guest.stock.name();
    assert!(has_open(guest.pid(), &first));
    xl(&["cd-eject", name, "hdc"]);
    // QEMU 10 itself keeps what it was given at its start.
    let [_, others @ ..] = guest.pids();
    for pid in others {
        assert!(
            !has_open(pid, &first),
            "{pid} keeps the one that was ejected"
        );
    }
    xl(&["cd-insert", name, "hdc", second.to_str().unwrap()]);
    // libxl opens it, and hands it over.
    assert!(has_open(guest.pid(), &second));
    // And writes it down, for the audit.
    is_as_it_was_started(&guest);
    let pids = guest.pids();
    drop(guest);
    eventually("all its processes have ended", || {
        pids.iter().all(|pid| !is_there(*pid))
    });
    for path in [&first, &second] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_guest_is_saved_and_the_qemu_that_restores_it_is_confined() {
    let _alone = alone();
    let mut guest = Guest::start();
    let before = guest.pids();
    let file = scratch("saved");
    let path = file.to_str().unwrap();
    xl(&["save", guest.stock.name(), path]);
    eventually("all its processes have ended", || {
        before.iter().all(|pid| !is_there(*pid))
    });
    let is_restored = restores(&["restore", path]);
    fs::remove_file(&file).unwrap();
    if is_restored {
        guest.has_another_domid();
        assert!(is_there(guest.pid()));
        is_as_it_was_started(&guest);
    }
}

/// A QEMU that restores opens its disks anew when it has given root up: with stock
/// `dm_restrict=1` it is refused, and the guest stays as it was saved.
#[test]
fn a_guest_that_is_saved_while_it_uses_its_disk_goes_on_restored() {
    let _alone = alone();
    let mut guest = that_goes_on();
    let file = scratch("saved");
    let path = file.to_str().unwrap();
    xl(&["save", guest.stock.name(), path]);
    let before = disk::count(&guest.disk);
    let is_restored = restores(&["restore", path]);
    fs::remove_file(&file).unwrap();
    if is_restored {
        guest.has_another_domid();
        eventually("it uses its disk again", || {
            disk::count(&guest.disk) > before + 10
        });
    }
}

/// Within this machine: what receives it is what a second one would run.
#[test]
fn a_guest_is_migrated_and_goes_on() {
    let _alone = alone();
    let mut guest = that_goes_on();
    let before = guest.pids();
    let name = guest.stock.name();
    if !restores(&["migrate", "-s", "", name, "xl migrate-receive"]) {
        // It goes on where it was. QEMU keeps the file to which libxl had it write its state.
        let then = disk::count(&guest.disk);
        return eventually("it uses its disk again", || {
            disk::count(&guest.disk) > then + 10
        });
    }
    let then = disk::count(&guest.disk);
    guest.has_another_domid();
    eventually("all that the guest had before has ended", || {
        before.iter().all(|pid| !is_there(*pid))
    });
    eventually("it uses its disk again", || {
        disk::count(&guest.disk) > then + 10
    });
    is_as_it_was_started(&guest);
}
