// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command lines as they were seen, and such as they should not be.

use super::*;

const PROBE: &str = "-S -no-user-config -nodefaults -nographic -machine none,accel=xen -chardev \
                     socket,id=libxl-cmd,fd=16,server=on,wait=off -mon chardev=libxl-cmd,mode=control";
/// libxl 4.17 and 4.20; what differs between them is at the end.
const COMMON: &str = "-xen-domid 3 -no-shutdown -chardev socket,id=libxl-cmd,fd=14,server=on,wait=off \
                      -S -mon chardev=libxl-cmd,mode=control -chardev \
                      socket,id=libxenstat-cmd,path=/var/run/xen/qmp-libxenstat-3,server=on,wait=off \
                      -mon chardev=libxenstat-cmd,mode=control -nodefaults -no-user-config -name H \
                      -vnc none -display none -boot order=cda -net none -machine \
                      xenfv,suppress-vmdesc=on -m 32";
const BOOKWORM: &str = "-xen-domid-restrict -chroot /var/run/xen/qemu-root-3 -runas 65539:65534";
const TRIXIE: &str = "-xen-domid-restrict -run-with chroot=/var/run/xen/qemu-root-3 -run-with \
                      user=65539:65534";

fn call(text: &str) -> Result<Call, Misunderstood> {
    let words: Vec<OsString> = text.split_ascii_whitespace().map(Into::into).collect();
    Call::of(&words)
}

fn model(text: &str) -> DeviceModel {
    match call(text) {
        Ok(Call::DeviceModel(model)) => model,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_calls_are_understood() {
    assert_eq!(call(PROBE), Ok(Call::Probe));
    for release in [BOOKWORM, TRIXIE] {
        let model = model(&format!("{COMMON} {release}"));
        let expected = DeviceModel {
            guest: GuestId::new(3).unwrap(),
            restricted: Some(Restricted {
                uid: 65539,
                gid: 65534,
                chroot: "/var/run/xen/qemu-root-3".into(),
            }),
            disks: Vec::new(),
            reads: Vec::new(),
            network: Vec::new(),
        };
        assert_eq!(model, expected);
    }
    assert_eq!(model(COMMON).restricted, None);
}

#[test]
fn what_is_said_twice_or_by_half_is_not_understood() {
    for text in [
        "-nographic",
        "-machine none -xen-domid x",
        "-xen-domid 0",
        "-xen-domid 3 -xen-domid 4",
        "-xen-domid 3 -xen-domid-restrict",
        "-xen-domid 3 -xen-domid-restrict -chroot /x",
        "-xen-domid 3 -xen-domid-restrict -runas 5:6",
        "-xen-domid 3 -xen-domid-restrict -chroot x -runas 5:6",
        "-xen-domid 3 -xen-domid-restrict -chroot /x -runas qemu",
        "-xen-domid 3 -xen-domid-restrict -chroot /x -runas 5:6 -runas 0:0",
        "-xen-domid 3 -xen-domid-restrict -chroot /x -runas 5:6 -run-with user=0:0",
        "-xen-domid 3 -xen-domid-restrict -chroot /x -runas 5:6 -run-with chroot=/",
    ] {
        call(text).unwrap_err();
    }
}

#[test]
fn a_guests_name_is_no_option() {
    for name in ["-xen-domid-restrict", "-runas", "--xen-domid", "-S", "-"] {
        let text = format!("-xen-domid 3 -name {name} -m 32");
        assert_eq!(model(&text).restricted, None, "{name}");
        let text = format!("-name {name} {COMMON} {BOOKWORM}");
        assert!(model(&text).restricted.is_some(), "{name}");
    }
}

#[test]
fn two_dashes_are_one_and_an_unknown_option_may_stand_alone() {
    let two = format!("{COMMON} {BOOKWORM}").replace(" -", " --");
    assert!(model(&two).restricted.is_some());
    let text = "-xen-domid 3 -new -xen-domid-restrict -newer 5 -runas 5:6 -other -chroot /x";
    assert!(model(text).restricted.is_some());
}

#[test]
fn disks_are_found_with_commas_in_their_names() {
    let text = "-xen-domid 3 -drive file=/a,,b,if=ide,index=0,media=disk,format=raw,cache=writeback \
                -drive file=/c.iso,if=ide,index=2,readonly=on,media=cdrom,format=raw,id=ide-5632 \
                -drive if=ide,index=3,readonly=on,media=cdrom,id=x -drive file=nbd:unix:/x,format=raw";
    let disk = |path: &str, read_only| Disk {
        path: path.into(),
        read_only,
    };
    assert_eq!(
        model(text).disks,
        [disk("/a,b", false), disk("/c.iso", true)]
    );
}

#[test]
fn what_it_reads_besides_is_found() {
    let text =
        "-xen-domid 3 -kernel /boot/vmlinuz -append -initrd -initrd /boot/initrd -name -bios";
    let expected = ["/boot/vmlinuz", "/boot/initrd"].map(PathBuf::from);
    assert_eq!(model(text).reads, expected);
}

#[test]
fn what_takes_dom0s_network_is_named() {
    for (text, expected) in [
        ("-vnc none", ""),
        ("-vnc unix:/run/x", ""),
        ("-net none", ""),
        ("-net nic,model=e1000", ""),
        ("-netdev type=tap,id=net0,fd=7", ""),
        ("-serial pty", ""),
        ("-vnc 127.0.0.1:0,to=99", "-vnc 127.0.0.1:0,to=99"),
        (
            "-netdev type=tap,id=net0,ifname=vif3.0-emu,br=xenbr0,script=no,downscript=no",
            "",
        ),
        ("-netdev user,id=net0", "-netdev user,id=net0"),
        ("-net tap", "-net tap"),
        ("-serial tcp::99", "-serial tcp::99"),
        ("-spice port=1", "-spice port=1"),
    ] {
        let found = model(&format!("-xen-domid 3 {text}")).network;
        assert_eq!(found.join(" "), expected, "{text}");
    }
}

#[test]
fn a_value_is_written_as_it_is_read() {
    for text in ["a=1,b", "", "path=/x,,y,server", "a,,,,b"] {
        let value = Value::of(OsStr::new(text));
        assert_eq!(
            Value::of(&value.with(&[], "z")).0.split_last().unwrap().1,
            value.0
        );
    }
    let value = Value::of(OsStr::new("socket,path=/x,,y,server=on"));
    assert_eq!(value.with(&["path"], "fd=3"), "socket,server=on,fd=3");
    assert_eq!(value.get("path").unwrap(), "/x,y");
}
