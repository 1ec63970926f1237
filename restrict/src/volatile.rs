// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that somebody else writes to at any moment: shared with a guest or
//! with Xen. It is only ever copied, with volatile accesses, and never
//! borrowed (a `&[u8]` over it would promise that it does not change).

use std::ptr;

/// Copies out of shared memory, eight bytes at a time where aligned.
///
/// # Safety
/// `from..from + into.len()` is mapped and readable during the call.
pub(crate) unsafe fn read(from: *const u8, into: &mut [u8]) {
    let (head, body, tail) = split(from.addr(), into.len());
    let (into_head, rest) = into.split_at_mut(head);
    let (into_body, into_tail) = rest.split_at_mut(body);
    for (i, byte) in into_head.iter_mut().enumerate() {
        // SAFETY: i < head, inside the caller's range.
        *byte = unsafe { ptr::read_volatile(from.wrapping_add(i)) };
    }
    for (i, word) in into_body.chunks_exact_mut(8).enumerate() {
        let at = from.wrapping_add(head + 8 * i).cast::<u64>();
        // SAFETY: eight bytes of the caller's range; `head` made them aligned.
        let value = unsafe { ptr::read_volatile(at) };
        word.copy_from_slice(&value.to_ne_bytes());
    }
    for (i, byte) in into_tail.iter_mut().enumerate() {
        // SAFETY: head + body + i < into.len().
        *byte = unsafe { ptr::read_volatile(from.wrapping_add(head + body + i)) };
    }
    debug_assert_eq!(head + body + tail, into.len());
}

/// Copies into shared memory, eight bytes at a time where aligned.
///
/// # Safety
/// `to..to + from.len()` is mapped and writable during the call.
pub(crate) unsafe fn write(to: *mut u8, from: &[u8]) {
    let (head, body, _) = split(to.addr(), from.len());
    let (from_head, rest) = from.split_at(head);
    let (from_body, from_tail) = rest.split_at(body);
    for (i, byte) in from_head.iter().enumerate() {
        // SAFETY: i < head, inside the caller's range.
        unsafe { ptr::write_volatile(to.wrapping_add(i), *byte) };
    }
    for (i, word) in from_body.chunks_exact(8).enumerate() {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        let at = to.wrapping_add(head + 8 * i).cast::<u64>();
        // SAFETY: eight bytes of the caller's range; `head` made them aligned.
        unsafe { ptr::write_volatile(at, u64::from_ne_bytes(value)) };
    }
    for (i, byte) in from_tail.iter().enumerate() {
        // SAFETY: head + body + i < from.len().
        unsafe { ptr::write_volatile(to.wrapping_add(head + body + i), *byte) };
    }
}

/// Bytes up to alignment, whole words, and what is left.
fn split(addr: usize, len: usize) -> (usize, usize, usize) {
    let head = (addr.wrapping_neg() % 8).min(len);
    let body = (len - head) / 8 * 8;
    (head, body, len - head - body)
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
