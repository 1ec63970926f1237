// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers that a seed determines, with those that programs get wrong among them.

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        let index = self.below(of.len() as u64);
        of[usize::try_from(index).unwrap()]
    }

    /// Below the bound, mostly; else anything.
    fn mostly_below(&mut self, bound: u64) -> u64 {
        if self.once_in(8) {
            self.word()
        } else {
            self.below(bound)
        }
    }

    pub(crate) fn u8(&mut self, bound: u8) -> u8 {
        self.mostly_below(bound.into()).to_le_bytes()[0]
    }

    pub(crate) fn u16(&mut self, bound: u16) -> u16 {
        let [low, high, ..] = self.mostly_below(bound.into()).to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    pub(crate) fn u32(&mut self, bound: u32) -> u32 {
        let bytes = self.mostly_below(bound.into()).to_le_bytes();
        u32::from_le_bytes(*bytes.first_chunk().unwrap())
    }

    /// A guest frame: one of the guest's 16 MB, next to them, or one that cannot be.
    pub(crate) fn gfn(&mut self) -> u64 {
        const EDGES: &[u64] = &[
            0,
            0x200,
            0x0fff,
            0x1000,
            0xf_0000,
            0xf_ee00,
            0xf_efff,
            0xf_ffff,
            0x10_0000,
            1 << 52,
            u64::MAX >> 12,
            u64::MAX - 1,
            u64::MAX,
        ];
        match self.below(8) {
            0 => self.one_of(EDGES),
            1 => self.below(1 << 20),
            // Not what lies between: a guest's memory that reaches so far has Xen look at
            // each frame below it, for hours.
            2 => self.word() | 1 << 52,
            _ => self.below(0x1000),
        }
    }

    /// A number of frames: never one that Xen would be busy with for long.
    pub(crate) fn frames(&mut self) -> u32 {
        const EDGES: &[u32] = &[0, 1, 255, 256, 257, 4096, 65_536];
        if self.once_in(2) {
            self.one_of(EDGES)
        } else {
            self.u32(64) & 0xffff
        }
    }
}
