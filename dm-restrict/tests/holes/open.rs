// SPDX-License-Identifier: MIT OR Apache-2.0
//! Without the filter: the holes, for real. Each has a boot of its own, by a row of `ALONE`
//! in `lab/src/alone.rs`, which also says how the machine ends.

use std::{fs, thread, time::Duration};

use xen_restrict::{EventChannel, KernelHole, PrivCmd};

use crate::{
    alive::{B, eventually, ports_connected_with_b, run},
    probe::{Filter, attempt, b},
};

/// Says something each second for as long as dom0 is scheduled.
fn tick() {
    thread::spawn(|| {
        loop {
            println!(".");
            thread::sleep(Duration::from_secs(1));
        }
    });
}

fn all_done(lines: &[String]) {
    let done = |line: &String| line.ends_with(": done") || line == "over";
    assert!(lines.iter().all(done), "{lines:?}");
}

/// It shares a port of another process with guest B, sends B an event by it, and lets go:
/// the owner's close is the kernel's BUG.
#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn a_port_of_another_process_is_taken_and_its_owner_falls() {
    let guest = B::look();
    let events = EventChannel::open().unwrap();
    let port = events.bind_interdomain(b(), guest.port()).unwrap();
    let before = guest.events();
    let number = port.port().get().to_string();
    all_done(&attempt(Filter::None, &["static", &number]));
    eventually("B got a forged event", || guest.events() > before);
    println!("forged an event to B by port {number}, and let go of it");
    drop(port);
    drop(events);
}

/// The same with xenstored's and xenconsoled's ports with guest B.
#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn ports_of_xenstored_are_taken_and_it_falls() {
    let ports = ports_connected_with_b();
    assert!(!ports.is_empty());
    let mut words = vec!["static-and-end"];
    words.extend(ports.iter().map(String::as_str));
    all_done(&attempt(Filter::None, &words));
    println!("took {ports:?} of dom0, forged events by each, and ended");
    // Xenstored lets go of the guest, and with it of a port that the kernel has forgotten.
    run("xl", &["destroy", "B"]);
}

/// The first ports are the kernel's: timers, interrupts between processors, xenbus.
#[test]
#[ignore = "stops the machine: in a boot of its own"]
fn ports_of_the_kernel_are_lost_and_dom0_hangs() {
    tick();
    let ports: Vec<_> = (1..=20).map(|port| port.to_string()).collect();
    let mut words = vec!["static"];
    words.extend(ports.iter().map(String::as_str));
    println!("{:?}", attempt(Filter::None, &words));
    thread::sleep(Duration::from_secs(600));
}

/// Frames go over the pages behind the mapping.
#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn more_frames_than_the_mapping_has_go_over_its_neighbours() {
    let said = attempt(Filter::None, &["count"]);
    assert_eq!(said[0], "MMAP_RESOURCE of 4 into 1: done");
    assert_ne!(said[1], "the page behind reads 0x5a");
}

/// The driver frees as many pages as the mapping has, of a list that is shorter.
#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn fewer_frames_than_the_mapping_has_corrupt_the_kernel() {
    all_done(&attempt(Filter::None, &["short"]));
}

#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn a_resource_mapped_twice_is_a_bug_of_the_kernel() {
    all_done(&attempt(Filter::None, &["twice"]));
}

/// MMAP takes a mapping of any kind for its own.
#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn a_mapping_that_is_not_privcmds_is_a_bug_of_the_kernel() {
    all_done(&attempt(Filter::None, &["foreign"]));
}

/// A mapping that is moved is freed where it was.
#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn a_moved_mapping_is_freed_while_it_is_used() {
    println!("{:?}", attempt(Filter::None, &["moved"]));
}

/// How many pages were pinned since the kernel started.
fn pinned() -> u64 {
    // Each processor counts for itself at first.
    fs::write("/proc/sys/vm/stat_refresh", "1").unwrap();
    let text = fs::read_to_string("/proc/vmstat").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("nr_foll_pin_acquired "));
    line.expect("Linux 5.7").parse().unwrap()
}

/// DM_OP is the device model's work, and its buffers are in memory: no filter sees them. The
/// driver pins from an empty one on, far more than its list has room for.
#[test]
#[ignore = "damages the machine: in a boot of its own"]
fn an_empty_buffer_pins_pages_without_end_with_the_filter_too() {
    let holes = PrivCmd::open().unwrap().kernel_holes();
    assert!(holes.contains(&KernelHole::DmOp), "{holes:?}");
    let before = pinned();
    // As many as there happens to be room for, though not in the list: the machine has to live
    // until that is said.
    let said = attempt(Filter::As("strict"), &["empty", "7"]);
    let pinned = pinned() - before;
    assert!(pinned >= 7, "{said:?}: {pinned}");
    println!("{said:?} to a confined program, and {pinned} pages pinned for one of a buffer");
}
