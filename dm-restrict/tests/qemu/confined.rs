// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest works, and its QEMU can do nothing else.

use std::{
    fs,
    io::Read as _,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    device::Loop,
    network::{self, Bridge},
    stock::{eventually, from_lab},
    support::{
        Guest, Wanted, alone, dm_restrict, every_check_holds, in_place_of_qemu, is_there, scratch,
    },
};

/// A thousand requests.
const MANY: u16 = 500;

#[test]
fn a_guest_boots_from_its_disk_and_every_check_holds() {
    let _alone = alone();
    let start = Instant::now();
    let guest = Guest::that(&Wanted {
        times: MANY,
        ..Wanted::default()
    });
    guest.has_done_its_work();
    println!("{} requests after {:?}", 2 * MANY, start.elapsed());

    let text = every_check_holds(guest.stock.domid);
    // Shown by `cargo lab test -- --nocapture`.
    println!("{text}");
    for line in [
        "sealed by its supervisor",
        "own, with only a loopback",
        "a read-only tmpfs, 0 read-only mounts",
        "restricted to domain",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    assert!(!text.contains("left out by name"), "{text}");
}

#[test]
fn a_disk_that_is_a_device_is_all_of_that_kind_that_its_qemu_has() {
    let _alone = alone();
    let device = Loop::new();
    let guest = Guest::that(&Wanted {
        device: Some(&device.device),
        ..Wanted::default()
    });
    guest.has_done_its_work();
    every_check_holds(guest.stock.domid);
    let pids = guest.pids();
    drop(guest);
    eventually("all its processes have ended", || {
        pids.iter().all(|pid| !is_there(*pid))
    });
}

#[test]
fn a_disk_that_qemu_could_not_see_is_used_by_its_descriptor() {
    let _alone = alone();
    let guest = Guest::that(&Wanted {
        device: Some(Path::new("/run/a-disk")),
        ..Wanted::default()
    });
    guest.has_done_its_work();
}

/// Xen gives the guest its memory by a hypercall, which the supervisor issues.
#[test]
fn a_graphics_card_has_its_memory() {
    let _alone = alone();
    for card in ["stdvga", "cirrus"] {
        let guest = Guest::with(&[&format!("vga=\"{card}\"")]);
        guest.has_done_its_work();
        every_check_holds(guest.stock.domid);
    }
}

#[test]
fn nothing_of_dom0_is_left_in_its_mount_namespace() {
    let _alone = alone();
    let guest = Guest::start();
    // Init was never in the directory that QEMU entered: it sees the whole namespace.
    for pid in &guest.pids()[..2] {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        assert!(
            mounts.contains(" / / ro,") && mounts.contains(" tmpfs "),
            "{mounts}"
        );
        assert_eq!(
            fs::read_dir(format!("/proc/{pid}/root/")).unwrap().count(),
            0
        );
    }
    // By where the files are that it has open.
    for entry in fs::read_dir(format!("/proc/{}/fd", guest.pid())).unwrap() {
        let path = entry.unwrap().path();
        let Ok(found) = fs::metadata(&path) else {
            continue;
        };
        assert!(!found.is_dir(), "{:?}", fs::read_link(&path));
    }
}

#[test]
fn vnc_on_tcp_takes_dom0s_network_by_name() {
    let _alone = alone();
    let up = Command::new("ifconfig")
        .args(["lo", "127.0.0.1", "up"])
        .status();
    assert!(up.unwrap().success());
    let guest = Guest::with(&["vnc=1", "vnclisten=\"127.0.0.1\"", "vncdisplay=7"]);
    assert_eq!(guest.record["without"], serde_json::json!(["net-ns"]));
    let mut client = TcpStream::connect("127.0.0.1:5907").unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut version = [0; 4];
    client.read_exact(&mut version).unwrap();
    assert_eq!(&version, b"RFB ");
    guest.has_done_its_work();
    let text = every_check_holds(guest.stock.domid);
    assert!(text.contains("left out by name"), "{text}");
}

#[test]
fn vnc_at_a_socket_takes_nothing_of_dom0() {
    let _alone = alone();
    let path = scratch("vnc");
    let listens = format!("vnclisten=\"unix:{}\"", path.display());
    let guest = Guest::with(&["vnc=1", "vncunused=0", &listens]);
    assert_eq!(guest.record["without"], serde_json::json!([]));
    let mut client = UnixStream::connect(&path).unwrap();
    let patience = Some(Duration::from_secs(20));
    client.set_read_timeout(patience).unwrap();
    let mut version = [0; 4];
    client.read_exact(&mut version).unwrap();
    assert_eq!(&version, b"RFB ");
    guest.has_done_its_work();
    every_check_holds(guest.stock.domid);
    drop(guest);
    eventually("its socket is removed", || !path.exists());
}

/// With stock `dm_restrict=1` QEMU 10 ends of it when it has given root up.
#[test]
fn the_keyboard_that_xl_adds_is_in_nobodys_way() {
    let _alone = alone();
    let guest = Guest::with(&["vkb_device=1"]);
    guest.has_done_its_work();
    let backend = format!("/local/domain/0/backend/vkbd/{}/0/state", guest.stock.domid);
    let state = Command::new("xenstore-read").arg(backend).output().unwrap();
    // As libxl has written it: nobody serves it.
    assert_eq!(state.stdout, b"1\n");
}

fn works_with(device: &str, lines: &[&str]) {
    let _alone = alone();
    let guest = Guest::with(lines);
    let line = fs::read(format!("/proc/{}/cmdline", guest.pid())).unwrap();
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains(device), "{line}");
    guest.has_done_its_work();
    every_check_holds(guest.stock.domid);
}

