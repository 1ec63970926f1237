// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured, and the least that the same could cost.

use std::hint::black_box;

/// Does it so many times.
pub(crate) type Work = Box<dyn FnMut(u64)>;

/// Makes what the work needs: not measured.
pub(crate) type Prepare = Box<dyn Fn() -> Work>;

pub(crate) struct Operation {
    pub(crate) name: String,
    /// How often, to count what one takes.
    pub(crate) few: u64,
    pub(crate) own: Prepare,
    pub(crate) floor: Option<(&'static str, Prepare)>,
}

impl Operation {
    pub(crate) fn new(name: impl Into<String>, few: u64, own: impl Fn() -> Work + 'static) -> Self {
        Self {
            name: name.into(),
            few,
            own: Box::new(own),
            floor: None,
        }
    }

    /// Next to which it is measured.
    pub(crate) fn floor(mut self, what: &'static str, floor: impl Fn() -> Work + 'static) -> Self {
        self.floor = Some((what, Box::new(floor)));
        self
    }

    /// Next to a copy of as many bytes, which nobody knew before.
    pub(crate) fn copy(self, bytes: usize) -> Self {
        self.floor("memcpy", move || {
            let (from, mut to) = (vec![1_u8; bytes], vec![0_u8; bytes]);
            repeat(move || {
                let from = black_box(&from[..]);
                black_box(&mut to[..]).copy_from_slice(from);
            })
        })
    }

    /// Next to a copy of as many bytes, as the compiler makes it.
    pub(crate) fn value<const BYTES: usize>(self) -> Self {
        self.floor("copy", || {
            let from = [1_u8; BYTES];
            repeat(move || *black_box(&from))
        })
    }
}

/// What it returns is used.
pub(crate) fn repeat<R>(mut once: impl FnMut() -> R + 'static) -> Work {
    Box::new(move |times| {
        for _ in 0..times {
            black_box(once());
        }
    })
}
