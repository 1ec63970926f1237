// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libxl and QEMU leave behind, with `dm_restrict` and without.

use std::{collections::BTreeMap, env, fs, path::Path};

use crate::{
    guest::{StockGuest, eventually, fails_restricted, wrapper},
    process::{Facts, Status},
};

const DEBIANS_NOGROUP: u64 = 65534;
const KILLED_BY_SIGXFSZ: &str = "153\n";

fn counts<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<String, usize> {
    of.into_iter().map(|(name, n)| (name.into(), n)).collect()
}

fn limits<const N: usize>(of: [(&str, &str); N]) -> BTreeMap<String, (String, String)> {
    of.into_iter()
        .map(|(name, both)| (name.into(), (both.into(), both.into())))
        .collect()
}

/// The limit on open files is not libxl's doing: QEMU 10 raises it.
fn raised_by_qemu() -> BTreeMap<String, (String, String)> {
    match fails_restricted() {
        true => limits([("open files", "4096")]),
        false => BTreeMap::new(),
    }
}

#[test]
fn with_dm_restrict_it_is_another_user_and_little_else() {
    let guest = StockGuest::start(true);
    let uid = u64::from(guest.uid());

    let mut limits = limits([
        ("core file size", "0"),
        ("file locks", "0"),
        ("locked memory", "0"),
        ("msgqueue size", "0"),
    ]);
    limits.extend(raised_by_qemu());
    // The null devices but one stand for what was closed: hypercall buffers, connections
    // to xenstored, handles for mapping grants.
    let mut devices = counts([
        ("/dev/null", 8),
        ("/dev/xen/evtchn", 1),
        ("/dev/xen/privcmd", 4),
    ]);
    if fails_restricted() {
        devices.extend(counts([
            ("/dev/null", 9),
            ("/memfd:displaysurface (deleted)", 1),
        ]));
    } else {
        limits.insert("file size".into(), ("262144".into(), "262144".into()));
    }
    let expected = Facts {
        status: Status {
            uids: [uid; 4],
            gids: [DEBIANS_NOGROUP; 4],
            groups: vec![DEBIANS_NOGROUP],
            capabilities: [0; 4],
            bounding: Status::own().bounding,
            no_new_privs: 0,
            seccomp: 0,
        },
        own_namespaces: ["ipc", "mnt"].map(str::to_owned).into(),
        root: format!("/run/xen/qemu-root-{}", guest.domid).into(),
        limits,
        devices,
    };
    assert_eq!(Facts::of(guest.pid), expected);
    assert_ne!(expected.status.bounding, 0, "dom0's root has capabilities");
}

#[test]
fn without_dm_restrict_it_is_root_in_dom0() {
    let guest = StockGuest::start(false);
    let mut devices = counts([
        ("/dev/null", 1),
        ("/dev/xen/evtchn", 2),
        ("/dev/xen/hypercall", 3),
        ("/dev/xen/privcmd", 7),
    ]);
    if fails_restricted() {
        devices.extend(counts([
            ("/dev/xen/evtchn", 1),
            ("/dev/xen/gntdev", 1),
            ("/memfd:displaysurface (deleted)", 1),
        ]));
    }
    let expected = Facts {
        status: Status::own(),
        own_namespaces: [].into(),
        root: "/".into(),
        limits: raised_by_qemu(),
        devices,
    };
    assert_eq!(Facts::of(guest.pid), expected);
    assert_eq!(expected.status.uids, [0; 4]);
}

#[test]
fn the_suites_own_way_works_or_ends_by_the_limit_on_files() {
    let stock = StockGuest::try_start(true, None);
    if !fails_restricted() {
        stock.unwrap();
        return;
    }
    let no = stock.unwrap_err();
    assert!(no.xl.contains("device model did not start"), "{no:?}");

    let status = env::temp_dir().join("status-of-qemu");
    let record = format!("\"$QEMU\" \"$@\"; echo $? >{}", status.display());
    StockGuest::try_start(true, Some(&wrapper(&record))).unwrap_err();
    eventually("SIGXFSZ ended QEMU", || {
        fs::read_to_string(&status).is_ok_and(|text| text == KILLED_BY_SIGXFSZ)
    });
}

#[test]
fn a_destroyed_guest_takes_its_qemu_along() {
    let guest = StockGuest::start(true);
    let process = format!("/proc/{}", guest.pid);
    assert!(Path::new(&process).exists());
    drop(guest);
    eventually("QEMU has ended", || !Path::new(&process).exists());
}
