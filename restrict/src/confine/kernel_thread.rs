// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads of the kernel: most of what /proc lists on a machine with little to do.

use std::{fs::File, io::Read as _};

/// `PF_KTHREAD` of Linux's `linux/sched.h`.
const KERNELS: u32 = 0x0020_0000;

/// Whether a process is one: root's, with no parent but the kernel's, in the machine's first
/// namespaces. No process can say so of itself.
///
/// By three system calls: looking at one as at others takes some ten.
pub(crate) fn is_kernels(pid: i32) -> bool {
    let mut text = [0; 256];
    // The kernel writes all that there is room for; the name is short.
    let length = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text));
    length.is_ok_and(|length| is_of_kernel(text.get(..length).unwrap_or_default()))
}

/// By field 9 of `/proc/PID/stat`. The name, field 2, may contain anything, ") " too: of what is
/// cut off, the last `)` is still its end.
fn is_of_kernel(stat: &[u8]) -> bool {
    let flags = || {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = str::from_utf8(stat.get(end + 1..)?).ok()?;
        rest.split_ascii_whitespace().nth(6)?.parse::<u32>().ok()
    };
    flags().is_some_and(|flags| flags & KERNELS != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_makes_a_process_the_kernels() {
        assert!(is_of_kernel(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0"));
        for stat in [
            &b"7 (a) S 0 0 0 0 -1 2129984 0 0) S 1 1 1 0 -1 4194560 0 0"[..],
            b"7 (a) S 1 1 1 0 -1 4194560 0 0",
            b"7 (a) S 1 1",
            b"7 (a",
            b"",
        ] {
            assert!(!is_of_kernel(stat));
        }
        assert!(!is_kernels(std::process::id().cast_signed()));
    }
}
