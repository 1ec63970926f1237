// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/gntalloc` (Linux's `include/uapi/xen/gntalloc.h`).

use bitflags::bitflags;

use crate::{Request, tail};

/// Allocates pages and grants them; mmap of the index maps them. The number
/// counts one entry of the list, and padding ([`AllocGref::encode`]).
pub const ALLOC_GREF: Request<AllocGref> = Request::with_size(b'G', 5, 24);
/// Gives pages back; the grant ends when the other side has unmapped them.
pub const DEALLOC_GREF: Request<DeallocGref> = Request::new(b'G', 6);
/// Says what happens when a page is unmapped.
pub const SET_UNMAP_NOTIFY: Request<UnmapNotify> = Request::new(b'G', 7);

pub use crate::gntdev::UnmapNotify;

bitflags! {
    /// [`AllocGref::flags`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AllocFlags: u16 {
        /// `GNTALLOC_FLAG_WRITABLE`: the other side may write.
        const WRITABLE = 1;
    }
}

abi! {
    /// `struct ioctl_gntalloc_alloc_gref`, up to its list.
    pub struct AllocGref: 16 {
        /// In: the domain that gets the grants.
        domid: u16 = 0,
        /// In: [`AllocFlags`].
        flags: u16 = 2,
        /// In: number of pages, and of references (u32 each) behind the struct.
        count: u32 = 4,
        /// Out: what to give mmap as offset, in bytes.
        index: u64 = 8,
    }

    /// `struct ioctl_gntalloc_dealloc_gref`
    pub struct DeallocGref: 16 {
        /// What [`AllocGref::index`] was.
        index: u64 = 0,
        /// What [`AllocGref::count`] was.
        count: u32 = 8,
        /// Zero; padding at the end in C.
        pad: u32 = 12,
    }
}

impl AllocGref {
    /// Bytes of a request for `count` pages; `None` past `usize::MAX`.
    ///
    /// Not less than the number says: for one page the driver writes 24 bytes,
    /// though head and reference are 20.
    #[must_use]
    pub fn size_with(count: usize) -> Option<usize> {
        tail::size::<Self, u32>(count, ALLOC_GREF.size())
    }

    /// Writes a request to the start of `buffer` and returns it, with zeroed
    /// room for `count` references; `None` when there is not enough.
    #[must_use]
    pub fn encode(
        buffer: &mut [u8],
        domid: u16,
        flags: AllocFlags,
        count: u32,
    ) -> Option<&mut [u8]> {
        let head = Self {
            domid,
            flags: flags.bits(),
            count,
            index: 0,
        };
        let size = Self::size_with(usize::try_from(count).ok()?)?;
        let bytes = buffer.get_mut(..size)?;
        tail::encode(bytes, &head, &[0_u32; 0], size)
    }

    /// Reads a request, or the driver's answer; `None` when the list is cut
    /// off, or the bytes are not aligned to 8.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(&Self, &[u32])> {
        tail::decode(bytes, |head: &Self| head.count)
    }
}

const _: () = assert!(ALLOC_GREF.number() == 0x0018_4705);
