// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a kernel does not have, by its own answer; and what no filter can close.

use std::{fs, os::fd::AsFd as _};

use nix::errno::Errno;
use xen_restrict::{EventChannel, KernelHole, PrivCmd};
use xen_sys::evtchn;

use crate::{
    alive::{Log, dom0_and_b_are_unharmed},
    probe::{Filter, a, alone, attempt, linux},
};

/// Since Linux 6.6. Asked with a port that cannot be.
#[test]
fn bind_static_is_there_by_version() {
    use std::os::fd::AsRawFd as _;
    let events = EventChannel::open().unwrap().restrict(a()).unwrap();
    let mut impossible = evtchn::BindStatic { port: u32::MAX };
    let number = libc::Ioctl::from(evtchn::BIND_STATIC.number());
    let fd = events.as_fd().as_raw_fd();
    // SAFETY: number and argument belong together, and the argument lives.
    let answer = Errno::result(unsafe { libc::ioctl(fd, number, &raw mut impossible) });
    let (expected, words) = match linux() {
        version if version < (6, 6) => (Errno::ENOSYS, "has no BIND_STATIC"),
        _ => (Errno::ENOMEM, "has BIND_STATIC, unchecked"),
    };
    assert_eq!(answer, Err(expected), "Linux {:?}", linux());
    println!("Linux {:?} {words}: {expected:?}", linux());
}

/// Told by the driver's answer to a buffer that has nothing behind it.
#[test]
fn empty_buffers_are_pinned_by_version() {
    let holes = PrivCmd::open()
        .unwrap()
        .restrict(a())
        .unwrap()
        .kernel_holes();
    let is_open = holes.contains(&KernelHole::DmOp);
    println!("Linux {:?}: an empty buffer is pinned: {is_open}", linux());
    assert_eq!(is_open, linux() != (6, 12));
}

/// Pages that the kernel has taken for itself and programs, since it started.
fn allocated() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap();
    let counts = text
        .lines()
        .filter(|line| line.starts_with("pgalloc_"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    counts.sum()
}

/// MMAPBATCH_V2 is a device model's work, and its count is in memory: a filter cannot see it.
/// The limit of the address space alone bounds it.
#[test]
fn the_array_of_a_batch_takes_the_kernels_memory_with_the_filter_too() {
    const MIB: u64 = 16;
    let _alone = alone();
    let log = Log::look();
    for filter in [Filter::None, Filter::As("strict"), Filter::As("libxl")] {
        let took = |words: &[&str]| {
            let before = allocated();
            assert_eq!(attempt(filter, words), ["MMAPBATCH_V2: EINVAL", "over"]);
            allocated() - before
        };
        let (little, much) = (took(&["batch", "1"]), took(&["batch", "16"]));
        assert!(
            much > little + MIB * 256 / 2,
            "{filter:?}: {little}, {much}"
        );
        println!(
            "{filter:?}: {MIB} MiB of zeros, {} MiB taken",
            (much - little) / 256
        );
    }
    dom0_and_b_are_unharmed(&log);
}
