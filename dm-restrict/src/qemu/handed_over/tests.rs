// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of QEMU's arguments.

use super::*;

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(Into::into).collect()
}

#[test]
fn descriptors_get_their_new_numbers() {
    let all = HandedOver::of(words(
        "-S -chardev socket,id=libxl-cmd,fd=14,server=on,wait=off -name -chardev \
         -netdev tap,id=a,fd=9 -incoming fd:20",
    ))
    .unwrap();
    assert_eq!(
        all.arguments,
        words(
            "-S -chardev socket,id=libxl-cmd,server=on,wait=off,fd=3 -name -chardev \
             -netdev tap,id=a,fd=4 -incoming fd:5"
        )
    );
    let fds: Vec<NamedFd> = ["qemu-0=14", "qemu-1=9", "qemu-2=20"]
        .map(|text| text.parse().unwrap())
        .into();
    assert_eq!(all.fds, fds);
    HandedOver::of(words("-incoming fd:x")).unwrap_err();
}

#[test]
fn a_tap_device_is_made_by_its_name_or_not_at_all() {
    for name in ["", "a-name-that-is-too-long", "tap%d"] {
        let text = format!("-netdev type=tap,id=net0,ifname={name},script=no");
        let error = HandedOver::of(words(&text)).unwrap_err();
        assert!(error.to_string().contains("make the tap device"), "{error}");
    }
    let user = words("-netdev user,id=a");
    assert_eq!(HandedOver::of(user.clone()).unwrap().arguments, user);
}

#[test]
fn a_serial_port_that_goes_to_a_file_goes_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("serial");
    let text = path.to_string_lossy();
    let all = HandedOver::of(words(&format!("-serial file:{text} -serial pty"))).unwrap();
    let expected = "-serial file:/dev/fdset/1003 -serial pty -add-fd fd=3,set=1003";
    assert_eq!(all.arguments, words(expected));
    assert_eq!((all.fds.len(), path.is_file()), (1, true));
    assert_eq!(all.outputs, std::slice::from_ref(&path));
    HandedOver::of(words(&format!("-serial file:{text}/x"))).unwrap_err();
}

#[test]
fn a_disk_is_opened_for_reading_and_for_both() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a,b");
    fs::write(&path, "").unwrap();
    let text = path.to_string_lossy().replace(',', ",,");
    let all = HandedOver::of(words(&format!(
        "-drive file={text},if=none,format=raw -drive file={text},readonly=on,format=raw"
    )))
    .unwrap();
    assert_eq!(
        all.arguments,
        words(
            "-drive if=none,format=raw,file=/dev/fdset/1003 -drive \
             readonly=on,format=raw,file=/dev/fdset/1005 -add-fd fd=3,set=1003 \
             -add-fd fd=4,set=1003 -add-fd fd=5,set=1005"
        )
    );
    assert_eq!((all.fds.len(), all.disks.len()), (3, 2));
    for disk in [
        format!("-drive file={text},format=qcow2"),
        format!("-drive file={text}.not-there,format=raw"),
        "-drive file=nbd:localhost:9,format=raw".into(),
        "-drive file=/dev/null,format=raw".into(),
    ] {
        let all = HandedOver::of(words(&disk)).unwrap();
        assert_eq!((all.arguments, all.fds.len()), (words(&disk), 0));
    }
}

#[test]
fn a_set_of_others_is_none_of_these() {
    for set in ["0", "999", "0777"] {
        let text = format!("-add-fd fd=9,set={set}");
        let expected = format!("-add-fd set={set},fd=3");
        let all = HandedOver::of(words(&text)).unwrap();
        assert_eq!(all.arguments, words(&expected));
    }
    // To QEMU the second of two counts, and all but one of these are 1003.
    for set in ["1003", "1,set=1003", "0x3eb", "01753", "-1", ""] {
        let text = format!("--add-fd fd=9,set={set}");
        let error = HandedOver::of(words(&text)).unwrap_err();
        assert!(error.to_string().contains("below 1000"), "{set}: {error}");
    }
}

#[test]
fn a_drive_without_a_disc_is_an_empty_one() {
    for (errno, none) in [
        (libc::ENOMEDIUM, true),
        (libc::EMEDIUMTYPE, true),
        (libc::ENOENT, false),
    ] {
        assert_eq!(has_no_disc(&io::Error::from_raw_os_error(errno)), none);
    }
    let all = HandedOver {
        arguments: words("-drive x -device ide-cd,id=a,drive=a -device ide-hd,drive=b -device"),
        ..HandedOver::default()
    };
    // As libxl says that, of one with something in it and of one without.
    for (drive, empty) in [
        ("if=none,readonly=on,id=a", true),
        ("if=ide,index=2,readonly=on,media=cdrom,id=c", true),
        ("if=none,id=b", false),
        ("if=none", false),
    ] {
        let full = Value::of(OsStr::new(&format!("{drive},file=/dev/sr0,format=raw")));
        assert_eq!((all.is_cd(&full), emptied(&full)), (empty, drive.into()));
    }
}

#[test]
fn a_socket_is_bound_before_and_a_file_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a,b");
    let text = path.to_string_lossy().replace(',', ",,");
    for _ in 0..2 {
        let all = HandedOver::of(words(&format!(
            "-chardev socket,id=x,path={text},server,nowait"
        )))
        .unwrap();
        assert_eq!(all.sockets.len(), 1);
        assert_eq!(
            all.arguments,
            words("-chardev socket,id=x,server,nowait,fd=3")
        );
    }
    assert!(!path.exists());
    fs::write(&path, "").unwrap();
    HandedOver::of(words(&format!("-chardev socket,path={text},server=on"))).unwrap_err();
    // A client is QEMU's to connect.
    let client = words(&format!("-chardev socket,path={text}"));
    assert_eq!(HandedOver::of(client.clone()).unwrap().arguments, client);
}
