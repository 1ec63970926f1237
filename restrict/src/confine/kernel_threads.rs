// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which of the machine's processes are threads of the kernel's: most, where little runs. For who
//! looks at all of them, one system call tells, where `/proc/PID/status` takes the kernel some ten
//! times as long.

use nix::errno::Errno;

use super::proc_file::whole;
use crate::audit::status::Stat;

/// `kthreadd`, in the machine's first pid namespace: it starts the others.
const FIRST: i32 = 2;
/// `KCMP_FILES` of Linux's `linux/kcmp.h`.
const KCMP_FILES: libc::c_long = 2;

/// That they can be told from others.
pub(crate) struct KernelThreads {
    told: bool,
}

impl KernelThreads {
    /// Asks for the first. Without `kcmp` (`CONFIG_KCMP`), or the right to it (`CAP_SYS_PTRACE`),
    /// none is known.
    pub(crate) fn look() -> Self {
        let stat = whole(format!("/proc/{FIRST}/stat")).ok();
        let is_kernels = stat.is_some_and(|stat| Stat::parse(&stat).is_some_and(|s| s.is_kernels));
        Self {
            told: is_kernels && shares_files(FIRST, FIRST),
        }
    }

    /// Whether it is certainly one. Of some that are, it is not known.
    ///
    /// It has the descriptor table of the first. No program has that: the kernel gives a process a
    /// table of its own before it executes its first one; and who has ended has none.
    pub(crate) fn has(&self, pid: i32) -> bool {
        self.told && shares_files(FIRST, pid)
    }
}

fn shares_files(one: i32, other: i32) -> bool {
    // SAFETY: five numbers.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0_usize, 0_usize) };
    Errno::result(order) == Ok(0)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::process::CommandExt as _, process::Command};

    use super::*;

    fn stat(pid: i32) -> Option<Stat> {
        Stat::parse(&whole(format!("/proc/{pid}/stat")).ok()?)
    }

    fn pids() -> impl Iterator<Item = i32> {
        let entries = fs::read_dir("/proc").unwrap();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
    }

    /// In a container there is none.
    #[test]
    fn none_but_the_kernels_is_taken_for_one() {
        let threads = KernelThreads::look();
        let (mut kernels, mut known) = (0, 0);
        for pid in pids() {
            let has = threads.has(pid);
            let Some(stat) = stat(pid) else { continue };
            assert!(!has || stat.is_kernels, "{pid}");
            kernels += usize::from(stat.is_kernels);
            known += usize::from(has);
        }
        // The rest are those that have taken a table of their own.
        assert!(known * 2 >= kernels, "{known} of {kernels}");
    }

    #[test]
    fn no_program_is_one_whoever_started_it_and_however_it_ends() {
        let threads = KernelThreads::look();
        let this = std::process::id().cast_signed();
        assert!(!threads.has(this) && !threads.has(1) && !threads.has(i32::MAX));
        let mut child = Command::new("sleep").arg("60").uid(4711).spawn().unwrap();
        let pid = child.id().cast_signed();
        assert!(!threads.has(pid));
        child.kill().unwrap();
        // Not waited for yet: it has no table any more.
        while !has_ended(pid) {
            std::thread::yield_now();
        }
        assert!(!threads.has(pid));
        child.wait().unwrap();
        assert!(!threads.has(pid));
    }

    fn has_ended(pid: i32) -> bool {
        let status = whole(format!("/proc/{pid}/status")).unwrap();
        crate::audit::status::Status::parse(&status).is_none_or(|status| status.has_ended())
    }

    #[test]
    fn where_the_kernel_is_not_asked_none_is_known() {
        let untold = KernelThreads { told: false };
        assert!(pids().all(|pid| !untold.has(pid)));
    }
}
