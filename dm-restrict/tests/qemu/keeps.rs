// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that gives root up as QEMU does, and keeps something that it has got by it: it is
//! ended in the call by which it makes sure that it is not root any more, and the log says why.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    device::Loop,
    refused::Settings,
    stock::{NoStart, StockGuest, from_lab, wrapper},
    support::{alone, in_place_of_qemu, scratch},
};

/// What is said of one that it cannot have got where it is.
const FILE: &str = "a file from outside of its root";
/// The same of a socket.
const NOBODY: &str = "a local socket that nobody handed over";

/// What a program in the place of QEMU says that keeps this, and its supervisor.
pub(crate) fn keeping(what: &str) -> String {
    keeping_with(what, "", &[])
}

/// The same, with more settings, of a guest with more lines in its config.
pub(crate) fn keeping_with(what: &str, settings: &str, lines: &[&str]) -> String {
    let keeper = from_lab("XEN_LAB_KEEPER");
    let script = wrapper(&format!("exec {keeper} '{what}' \"$@\""));
    let program = script.display();
    let _settings = Settings::new(&format!("program = {program}\nread = {keeper}\n{settings}"));
    let NoStart { xl, qemu } =
        StockGuest::create(true, Some(&in_place_of_qemu()), lines).unwrap_err();
    fs::remove_file(script).unwrap();
    println!("{what}: {qemu}");
    assert!(!qemu.contains("panicked"), "{what}: {xl}\n{qemu}");
    qemu
}

/// One that keeps all of these, of each of which something is said, and that was not kept from
/// opening them.
fn is_ended(kept: &[(&str, &str)]) {
    is_ended_with(kept, ALL_FILES, &[]);
}

