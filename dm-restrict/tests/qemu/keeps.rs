// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that gives root up as QEMU does, and keeps something that it has got by it: it is
//! ended in the call by which it makes sure that it is not root any more, and the log says why.

use std::fs;

use crate::{
    device::Loop,
    refused::Settings,
    stock::{NoStart, StockGuest, from_lab, wrapper},
    support::{alone, in_place_of_qemu},
};

/// What a program in the place of QEMU says that keeps this, and its supervisor.
fn keeping(what: &str) -> String {
    let keeper = from_lab("XEN_LAB_KEEPER");
    let script = wrapper(&format!("exec {keeper} '{what}' \"$@\""));
    let _settings = Settings::new(&format!("program = {}\n", script.display()));
    let NoStart { xl, qemu } =
        StockGuest::create(true, Some(&in_place_of_qemu()), &[]).unwrap_err();
    fs::remove_file(script).unwrap();
    println!("{what}: {qemu}");
    assert!(!qemu.contains("panicked"), "{what}: {xl}\n{qemu}");
    qemu
}

/// One that keeps all of these, of each of which something is said.
fn is_ended(kept: &[(&str, &str)]) {
    let all: Vec<_> = kept.iter().map(|(what, _)| *what).collect();
    let said = keeping(&all.join(","));
    for (what, says) in kept {
        assert!(said.contains(says), "{what}: no {says:?} in {said}");
    }
    for part in ["keeps what it must not", "the program is ended"] {
        assert!(said.contains(part), "{all:?}: no {part:?} in {said}");
    }
    assert!(!said.contains("it goes on"), "{all:?}: {said}");
}

#[test]
fn who_keeps_handles_of_its_guest_goes_on() {
    let _alone = alone();
    let said = keeping("handles-of-its-guest");
    assert!(
        said.contains("it goes on with handles-of-its-guest"),
        "{said}"
    );
    assert!(!said.contains("is ended"), "{said}");
}

#[test]
fn a_way_to_xen_is_not_kept() {
    let _alone = alone();
    let of_another = format!("a-handle-of-another={}", from_lab("XEN_LAB_B"));
    is_ended(&[
        (
            "file=/dev/xen/privcmd",
            "5: privcmd, unrestricted: every domain",
        ),
        (
            // The same driver's.
            "to-read=/proc/xen/privcmd",
            "6: privcmd, unrestricted: every domain",
        ),
        ("file=/dev/xen/evtchn", "evtchn, unrestricted: every domain"),
        (&of_another, "privcmd, restricted to"),
        ("file=/dev/xen/gntdev", "gntdev, unrestricted"),
        ("file=/dev/xen/xenbus", "xenbus, there is no restricting it"),
        (
            "connection=/run/xenstored/socket",
            "xenstored, there is no restricting it",
        ),
    ]);
}

#[test]
fn nor_hidden_where_no_table_lists_it() {
    let _alone = alone();
    is_ended(&[
        ("in-a-pair", "some wait in this socket"),
        ("in-a-connection", "a local socket that nobody handed over"),
        (
            "in-the-place-of-another",
            "a local socket that nobody handed over",
        ),
        ("datagrams", "a local socket that nobody handed over"),
    ]);
    // Where the kernel lets nobody look into it, that is said.
    let said = keeping("a-table-of-its-own");
    assert!(said.contains("5: privcmd, "), "{said}");
    assert!(said.contains("the program is ended"), "{said}");
}

#[test]
fn nor_a_file_or_device_of_dom0() {
    let _alone = alone();
    let disk = Loop::new();
    let [held, mapped] = ["file", "mapped"].map(|what| format!("{what}={}", disk.device.display()));
    is_ended(&[
        ("to-read=/", "a directory"),
        ("to-read=/etc/passwd", "a file from outside of its root"),
        (
            "as-its-output=/etc/passwd",
            "a file from outside of its root",
        ),
        ("file=/dev/hvc0", "character device 229:0"),
        (&held, "a block device"),
        (&mapped, "device 7:"),
    ]);
}
