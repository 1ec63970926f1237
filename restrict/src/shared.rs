// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that somebody else writes to at any moment: a guest, Xen, or another
//! thread. It is copied with relaxed atomic accesses and never borrowed (a
//! `&[u8]` over it would promise that it does not change).
//!
//! Accesses of different sizes to the same bytes at the same time are outside
//! Rust's memory model; the processors this runs on define them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Copies out of shared memory, eight bytes at a time where aligned.
///
/// # Safety
/// `from..from + into.len()` is mapped and readable during the call.
pub(crate) unsafe fn read(from: *const u8, into: &mut [u8]) {
    let (head, body) = split(from.addr(), into.len());
    let (into_head, rest) = into.split_at_mut(head);
    let (into_body, into_tail) = rest.split_at_mut(body);
    for (i, byte) in into_head.iter_mut().enumerate() {
        // SAFETY: i < head, inside the caller's range.
        *byte = unsafe { byte_at(from, i) }.load(Relaxed);
    }
    for (i, word) in into_body.chunks_exact_mut(8).enumerate() {
        // SAFETY: eight bytes of the caller's range; `head` made them aligned.
        let value = unsafe { word_at(from, head + 8 * i) }.load(Relaxed);
        word.copy_from_slice(&value.to_ne_bytes());
    }
    for (i, byte) in into_tail.iter_mut().enumerate() {
        // SAFETY: head + body + i < into.len().
        *byte = unsafe { byte_at(from, head + body + i) }.load(Relaxed);
    }
}

/// Copies into shared memory, eight bytes at a time where aligned.
///
/// # Safety
/// `to..to + from.len()` is mapped and writable during the call.
pub(crate) unsafe fn write(to: *mut u8, from: &[u8]) {
    let (head, body) = split(to.addr(), from.len());
    let (from_head, rest) = from.split_at(head);
    let (from_body, from_tail) = rest.split_at(body);
    for (i, byte) in from_head.iter().enumerate() {
        // SAFETY: i < head, inside the caller's range.
        unsafe { byte_at(to, i) }.store(*byte, Relaxed);
    }
    for (i, word) in from_body.chunks_exact(8).enumerate() {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        // SAFETY: eight bytes of the caller's range; `head` made them aligned.
        unsafe { word_at(to, head + 8 * i) }.store(u64::from_ne_bytes(value), Relaxed);
    }
    for (i, byte) in from_tail.iter().enumerate() {
        // SAFETY: head + body + i < from.len().
        unsafe { byte_at(to, head + body + i) }.store(*byte, Relaxed);
    }
}

/// # Safety
/// The byte is mapped for 'a.
unsafe fn byte_at<'a>(start: *const u8, offset: usize) -> &'a AtomicU8 {
    // SAFETY: by this function's contract; whoever else accesses it does so
    // atomically, or is outside this process.
    unsafe { AtomicU8::from_ptr(start.wrapping_add(offset).cast_mut()) }
}

/// # Safety
/// The eight bytes are mapped for 'a, and aligned to 8.
unsafe fn word_at<'a>(start: *const u8, offset: usize) -> &'a AtomicU64 {
    // SAFETY: by this function's contract; as above.
    unsafe { AtomicU64::from_ptr(start.wrapping_add(offset).cast_mut().cast()) }
}

/// Bytes up to alignment, and bytes of whole words behind them.
fn split(addr: usize, len: usize) -> (usize, usize) {
    let head = (addr.wrapping_neg() % 8).min(len);
    (head, (len - head) / 8 * 8)
}

#[cfg(test)]
mod tests {
    #[test]
    fn copies_are_exact_at_every_offset_and_length() {
        let source: Vec<u8> = (0..64).map(|i| i * 3 + 1).collect();
        for start in 0..16 {
            for len in 0..=40 {
                let mut out = vec![0; len];
                // SAFETY: start + len <= 56 of 64 bytes.
                unsafe { super::read(source.as_ptr().wrapping_add(start), &mut out) };
                assert_eq!(out, source[start..start + len]);

                let mut target = vec![0u8; 64];
                // SAFETY: as above.
                unsafe { super::write(target.as_mut_ptr().wrapping_add(start), &out) };
                assert_eq!(target[start..start + len], out);
                assert!(target[..start].iter().all(|b| *b == 0));
                assert!(target[start + len..].iter().all(|b| *b == 0));
            }
        }
    }
}
