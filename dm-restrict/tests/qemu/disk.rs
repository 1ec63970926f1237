// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk to boot from. Its first sector is the guest: it says so on its serial port, reads and
//! writes the next sector through the firmware, as often as it is told to, and says what it
//! read. If there is a third sector (network.rs), it calls that, and says what comes of it.

use std::{arch::global_asm, fs, path::Path, ptr};

/// What the guest says when it runs, and at the end.
pub(crate) const BOOTED: &str = "booted\n";
pub(crate) const DONE: &str = "\ndone\n";
/// On the second sector, for the guest to say.
pub(crate) const TEXT: &str = "hello from the disk";
/// So often the sector is read and written, if not said otherwise.
pub(crate) const TIMES: u16 = 50;

pub(crate) const SECTOR: usize = 512;
/// Where in its sector the guest counts.
const COUNT: usize = 0x100;
/// Where in the first it finds how often.
const HOW_OFTEN: usize = 0x1fc;

global_asm!(
    ".pushsection .rodata",
    ".globl boot_sector",
    "boot_sector:",
    ".code16",
    "cli",
    "xor ax, ax",
    "mov ds, ax",
    "mov es, ax",
    "mov ss, ax",
    "mov sp, 0x7c00",
    "sti",
    "mov di, dx", // the disk's number
    "call 2f",
    ".asciz \"booted\\n\"",
    "2: pop si",
    "call 60f",
    "mov bp, word ptr [0x7c00 + {how_often}]",
    "3:",
    "mov ax, 0x0201", // read one sector
    "call 50f",
    "inc word ptr [0x8100]",
    "mov ax, 0x0301", // write it
    "call 50f",
    "dec bp",
    "jnz 3b",
    "mov si, 0x8000",
    "call 60f",
    "mov ax, 0x0201",
    "mov bx, 0x8400",
    "mov cl, 3",
    "call 53f",
    "cmp byte ptr [bx], 0",
    "je 3f",
    "call bx",
    "call 60f",
    "3: call 4f",
    ".asciz \"\\ndone\\n\"",
    "4: pop si",
    "5: call 60f",
    "6: hlt",
    "jmp 6b",
    // The second sector, to or from 0x8000.
    "50: mov bx, 0x8000",
    "mov cl, 2",
    "53: xor ch, ch",
    "mov dx, di",
    "xor dh, dh",
    "int 0x13",
    "jc 51f",
    "ret",
    "51: call 52f",
    ".asciz \"the disk failed\\n\"",
    "52: pop si",
    "jmp 5b",
    // Says what SI points to.
    "60: mov cl, [si]",
    "inc si",
    "test cl, cl",
    "jz 62f",
    "mov dx, 0x3fd",
    "61: in al, dx",
    "test al, 0x20",
    "jz 61b",
    "mov dx, 0x3f8",
    "mov al, cl",
    "out dx, al",
    "jmp 60b",
    "62: ret",
    ".globl boot_sector_end",
    "boot_sector_end:",
    ".code64",
    ".popsection",
    how_often = const HOW_OFTEN,
);

unsafe extern "C" {
    static boot_sector: u8;
    static boot_sector_end: u8;
}

fn code() -> Vec<u8> {
    let (begin, end) = (&raw const boot_sector, &raw const boot_sector_end);
    let length = end.addr() - begin.addr();
    assert!(length <= HOW_OFTEN, "{length} bytes are too many");
    // SAFETY: the bytes between the two symbols, which are in one section of this program.
    unsafe { ptr::slice_from_raw_parts(begin, length).as_ref() }
        .unwrap()
        .to_vec()
}

/// Makes one.
pub(crate) fn make(path: &Path, times: u16) {
    let mut disk = vec![0; 2 << 20];
    let code = code();
    disk[..code.len()].copy_from_slice(&code);
    disk[HOW_OFTEN..][..2].copy_from_slice(&times.to_le_bytes());
    disk[SECTOR - 2..SECTOR].copy_from_slice(&[0x55, 0xaa]);
    disk[SECTOR..SECTOR + TEXT.len()].copy_from_slice(TEXT.as_bytes());
    fs::write(path, disk).unwrap();
}

/// What the guest counted there.
pub(crate) fn count(path: &Path) -> u16 {
    let disk = fs::read(path).unwrap();
    u16::from_le_bytes([disk[SECTOR + COUNT], disk[SECTOR + COUNT + 1]])
}
