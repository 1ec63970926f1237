// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's threads have one descriptor table, and no program has that. So a reaper that looks
//! at every process passes them over by one system call each.

use std::{fs, process::Command};

/// The first of them, which starts the others.
const KTHREADD: i32 = 2;
/// `KCMP_FILES` of `linux/kcmp.h`.
const KCMP_FILES: i32 = 2;
/// Of `linux/sched.h`.
const PF_KTHREAD: u64 = 0x0020_0000;

fn has_the_kernels_table(pid: i32) -> bool {
    // SAFETY: five numbers.
    unsafe { libc::syscall(libc::SYS_kcmp, KTHREADD, pid, KCMP_FILES, 0_usize, 0_usize) == 0 }
}

/// As the kernel says; none if it has ended.
fn is_the_kernels(pid: i32) -> Option<bool> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let flags: u64 = fields.split_whitespace().nth(6).unwrap().parse().unwrap();
    Some(flags & PF_KTHREAD != 0)
}

#[test]
fn no_program_has_the_descriptor_table_of_the_kernels_threads() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let (mut threads, mut with_it, mut programs) = (0, 0, 0);
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match (is_the_kernels(pid), has_the_kernels_table(pid)) {
            (Some(true), has) => {
                threads += 1;
                with_it += u32::from(has);
            }
            (Some(false), has) => {
                assert!(!has, "{pid}");
                programs += 1;
            }
            (None, _) => {}
        }
    }
    child.kill().unwrap();
    // It has none, until it is waited for.
    while !fs::read_to_string(format!("/proc/{}/stat", child.id()))
        .is_ok_and(|s| s.contains(") Z "))
    {
        std::thread::yield_now();
    }
    assert!(!has_the_kernels_table(child.id().cast_signed()));
    child.wait().unwrap();
    // Process 1, this one, and the child.
    assert!(programs >= 3, "{programs}");
    // Some take one of their own.
    assert!(
        threads > 20 && with_it * 10 >= threads * 9,
        "{with_it} of {threads}"
    );
}
