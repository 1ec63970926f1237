// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a confined process and its broker say to each other, over a `SOCK_SEQPACKET`
//! socket: one message is one request, answered by one message. `docs/grant-broker.md`
//! has the same in words.
//!
//! No request has a domid: there is one guest.

use std::mem::size_of;

use nix::errno::Errno;
use xen_sys::gntdev::{GrantCopyFlags, UnmapNotifyAction};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Of both sides; another is refused.
pub const VERSION: u16 = 1;
/// Most references of a [`Request::Map`].
pub const MAX_GRANTS: usize = 4096;
/// Most segments of a [`Request::Copy`].
pub const MAX_SEGMENTS: usize = 256;
/// Bytes of the memory that both share, for copies.
pub const COPY_BYTES: usize = 1 << 20;
/// Bytes of the longest request.
pub const LONGEST: usize = size_of::<Head>() + MAX_GRANTS * size_of::<u32>();
/// Bytes of the longest answer.
pub const LONGEST_ANSWER: usize = size_of::<Answer>() + MAX_SEGMENTS * size_of::<i16>();

/// A [`Head::tag`]: the request is not answered.
pub const NOBODY_WAITS: u32 = 0;

const PAGE: u64 = 4096;

/// What is asked for: [`Head::operation`].
pub mod operation {
    /// [`Terms`](super::Terms).
    pub const TERMS: u16 = 0;
    /// Reserves an index for granted pages, to be mapped by mmap.
    pub const MAP: u16 = 1;
    /// Gives an index back.
    pub const UNMAP: u16 = 2;
    /// Says what happens when the pages of an index are unmapped.
    pub const NOTIFY: u16 = 3;
    /// Copies between granted pages and the shared memory.
    pub const COPY: u16 = 4;
}

/// The first 16 bytes of a request.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Head {
    /// [`VERSION`].
    pub version: u16,
    /// One of [`operation`].
    pub operation: u16,
    /// Comes back in the answer; [`NOBODY_WAITS`] if there is to be none.
    pub tag: u32,
    /// Of what follows, or pages of an index.
    pub count: u32,
    /// Zero.
    pub zero: u32,
}

/// What follows the head of [`operation::NOTIFY`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Notify {
    /// The answer of [`operation::MAP`].
    pub index: u64,
    /// Of the byte that is cleared, from the first page on.
    pub offset: u64,
    /// [`UnmapNotifyAction`].
    pub action: u32,
    /// The local port that sends; bound at the process's own event channel handle.
    pub port: u32,
}

/// One copy, of at most a page.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Segment {
    /// Where from.
    pub source: Place,
    /// Where to.
    pub dest: Place,
    /// Bytes.
    pub length: u16,
    /// [`GrantCopyFlags`]: which of the two is a grant; one at least.
    pub flags: u16,
}

/// A granted page, or the shared memory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Place {
    /// A grant reference; or an offset in the shared memory.
    pub at: u32,
    /// Offset in the granted page; zero in the shared memory.
    pub offset: u16,
    /// Zero.
    pub zero: u16,
}

/// The first 24 bytes of an answer. [`Terms`], or an `i16` (`GNTST_*`) for each segment of
/// a copy, follow.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Answer {
    /// [`VERSION`].
    pub version: u16,
    /// That of the request.
    pub operation: u16,
    /// That of the request.
    pub tag: u32,
    /// 0, or an error number as in `errno(3)`.
    pub error: u32,
    /// Of what follows.
    pub count: u32,
    /// The index, of [`operation::MAP`].
    pub value: u64,
}

/// What the broker grants.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Terms {
    /// The guest's domid.
    pub guest: u32,
    /// Pages that can be mapped at a time.
    pub quota: u32,
    /// [`MAX_GRANTS`] of this broker.
    pub max_grants: u32,
    /// [`MAX_SEGMENTS`] of this broker.
    pub max_segments: u32,
    /// Bytes of the shared memory.
    pub copy_bytes: u32,
    /// Zero.
    pub zero: u32,
}

