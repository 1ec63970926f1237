// SPDX-License-Identifier: MIT OR Apache-2.0
//! What doctor sees in a dom0 that has everything: nothing that `run` needs is missing.

use std::fs;

use xen_restrict::{
    EventChannel, PrivCmd,
    confine::landlock,
    doctor::{Item, Need, State, Verdict, examine},
};

fn seen(items: &[Item], name: &str) -> (State, String) {
    let item = items.iter().find(|item| item.name == name).unwrap();
    (item.state, item.seen.clone())
}

#[test]
fn all_that_run_and_audit_need_is_there() {
    let report = examine();
    let lacking = |item: &&Item| item.needed_by.is_some() && item.state != State::Offered;
    let lacking: Vec<_> = report.items.iter().filter(lacking).collect();
    assert!(lacking.is_empty(), "{lacking:#?}");
    assert_eq!(report.verdict, Verdict::Ready);
    let xen = report
        .items
        .iter()
        .filter(|item| item.needed_by == Some(Need::Xen));
    assert_eq!(xen.count(), 6);
    for name in ["cgroup", "gntalloc", "xenstored", "range-base", "subuid"] {
        assert_eq!(
            seen(&report.items, name).0,
            State::Offered,
            "{name}: {report}"
        );
    }
}

#[test]
fn landlocks_version_is_the_kernels() {
    let (state, seen) = seen(&examine().items, "landlock");
    match landlock::abi() {
        Ok(version) => {
            assert!(seen.starts_with(&format!("version {version}")), "{seen}");
            assert_eq!(
                state,
                if version >= 6 {
                    State::Offered
                } else {
                    State::Partly
                }
            );
        }
        Err(absent) => assert_eq!((state, seen), (State::Missing, absent.reason)),
    }
}

#[test]
fn the_holes_are_those_of_the_devices() {
    let holes = [
        PrivCmd::open().unwrap().kernel_holes(),
        EventChannel::open().unwrap().kernel_holes(),
    ];
    let (state, seen) = seen(&examine().items, "kernel-holes");
    let named = |text: &str| {
        holes
            .concat()
            .iter()
            .all(|hole| text.contains(&hole.to_string()))
    };
    assert!(named(&seen), "{seen}");
    assert_eq!(state == State::Offered, holes.concat().is_empty(), "{seen}");
    assert!(!seen.contains("by its version"), "{seen}");
}

#[test]
fn a_device_that_is_not_there_is_missing_with_its_module() {
    crate::alone::alone(|| {
        use nix::{
            mount::{MsFlags, mount},
            sched::{CloneFlags, unshare},
        };
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(
            Some("tmpfs"),
            "/dev/xen",
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        // Something else by that name.
        fs::write("/dev/xen/evtchn", "").unwrap();
        let report = std::thread::scope(|scope| scope.spawn(examine).join().unwrap());
        assert_eq!(report.verdict, Verdict::NotReady);
        let item = |name: &str| report.items.iter().find(|item| item.name == name).unwrap();
        assert_eq!(
            item("privcmd").remedy.as_deref(),
            Some("modprobe xen-privcmd")
        );
        assert!(
            item("evtchn").seen.contains("a regular file"),
            "{}",
            item("evtchn").seen
        );
    });
}