#[test]
fn a_usb_tablet_is_in_nobodys_way() {
    works_with("tablet", &["usb=1", "usbdevice=\"tablet\""]);
}

/// It has nothing of dom0's to play on, with which QEMU 10 does not start.
#[test]
fn a_sound_card_is_silent() {
    let lines = &["soundhw=\"ac97\""];
    if from_lab("XEN_LAB_SUITE") == "bookworm" {
        return works_with("ac97", lines);
    }
    let _alone = alone();
    let wanted = Wanted {
        more: lines,
        ..Wanted::default()
    };
    let no = Guest::try_start(&wanted).err().unwrap();
    assert!(no.qemu.contains("no default audio driver"), "{}", no.qemu);
}

/// With xl's own script, which makes its device a port of the bridge.
#[test]
fn a_network_card_exchanges_frames_with_a_bridge_and_its_qemu_sees_no_network() {
    let _alone = alone();
    let bridge = Bridge::new();
    let guest = Guest::that(&Wanted {
        network: true,
        more: &[network::CARD],
        ..Wanted::default()
    });
    assert_eq!(guest.record["without"], serde_json::json!([]));
    let device = format!("vif{}.0-emu", guest.stock.domid);
    assert!(Bridge::ports().unwrap().contains(&device));
    bridge.answers();
    guest.has_done_its_work();
    let text = every_check_holds(guest.stock.domid);
    assert!(text.contains("only lo,"), "{text}");
    drop(guest);
    let device = format!("/sys/class/net/{device}");
    eventually("the device is gone", || {
        Bridge::ports().unwrap().is_empty() && fs::metadata(&device).is_err()
    });
}

#[test]
fn doctor_prints_the_lines_for_the_config() {
    let _alone = alone();
    in_place_of_qemu();
    let doctor = dm_restrict(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let items = report["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["name"] == "qemu").unwrap();
    assert_eq!(item["state"], "offered", "{item}");
    let seen = item["seen"].as_str().unwrap();
    for line in [
        "dm_restrict=1",
        "device_model_override=\"/usr/libexec/dm-restrict/qemu\"",
    ] {
        assert!(seen.contains(line), "{seen}");
    }
}
