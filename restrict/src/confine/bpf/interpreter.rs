// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs a program as the kernel would, on one system call.

use seccompiler::sock_filter;

use super::Arch;

pub(crate) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(crate) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
pub(crate) const NOTIFY: u32 = libc::SECCOMP_RET_USER_NOTIF;
pub(crate) const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
pub(crate) const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

const X86_64: u32 = 0xc000_003e;
const AARCH64: u32 = 0xc000_00b7;
pub(crate) const I386: u32 = 0x4000_0003;
pub(crate) const ARM: u32 = 0x4000_0028;

/// As the kernel's `seccomp_data` has it.
pub(crate) fn audit(arch: Arch) -> u32 {
    match arch {
        Arch::X86_64 => X86_64,
        Arch::Aarch64 => AARCH64,
    }
}

/// One program's answer.
pub(crate) fn run(program: &[sock_filter], audit: u32, call: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0; 64];
    data[..4].copy_from_slice(&call.to_ne_bytes());
    data[4..8].copy_from_slice(&audit.to_ne_bytes());
    for (at, argument) in arguments.iter().enumerate() {
        data[16 + 8 * at..][..8].copy_from_slice(&argument.to_ne_bytes());
    }
    let (mut at, mut register) = (0, 0_u32);
    loop {
        let i = &program[at];
        at += 1;
        let jump = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match u32::from(i.code) {
            0x20 => {
                let k = i.k as usize;
                register = u32::from_ne_bytes(data[k..k + 4].try_into().unwrap());
            }
            0x54 => register &= i.k,
            0x05 => at += i.k as usize,
            0x15 => at += jump(register == i.k),
            0x25 => at += jump(register > i.k),
            0x35 => at += jump(register >= i.k),
            0x06 => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}