/// A request that has the form of one. What it names may not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'m> {
    /// Asks for the terms.
    Terms,
    /// Grant references, 1 to [`MAX_GRANTS`].
    Map(&'m [u32]),
    /// An index and its pages.
    Unmap {
        /// The answer of [`operation::MAP`].
        index: u64,
        /// References it was made of.
        count: u32,
    },
    /// The same, with what is to happen.
    Notify {
        /// References that the index was made of.
        count: u32,
        /// The rest.
        notify: &'m Notify,
    },
    /// Segments, 1 to [`MAX_SEGMENTS`], each within its page or the shared memory.
    Copy(&'m [Segment]),
}

/// Not a message of this protocol: whoever sends it is not to be talked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Shorter or longer than its head says, or than any.
    #[error("a message of {0} bytes, which is not the length of what it says it is")]
    Length(usize),
    /// Of another version.
    #[error("a message of version {0}, not {VERSION}")]
    Version(u16),
    /// No such operation.
    #[error("a message with operation {0}, which there is not")]
    Operation(u16),
    /// A field that has to be zero is not.
    #[error("a message with bits set that mean nothing")]
    NotZero,
}

/// A request, or what to answer it at once: the form is right, and it can never be done.
pub type Decoded<'m> = Result<Request<'m>, Errno>;

/// Reads a request.
///
/// # Errors
/// [`Malformed`]; also where `message` is not aligned to 8.
pub fn decode(message: &[u8]) -> Result<(Head, Decoded<'_>), Malformed> {
    let length = || Malformed::Length(message.len());
    let (head, rest) = Head::ref_from_prefix(message).map_err(|_| length())?;
    if head.version != VERSION {
        return Err(Malformed::Version(head.version));
    }
    if head.zero != 0 {
        return Err(Malformed::NotZero);
    }
    let count = usize::try_from(head.count).map_err(|_| length())?;
    let decoded = match head.operation {
        operation::TERMS if rest.is_empty() && count == 0 => Ok(Request::Terms),
        operation::MAP => {
            let grants = <[u32]>::ref_from_bytes_with_elems(rest, count).map_err(|_| length())?;
            match count {
                1..=MAX_GRANTS => Ok(Request::Map(grants)),
                _ => Err(Errno::EINVAL),
            }
        }
        operation::UNMAP => {
            let index = *u64::ref_from_bytes(rest).map_err(|_| length())?;
            let count = head.count;
            Ok(Request::Unmap { index, count })
        }
        operation::NOTIFY => {
            let notify = Notify::ref_from_bytes(rest).map_err(|_| length())?;
            may_be(head.count, notify)
        }
        operation::COPY => {
            let segments =
                <[Segment]>::ref_from_bytes_with_elems(rest, count).map_err(|_| length())?;
            match count {
                1..=MAX_SEGMENTS if segments.iter().all(fits) => Ok(Request::Copy(segments)),
                _ => Err(Errno::EINVAL),
            }
        }
        operation::TERMS => return Err(length()),
        other => return Err(Malformed::Operation(other)),
    };
    Ok((*head, decoded))
}

fn may_be(count: u32, notify: &Notify) -> Decoded<'_> {
    let known = UnmapNotifyAction::from_bits(notify.action).is_some();
    let within = notify.offset < u64::from(count) * PAGE;
    match known && within {
        true => Ok(Request::Notify { count, notify }),
        false => Err(Errno::EINVAL),
    }
}

/// Whether both ends are within the page, or the shared memory.
fn fits(segment: &Segment) -> bool {
    let Some(flags) = GrantCopyFlags::from_bits(segment.flags) else {
        return false;
    };
    let length = u64::from(segment.length);
    let within = |place: &Place, granted| {
        let (offset, end) = match granted {
            true => (u64::from(place.offset), PAGE),
            false if place.offset == 0 => (u64::from(place.at), COPY_BYTES as u64),
            false => return false,
        };
        place.zero == 0 && offset + length <= end
    };
    !flags.is_empty()
        && length <= PAGE
        && within(&segment.source, flags.contains(GrantCopyFlags::SOURCE_GREF))
        && within(&segment.dest, flags.contains(GrantCopyFlags::DEST_GREF))
}

const _: () = assert!(size_of::<Head>() == 16);
const _: () = assert!(size_of::<Notify>() == 24);
const _: () = assert!(size_of::<Segment>() == 20);
const _: () = assert!(size_of::<Answer>() == 24);
const _: () = assert!(size_of::<Terms>() == 24);
// No request is longer than the one with most references.
const _: () = assert!(size_of::<Head>() + MAX_SEGMENTS * size_of::<Segment>() <= LONGEST);
