// SPDX-License-Identifier: MIT OR Apache-2.0
//! A struct in front, a list behind it: in one piece of memory, without copies.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a head and `count` entries, and not less than `least`; `None` past
/// `usize::MAX`.
pub(crate) fn size<H, E>(count: usize, least: usize) -> Option<usize> {
    let size = count
        .checked_mul(size_of::<E>())?
        .checked_add(size_of::<H>())?;
    Some(size.max(least))
}

/// Writes head and entries to the start of `buffer`, and zeros up to `least`
/// bytes; returns what was written, `None` when there is no room, and then
/// nothing was.
pub(crate) fn encode<'b, H, E>(
    buffer: &'b mut [u8],
    head: &H,
    entries: &[E],
    least: usize,
) -> Option<&'b mut [u8]>
where
    H: IntoBytes + Immutable,
    E: IntoBytes + Immutable,
{
    let bytes = buffer.get_mut(..size::<H, E>(entries.len(), least)?)?;
    let (front, back) = bytes.split_at_mut(size_of::<H>());
    head.write_to(front).ok()?;
    let (list, padding) = back.split_at_mut(size_of_val(entries));
    entries.write_to(list).ok()?;
    padding.fill(0);
    Some(bytes)
}

/// Reads a head, and as many entries behind it as it says; `None` when there
/// are fewer, or when `bytes` is not aligned for them.
pub(crate) fn decode<H, E>(bytes: &[u8], count: impl FnOnce(&H) -> u32) -> Option<(&H, &[E])>
where
    H: FromBytes + KnownLayout + Immutable,
    E: FromBytes + Immutable,
{
    let (head, rest) = H::ref_from_prefix(bytes).ok()?;
    let length = usize::try_from(count(head)).ok()?;
    let length = length.checked_mul(size_of::<E>())?;
    let entries = <[E]>::ref_from_bytes(rest.get(..length)?).ok()?;
    Some((head, entries))
}
