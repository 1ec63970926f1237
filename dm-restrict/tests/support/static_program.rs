// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that needs nothing: no loader, no library, no C library's start. Its first
//! instruction is its own.
//!
//! It makes the file that its first argument names; stays if there is a second one; ends
//! with 42.

use std::path::Path;

use super::programs;

/// What it ends with.
pub(crate) const CODE: i32 = 42;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .rodata.static_program",
    ".global static_program_begin",
    ".global static_program_end",
    "static_program_begin:",
    "mov rdi, [rsp + 16]",
    "mov esi, 0x41", // O_WRONLY | O_CREAT
    "mov edx, 0x180",
    "mov eax, 2", // open
    "syscall",
    "mov rax, [rsp]",
    "cmp rax, 3",
    "jb 2f",
    "mov eax, 34", // pause
    "syscall",
    "2:",
    "mov edi, 42",
    "mov eax, 60", // exit
    "syscall",
    "static_program_end:",
    ".popsection",
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .rodata.static_program",
    ".global static_program_begin",
    ".global static_program_end",
    "static_program_begin:",
    "ldr x1, [sp, #16]",
    "mov x0, #-100",
    "mov x2, #0x41",
    "mov x3, #0x180",
    "mov x8, #56", // openat
    "svc #0",
    "ldr x9, [sp]",
    "cmp x9, #3",
    "b.lo 2f",
    "mov x0, #0",
    "mov x1, #0",
    "mov x2, #0",
    "mov x3, #0",
    "mov x8, #73", // ppoll
    "svc #0",
    "2:",
    "mov x0, #42",
    "mov x8, #93", // exit
    "svc #0",
    "static_program_end:",
    ".popsection",
);

unsafe extern "C" {
    static static_program_begin: u8;
    static static_program_end: u8;
}

/// Where it is loaded: the whole file, headers too.
const ADDRESS: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// Writes it.
pub(crate) fn write(path: &Path) {
    let (begin, end) = (
        &raw const static_program_begin,
        &raw const static_program_end,
    );
    // SAFETY: both are of the one piece of assembly above, in this order.
    let code = unsafe { std::slice::from_raw_parts(begin, end.addr() - begin.addr()) };
    let size = HEADERS + code.len() as u64;
    let machine: u16 = if cfg!(target_arch = "x86_64") {
        62
    } else {
        183
    };

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(2_u16.to_le_bytes()); // executable
    file.extend(machine.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    file.extend((ADDRESS + HEADERS).to_le_bytes()); // entry
    file.extend(64_u64.to_le_bytes()); // program headers
    file.extend([0; 12]); // no sections; no flags
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [1_u32, 5] {
        file.extend(word.to_le_bytes()); // to be loaded, readable and executable
    }
    for word in [0, ADDRESS, ADDRESS, size, size, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    programs::write(path, &file);
}
