// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists that a struct points to: `dm_op` buffers, frame numbers, errors, copy
//! segments. Seen as bytes in place.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::tail;

/// Writes entries to the start of `buffer` and returns what was written;
/// `None` when there is no room, and then nothing was.
///
/// ```
/// use xen_sys::{list, privcmd::DmOpBuf};
/// let mut buffer = [0; 40];
/// let one = [DmOpBuf { uptr: 0x1000, size: 8 }];
/// assert_eq!(list::encode(&mut buffer, &one).map(|bytes| bytes.len()), Some(16));
/// assert!(list::encode(&mut buffer, &[one[0]; 3]).is_none());
/// ```
#[must_use]
pub fn encode<'b, E: IntoBytes + Immutable>(
    buffer: &'b mut [u8],
    entries: &[E],
) -> Option<&'b mut [u8]> {
    tail::encode(buffer, &(), entries, 0)
}

/// Reads `count` entries; `None` when there are fewer, or when `bytes` is not
/// aligned for them.
#[must_use]
pub fn decode<E: FromBytes + Immutable>(bytes: &[u8], count: u32) -> Option<&[E]> {
    tail::decode::<(), E>(bytes, |()| count).map(|((), entries)| entries)
}
