// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that somebody else writes to at any moment: a guest, Xen, or another
//! thread. It is copied with relaxed atomic accesses and never borrowed (a
//! `&[u8]` over it would promise that it does not change).
//!
//! Accesses of different sizes to the same bytes at the same time are outside
//! Rust's memory model; the processors this runs on define them.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Copies out of shared memory, eight bytes at a time where aligned; an aligned value of
/// two, four or eight bytes is read by one access.
///
/// # Safety
/// `from..from + into.len()` is mapped and readable during the call.
pub(crate) unsafe fn read(from: *const u8, into: &mut [u8]) {
    let (head, body) = split(from.addr(), into.len());
    let (into_head, rest) = into.split_at_mut(head);
    let (into_body, into_tail) = rest.split_at_mut(body);
    // SAFETY: the first `head` bytes of the caller's range.
    unsafe { read_piece(from, into_head) };
    for (i, word) in into_body.chunks_exact_mut(8).enumerate() {
        // SAFETY: eight bytes of the caller's range; `head` made them aligned.
        let value = unsafe { word_at(from, head + 8 * i) }.load(Relaxed);
        word.copy_from_slice(&value.to_ne_bytes());
    }
    // SAFETY: the rest of the caller's range.
    unsafe { read_piece(from.wrapping_add(head + body), into_tail) };
}

/// Copies into shared memory, eight bytes at a time where aligned; an aligned value of
/// two, four or eight bytes is written by one access.
///
/// # Safety
/// `to..to + from.len()` is mapped and writable during the call.
pub(crate) unsafe fn write(to: *mut u8, from: &[u8]) {
    let (head, body) = split(to.addr(), from.len());
    let (from_head, rest) = from.split_at(head);
    let (from_body, from_tail) = rest.split_at(body);
    // SAFETY: the first `head` bytes of the caller's range.
    unsafe { write_piece(to, from_head) };
    for (i, word) in from_body.chunks_exact(8).enumerate() {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        // SAFETY: eight bytes of the caller's range; `head` made them aligned.
        unsafe { word_at(to, head + 8 * i) }.store(u64::from_ne_bytes(value), Relaxed);
    }
    // SAFETY: the rest of the caller's range.
    unsafe { write_piece(to.wrapping_add(head + body), from_tail) };
}

/// The largest access of at most four bytes that is aligned and fits.
fn width(addr: usize, len: usize) -> usize {
    match len {
        4.. if addr.is_multiple_of(4) => 4,
        2.. if addr.is_multiple_of(2) => 2,
        _ => 1,
    }
}

/// Less than eight bytes.
///
/// # Safety
/// As [`read`].
unsafe fn read_piece(from: *const u8, into: &mut [u8]) {
    let mut rest = into;
    let mut from = from;
    while !rest.is_empty() {
        let length = width(from.addr(), rest.len());
        let (piece, behind) = rest.split_at_mut(length);
        match piece {
            [a, b, c, d] => {
                // SAFETY: four bytes of the caller's range, aligned.
                let value = unsafe { AtomicU32::from_ptr(from.cast_mut().cast()) }.load(Relaxed);
                [*a, *b, *c, *d] = value.to_ne_bytes();
            }
            [a, b] => {
                // SAFETY: two bytes of the caller's range, aligned.
                let value = unsafe { AtomicU16::from_ptr(from.cast_mut().cast()) }.load(Relaxed);
                [*a, *b] = value.to_ne_bytes();
            }
            other => {
                for byte in other {
                    // SAFETY: a byte of the caller's range.
                    *byte = unsafe { AtomicU8::from_ptr(from.cast_mut()) }.load(Relaxed);
                }
            }
        }
        from = from.wrapping_add(length);
        rest = behind;
    }
}

/// Less than eight bytes.
///
/// # Safety
/// As [`write`].
unsafe fn write_piece(to: *mut u8, from: &[u8]) {
    let mut rest = from;
    let mut to = to;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(width(to.addr(), rest.len()));
        match *piece {
            [a, b, c, d] => {
                let value = u32::from_ne_bytes([a, b, c, d]);
                // SAFETY: four bytes of the caller's range, aligned.
                unsafe { AtomicU32::from_ptr(to.cast()) }.store(value, Relaxed);
            }
            [a, b] => {
                let value = u16::from_ne_bytes([a, b]);
                // SAFETY: two bytes of the caller's range, aligned.
                unsafe { AtomicU16::from_ptr(to.cast()) }.store(value, Relaxed);
            }
            ref other => {
                for byte in other {
                    // SAFETY: a byte of the caller's range.
                    unsafe { AtomicU8::from_ptr(to) }.store(*byte, Relaxed);
                }
            }
        }
        to = to.wrapping_add(piece.len());
        rest = behind;
    }
}

/// # Safety
/// The eight bytes are mapped for 'a, and aligned to 8.
unsafe fn word_at<'a>(start: *const u8, offset: usize) -> &'a AtomicU64 {
    // SAFETY: by this function's contract; whoever else accesses it does so
    // atomically, or is outside this process.
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

    #[test]
    fn an_aligned_value_is_one_access() {
        for (addr, len, first) in [
            (0, 4, 4),
            (4, 4, 4),
            (12, 7, 4),
            (2, 4, 2),
            (6, 2, 2),
            (8, 1, 1),
            (4, 3, 2),
            (1, 7, 1),
        ] {
            assert_eq!(super::width(addr, len), first, "{len} bytes at {addr}");
        }
    }
}
