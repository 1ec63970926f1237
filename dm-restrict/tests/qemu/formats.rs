// SPDX-License-Identifier: MIT OR Apache-2.0
//! What QEMU opens itself: a disk that is not raw, and what it is based on; an initrd; a pseudo
//! terminal.

use std::{fs, path::Path, process::Command};

use crate::{
    disk,
    refused::Settings,
    stock::{StockGuest, eventually},
    support::{Guest, alone, every_check_holds, in_place_of_qemu, scratch},
};

const CLUSTER: usize = 1 << 16;

/// A qcow2 file that has nothing but what it is based on.
fn qcow2(path: &Path, base: &Path) {
    const RAW: u32 = 0xe279_2aca;
    let name = base.to_str().unwrap().as_bytes();
    let [name_at, length] = [0x200, name.len()].map(|n| u32::try_from(n).unwrap());
    let table = |clusters: usize| u64::try_from(clusters * CLUSTER).unwrap().to_be_bytes();
    let mut file = vec![0; 4 * CLUSTER];
    let header = [
        &b"QFI\xfb"[..],
        &2_u32.to_be_bytes(),
        &u64::from(name_at).to_be_bytes(),
        &length.to_be_bytes(),
        &16_u32.to_be_bytes(),
        &fs::metadata(base).unwrap().len().to_be_bytes(),
        // Not encrypted; the table of tables has one entry.
        &[0, 0, 0, 0, 0, 0, 0, 1],
        &table(3),
        &table(1),
        // In one cluster; no snapshots.
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // The format of what it is based on.
        &RAW.to_be_bytes(),
        &[0, 0, 0, 3],
        b"raw",
    ];
    let header = header.concat();
    file[..header.len()].copy_from_slice(&header);
    file[0x200..][..name.len()].copy_from_slice(name);
    file[CLUSTER..][..8].copy_from_slice(&table(2));
    for used in 0..4 {
        file[2 * CLUSTER + 2 * used + 1] = 1;
    }
    fs::write(path, file).unwrap();
}

#[test]
fn what_a_disk_is_based_on_has_to_be_named() {
    let _alone = alone();
    let [serial, base, path] = ["serial", "base", "qcow2"].map(scratch);
    disk::make(&base, disk::TIMES);
    qcow2(&path, &base);
    let lines = Guest::config(&serial, &path, None);
    let lines = lines.map(|line| line.replace("format=raw", "format=qcow2"));
    let lines = lines.each_ref().map(String::as_str);
    let create = || StockGuest::create(true, Some(&in_place_of_qemu()), &lines);
    let log = match create() {
        Err(no) => no.qemu,
        Ok(_) => panic!("it has read {}", base.display()),
    };
    let refused = format!("Could not open '{}': Permission denied", base.display());
    assert!(log.contains(&refused), "{log}");

    let _settings = Settings::new(&format!("read = {}\n", base.display()));
    let guest = create().unwrap_or_else(|no| panic!("{} {}", no.xl, no.qemu));
    let said = || fs::read_to_string(&serial).unwrap();
    eventually("it has done its work", || said().ends_with(disk::DONE));
    assert!(said().contains(disk::TEXT), "{}", said());
    // It has written, and not there.
    assert_eq!(disk::count(&base), 0);
    assert!(fs::metadata(&path).unwrap().len() > 4 * 65536);
    every_check_holds(guest.domid);
    drop(guest);
    for path in [serial, base, path] {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_serial_port_can_be_a_pseudo_terminal() {
    let _alone = alone();
    let [serial, path] = ["serial", "disk"].map(scratch);
    disk::make(&path, disk::TIMES);
    let lines = Guest::config(&serial, &path, None);
    let file = format!("\"file:{}\"", serial.display());
    let both = format!("[{file}, \"pty\"]");
    let lines = lines.map(|line| line.replace(&file, &both));
    let lines = lines.each_ref().map(String::as_str);
    let guest = StockGuest::create(true, Some(&in_place_of_qemu()), &lines);
    let guest = guest.unwrap_or_else(|no| panic!("{} {}", no.xl, no.qemu));
    let said = || fs::read_to_string(&serial).unwrap();
    eventually("it has done its work", || said().ends_with(disk::DONE));
    let node = format!("/local/domain/{}/serial/1/tty", guest.domid);
    let terminal = Command::new("xenstore-read").arg(node).output().unwrap();
    let terminal = String::from_utf8(terminal.stdout).unwrap();
    assert!(terminal.starts_with("/dev/pts/"), "{terminal:?}");
    // Whoever may, opens its other end.
    fs::File::open(terminal.trim()).unwrap();
    every_check_holds(guest.domid);
    drop(guest);
    for path in [serial, path] {
        fs::remove_file(path).unwrap();
    }
}

/// The guest's firmware gets both from QEMU, which has the second mapped.
#[test]
fn a_kernel_and_its_ramdisk_are_read() {
    let _alone = alone();
    let [kernel, ramdisk] = ["kernel", "ramdisk"].map(scratch);
    // As much of a kernel as QEMU looks for: a boot sector with a header of version 2.2.
    let mut image = vec![0; 8192];
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x0202_u16.to_le_bytes());
    image[0x1f1] = 1;
    fs::write(&kernel, image).unwrap();
    fs::write(&ramdisk, vec![1; 8192]).unwrap();
    let lines = [("kernel", &kernel), ("ramdisk", &ramdisk)]
        .map(|(name, path)| format!("{name}=\"{}\"", path.display()));
    let lines = lines.each_ref().map(String::as_str);
    let guest = StockGuest::create(true, Some(&in_place_of_qemu()), &lines);
    let guest = guest.unwrap_or_else(|no| panic!("{} {}", no.xl, no.qemu));
    every_check_holds(guest.domid);
    drop(guest);
    for path in [kernel, ramdisk] {
        fs::remove_file(path).unwrap();
    }
}

/// Left out, by name, QEMU is less confined, and works.
#[test]
fn it_goes_without_what_is_left_out() {
    let _alone = alone();
    let all = "without = root\nwithout = pid-ns\nwithout = landlock\n";
    let _settings = Settings::new(all);
    let guest = Guest::start();
    guest.has_done_its_work();
}