fn is_ended_with(kept: &[(&str, &str)], settings: &str, lines: &[&str]) {
    let all: Vec<_> = kept.iter().map(|(what, _)| *what).collect();
    let said = keeping_with(&all.join(","), settings, lines);
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
fn from_the_start_its_handles_are_its_guests() {
    let _alone = alone();
    let what = format!("what-it-is-given={}", from_lab("XEN_LAB_B"));
    let said = keeping(&what);
    for part in ["its handles are its guest's", "it goes on with"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

/// What is refused at the end does not depend on what could be opened before.
pub(crate) const ALL_TO_BE_OPENED: &str = "without = root\nwithout = landlock\n";
pub(crate) const ALL_FILES: &str = "without = landlock\n";
const KINDS: [&str; 3] = ["devtmpfs", "xenfs", "proc"];

/// Devices and processes where no launcher expects them.
pub(crate) struct Elsewhere(PathBuf);

impl Elsewhere {
    pub(crate) fn new() -> Self {
        let at = scratch("elsewhere");
        for kind in KINDS {
            let path = at.join(kind);
            fs::create_dir_all(&path).unwrap();
            let mut mount = Command::new("mount");
            mount.args(["-t", kind, kind]).arg(path);
            assert!(mount.status().unwrap().success(), "{kind}");
        }
        Self(at)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        for kind in KINDS {
            let _ = Command::new("umount").arg(self.0.join(kind)).status();
        }
    }
}

#[test]
fn a_way_to_xen_is_not_kept() {
    let _alone = alone();
    let elsewhere = Elsewhere::new();
    let kept = |how: &str, name: &str| format!("{how}={}", elsewhere.path(name));
    let [privcmd, evtchn, gntdev, xenbus] = ["privcmd", "evtchn", "gntdev", "xenbus"]
        .map(|name| kept("file", &format!("devtmpfs/xen/{name}")));
    let of_xenfs = kept("to-read", "xenfs/privcmd");
    // Restricted, and not to its guest.
    let of_another = format!(
        "a-handle-of-another={}:{}",
        from_lab("XEN_LAB_B"),
        elsewhere.path("devtmpfs/xen/privcmd")
    );
    let kept = [
        (privcmd.as_str(), "5: privcmd, unrestricted: every domain"),
        // The same driver's.
        (of_xenfs.as_str(), "6: privcmd, unrestricted: every domain"),
        (evtchn.as_str(), "evtchn, unrestricted: every domain"),
        (of_another.as_str(), "privcmd, restricted to"),
        (gntdev.as_str(), "gntdev, unrestricted"),
        (xenbus.as_str(), "xenbus, there is no restricting it"),
        // It leads to nobody any more, and nobody has handed it over.
        ("connection=/run/xenstored/socket", NOBODY),
    ];
    is_ended_with(&kept, ALL_TO_BE_OPENED, &[]);
    // As it is.
    is_ended(&[("file=/dev/xen/gntdev", "gntdev, unrestricted"), kept[6]]);
}

#[test]
fn nor_hidden_where_no_table_lists_it() {
    let _alone = alone();
    let hidden = |how: &str| format!("{how}=/dev/xen/privcmd");
    is_ended(&[
        (&hidden("in-a-pair"), "some wait in this socket"),
        ("a-listener", NOBODY),
        ("in-the-place-of-another", NOBODY),
        ("datagrams", NOBODY),
    ]);
    // Where the kernel lets nobody look into it, that is said.
    let elsewhere = Elsewhere::new();
    let privcmd = elsewhere.path("devtmpfs/xen/privcmd");
    let hidden = format!("a-table-of-its-own={privcmd}");
    let said = keeping_with(&hidden, ALL_TO_BE_OPENED, &[]);
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
        ("to-read=/etc/passwd", FILE),
        ("as-its-output=/etc/passwd", FILE),
    ]);
    is_ended_with(
        &[
            ("file=/dev/hvc0", "character device 229:0"),
            (&held, "a block device"),
            (&mapped, "device 7:"),
        ],
        ALL_TO_BE_OPENED,
        &[],
    );
}

/// A file of dom0 that is nobody's business, as another guest's disk.
pub(crate) struct Secret(pub(crate) PathBuf);

impl Secret {
    pub(crate) fn new() -> Self {
        // Not where it sees nothing of dom0.
        let folder = Path::new("/var/lib");
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(scratch("of-another").file_name().unwrap());
        fs::write(&path, vec![0; 4096]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Self(path)
    }

    fn kept(&self, how: &str) -> String {
        format!("{how}={}", self.0.display())
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_it_has_to_read_it_does_not_keep_to_write() {
    let _alone = alone();
    let (secret, disk) = (Secret::new(), Loop::new());
    let cd = |path: &Path| {
        let path = path.display();
        format!(
            "disk=[\"vdev=hdc,devtype=cdrom,access=ro,format=raw,backendtype=qdisk,target={path}\"]"
        )
    };
    let kept = [("disks-to-write", "a block device")];
    is_ended_with(&kept, ALL_FILES, &[&cd(&disk.device)]);
    // Nor does it get it.
    for (disk, settings, refused) in [
        (&disk.device, "", "Permission denied"),
        (&secret.0, ALL_FILES, "Read-only file system"),
    ] {
        let said = keeping_with("disks-to-write", settings, &[&cd(disk)]);
        for part in [refused, "it goes on with"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}

#[test]
fn nor_is_a_file_kept_by_its_mapping() {
    let _alone = alone();
    let secret = Secret::new();
    let mapped = secret.kept("mapped-file");
    is_ended(&[
        (&mapped, "maps a file of dom0"),
        ("mapped-file=/etc/passwd", "\"/etc/passwd\""),
    ]);
}

#[test]
fn nor_a_process_that_is_root_still() {
    let _alone = alone();
    let said = keeping("a-child");
    assert!(said.contains("it starts no process: EPERM"), "{said}");
    for (settings, says) in [
        ("without = seccomp\n", "it has started another process"),
        ("without = seccomp\nwithout = root\n", "was started by it"),
    ] {
        let said = keeping_with("a-child", settings, &[]);
        for part in [says, "the program is ended"] {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
        assert!(!said.contains("it goes on"), "{said}");
    }
}
