// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any seccomp filter: what is found for calls of which not everything is
//! known is not stricter than what the kernel does with any one of them.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use super::{
    program::{Answer, Call, Instruction, Program, meaning},
    requests::{Requests, answer},
};

/// The most that the kernel loads is 4096; as many show no more.
const LONGEST: usize = 200;
/// The kernel's `struct seccomp_data`.
const DATA: usize = 64;

/// The call's 64 bytes, and the instructions.
pub fn seccomp_filter(bytes: &[u8]) {
    let Some((data, rest)) = bytes.split_first_chunk::<DATA>() else {
        return;
    };
    let program: Program = rest
        .chunks_exact(8)
        .take(LONGEST)
        .map(instruction)
        .collect();
    let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| data[at + byte]));
    let low_half = if cfg!(target_endian = "little") {
        24
    } else {
        28
    };
    let call = Call {
        number: word(0),
        arch: word(4),
        request: Some(word(low_half)),
    };
    let programs = std::slice::from_ref(&program);
    let found = answer(programs, call);
    // What is the same for all requests is the same for this one, too.
    let of_any = Call {
        request: None,
        ..call
    };
    let requests = Requests::of(programs, of_any);
    let other = word(low_half).swap_bytes();
    for request in [other, word(low_half), other] {
        let call = Call {
            request: Some(request),
            ..call
        };
        let again = requests.answer(call.request);
        assert_eq!(again, answer(programs, call), "{program:?}");
    }
    if !is_loadable(&program) {
        return;
    }
    let real = meaning(Some(run(&program, data)));
    assert!(
        found >= real,
        "{found:?} of {program:?}, and the kernel: {real:?}"
    );
    // With others: never less strict than the strictest.
    let refusing = vec![Instruction::of(0x06, 0, 0, libc::SECCOMP_RET_KILL_PROCESS)];
    assert_eq!(answer(&[program.clone(), refusing], call), Answer::Refused);
    assert_eq!(answer(&[program.clone(), program], call), found);
}

fn instruction(bytes: &[u8]) -> Instruction {
    let k = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    Instruction::of(
        u16::from_ne_bytes([bytes[0], bytes[1]]),
        bytes[2],
        bytes[3],
        k,
    )
}

/// Linux's `bpf_check_classic` and `seccomp_check_filter`.
fn is_loadable(program: &Program) -> bool {
    let ends = program
        .last()
        .is_some_and(|last| matches!(last.fields().0, 0x06 | 0x16));
    let fine = |(at, i): (usize, &Instruction)| {
        let (code, jt, jf, k) = i.fields();
        let reaches = |offset: usize| at + 1 + offset < program.len();
        match code {
            0x20 => k % 4 == 0 && (k as usize) < DATA,
            0x60 | 0x61 | 0x02 | 0x03 => k < 16,
            0x00 | 0x80 | 0x01 | 0x81 | 0x07 | 0x87 | 0x84 | 0x06 | 0x16 => true,
            0x34 => k != 0,
            0x64 | 0x74 => k < 32,
            0x04 | 0x14 | 0x24 | 0x44 | 0x54 | 0xa4 => true,
            0x0c | 0x1c | 0x2c | 0x3c | 0x4c | 0x5c | 0x6c | 0x7c | 0xac => true,
            0x05 => k < 4096 && reaches(k as usize),
            0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d | 0x45 | 0x4d => {
                reaches(jt.into()) && reaches(jf.into())
            }
            _ => false,
        }
    };
    ends && program.iter().enumerate().all(fine)
}

/// As the kernel does: a division by zero ends it with 0, shifts take five bits. Memory
/// that was not written is 0 here; the kernel loads no program that reads it.
fn run(program: &Program, data: &[u8; DATA]) -> u32 {
    let (mut at, mut a, mut x, mut memory) = (0, 0_u32, 0_u32, [0_u32; 16]);
    loop {
        let (code, jt, jf, k) = program[at].fields();
        at += 1;
        let cell = k as usize;
        let operand = if code & 0x08 == 0 { k } else { x };
        let jump = |taken: bool| usize::from(if taken { jt } else { jf });
        match code {
            0x20 => a = u32::from_ne_bytes([0, 1, 2, 3].map(|byte| data[cell + byte])),
            0x00 => a = k,
            0x60 => a = memory[cell],
            0x80 => a = 64,
            0x01 => x = k,
            0x61 => x = memory[cell],
            0x81 => x = 64,
            0x02 => memory[cell] = a,
            0x03 => memory[cell] = x,
            0x07 => x = a,
            0x87 => a = x,
            0x84 => a = a.wrapping_neg(),
            0x06 => return k,
            0x16 => return a,
            0x05 => at += cell,
            0x04 | 0x0c => a = a.wrapping_add(operand),
            0x14 | 0x1c => a = a.wrapping_sub(operand),
            0x24 | 0x2c => a = a.wrapping_mul(operand),
            0x34 | 0x3c => match a.checked_div(operand) {
                Some(quotient) => a = quotient,
                None => return 0,
            },
            0x44 | 0x4c => a |= operand,
            0x54 | 0x5c => a &= operand,
            0x64 | 0x6c => a = a.wrapping_shl(operand),
            0x74 | 0x7c => a = a.wrapping_shr(operand),
            0xa4 | 0xac => a ^= operand,
            0x15 | 0x1d => at += jump(a == operand),
            0x25 | 0x2d => at += jump(a > operand),
            0x35 | 0x3d => at += jump(a >= operand),
            0x45 | 0x4d => at += jump(a & operand != 0),
            other => unreachable!("{other:#x} is not loaded"),
        }
    }
}
