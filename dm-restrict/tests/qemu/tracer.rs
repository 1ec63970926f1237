// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes a process's main thread issue system calls, as code would that was injected into it:
//! with its identity, filters, root directory and descriptors.

use std::{
    fs::{self, File, OpenOptions},
    mem,
    os::unix::fs::FileExt as _,
    ptr,
};

use nix::errno::Errno;

const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// Below what its stack has in use, and room for this.
const BELOW: u64 = 64 << 10;

/// While it lives, the thread does nothing of its own.
pub(crate) struct TakenOver {
    pid: i32,
    memory: File,
    before: libc::user_regs_struct,
    instruction: u64,
    free: u64,
}

impl TakenOver {
    pub(crate) fn new(pid: i32) -> Self {
        trace(libc::PTRACE_SEIZE, pid, 0);
        trace(libc::PTRACE_INTERRUPT, pid, 0);
        wait(pid);
        let path = format!("/proc/{pid}/mem");
        let memory = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let before = registers(pid);
        Self {
            pid,
            instruction: instruction(pid, &memory),
            memory,
            before,
            free: before.rsp - BELOW,
        }
    }

    /// Puts bytes, and a NUL, where it can read them.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.free;
        self.memory
            .write_all_at(&[bytes, &[0]].concat(), at)
            .unwrap();
        self.free += (bytes.len() as u64 + 1).next_multiple_of(16);
        at
    }

    /// The kernel's answer.
    pub(crate) fn call(&self, number: i64, arguments: [u64; 6]) -> Result<i64, Errno> {
        let mut regs = self.before;
        // Nothing is to be started again.
        regs.orig_rax = u64::MAX;
        regs.rip = self.instruction;
        regs.rax = number.cast_unsigned();
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = arguments;
        set_registers(self.pid, &regs);
        loop {
            trace(libc::PTRACE_SINGLESTEP, self.pid, 0);
            let status = wait(self.pid);
            if libc::WSTOPSIG(status) == libc::SIGTRAP {
                break;
            }
        }
        let answer = registers(self.pid).rax.cast_signed();
        match answer {
            -4095..0 => Err(Errno::from_raw(i32::try_from(-answer).unwrap())),
            value => Ok(value),
        }
    }
}

impl Drop for TakenOver {
    fn drop(&mut self) {
        set_registers(self.pid, &self.before);
        trace(libc::PTRACE_DETACH, self.pid, 0);
    }
}

/// The address of one in its C library.
fn instruction(pid: i32, memory: &File) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let of_libc = |line: &&str| line.contains(" r-xp ") && line.contains("libc.so");
    let line = maps.lines().find(of_libc).unwrap();
    let (begin, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
    let [begin, end] = [begin, end].map(|text| u64::from_str_radix(text, 16).unwrap());
    let mut code = vec![0; usize::try_from(end - begin).unwrap()];
    memory.read_exact_at(&mut code, begin).unwrap();
    let at = code.windows(2).position(|bytes| bytes == SYSCALL).unwrap();
    begin + at as u64
}

fn registers(pid: i32) -> libc::user_regs_struct {
    // SAFETY: numbers, of which zero is one.
    let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
    trace(libc::PTRACE_GETREGS, pid, (&raw mut regs).addr());
    regs
}

fn set_registers(pid: i32, regs: &libc::user_regs_struct) {
    trace(libc::PTRACE_SETREGS, pid, ptr::from_ref(regs).addr());
}

fn trace(request: libc::c_uint, pid: i32, data: usize) {
    // SAFETY: where `data` is an address, it is of the registers that the caller has.
    let result = unsafe { libc::ptrace(request, pid, 0_usize, data) };
    Errno::result(result).unwrap();
}

fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the kernel writes the status, which lives.
    let result = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    Errno::result(result).unwrap();
    assert!(libc::WIFSTOPPED(status), "it ended: {status:#x}");
    status
}
