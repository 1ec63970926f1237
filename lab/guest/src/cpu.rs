// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions that Rust has no words for.

use core::arch::asm;

macro_rules! port {
    ($read:ident, $write:ident, $type:ty, $register:tt) => {
        pub(crate) fn $read(port: u16) -> $type {
            let value: $type;
            // SAFETY: the port belongs to no device that could touch memory.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                     options(nostack, preserves_flags));
            }
            value
        }
        pub(crate) fn $write(port: u16, value: $type) {
            // SAFETY: as above.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                     options(nostack, preserves_flags));
            }
        }
    };
}
port!(in8, out8, u8, "al");
port!(in16, out16, u16, "ax");
port!(in32, out32, u32, "eax");

pub(crate) fn timestamp() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

pub(crate) fn write_msr(msr: u32, value: u64) {
    // SAFETY: used once, for the MSR in which Xen takes the hypercall page's address.
    unsafe {
        asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32,
             options(nostack, preserves_flags));
    }
}
