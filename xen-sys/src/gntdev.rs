// SPDX-License-Identifier: MIT OR Apache-2.0
//! `/dev/xen/gntdev` (Linux's `include/uapi/xen/gntdev.h`).

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Layout, Request, tail};

/// Reserves an index for granted pages; mmap of it maps them. The number counts
/// one entry of the list ([`MapGrantRef::encode`]).
pub const MAP_GRANT_REF: Request<MapGrantRef> = Request::with_size(b'G', 0, 24);
/// Gives an index back.
pub const UNMAP_GRANT_REF: Request<UnmapGrantRef> = Request::new(b'G', 1);
/// Finds the index of a mapped address.
pub const GET_OFFSET_FOR_VADDR: Request<GetOffsetForVaddr> = Request::new(b'G', 2);
/// Limits how many grants the handle maps. Newer drivers do not know it: `ENOTTY`,
/// measured on Linux 6.1.
pub const SET_MAX_GRANTS: Request<SetMaxGrants> = Request::new(b'G', 3);
/// Says what happens when a page is unmapped.
pub const SET_UNMAP_NOTIFY: Request<UnmapNotify> = Request::new(b'G', 7);
/// Copies between granted and local pages (Linux 4.8).
pub const GRANT_COPY: Request<GrantCopy> = Request::new(b'G', 8);
/// Makes a dma-buf of granted pages (Linux 4.19). The number counts one entry.
pub const DMABUF_EXP_FROM_REFS: Request<DmabufExpFromRefs> = Request::with_size(b'G', 9, 20);
/// Waits until an exported dma-buf is released (Linux 4.19).
pub const DMABUF_EXP_WAIT_RELEASED: Request<DmabufExpWaitReleased> = Request::new(b'G', 10);
/// Grants the pages of a dma-buf (Linux 4.19). The number counts one entry.
pub const DMABUF_IMP_TO_REFS: Request<DmabufImpToRefs> = Request::with_size(b'G', 11, 20);
/// Takes the grants of a dma-buf back (Linux 4.19).
pub const DMABUF_IMP_RELEASE: Request<DmabufImpRelease> = Request::new(b'G', 12);

bitflags! {
    /// [`UnmapNotify::action`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct UnmapNotifyAction: u32 {
        /// `UNMAP_NOTIFY_CLEAR_BYTE`: a byte becomes 0.
        const CLEAR_BYTE = 1;
        /// `UNMAP_NOTIFY_SEND_EVENT`: an event is sent.
        const SEND_EVENT = 2;
    }

    /// [`GrantCopySegment::flags`] (`GNTCOPY_*` of Xen's `public/grant_table.h`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct GrantCopyFlags: u16 {
        /// `GNTCOPY_source_gref`: the source is a grant.
        const SOURCE_GREF = 1;
        /// `GNTCOPY_dest_gref`: the destination is a grant.
        const DEST_GREF = 2;
    }

    /// [`DmabufExpFromRefs::flags`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DmaFlags: u32 {
        /// `GNTDEV_DMA_FLAG_WC`: write-combining.
        const WC = 1;
        /// `GNTDEV_DMA_FLAG_COHERENT`: coherent.
        const COHERENT = 2;
    }
}

abi! {
    /// `struct ioctl_gntdev_map_grant_ref`, up to its list.
    pub struct MapGrantRef: 16 {
        /// Number of [`MapGrantRefEntry`]s behind the struct.
        count: u32 = 0,
        /// Zero.
        pad: u32 = 4,
        /// Out: what to give mmap as offset, in bytes.
        index: u64 = 8,
    }

    /// `struct ioctl_gntdev_grant_ref`
    pub struct MapGrantRefEntry: 8 {
        /// The domain that granted.
        domid: u32 = 0,
        /// Its grant reference: `ref` in C.
        reference: u32 = 4,
    }

    /// `struct ioctl_gntdev_unmap_grant_ref`
    pub struct UnmapGrantRef: 16 {
        /// What [`MapGrantRef::index`] was.
        index: u64 = 0,
        /// What [`MapGrantRef::count`] was.
        count: u32 = 8,
        /// Zero.
        pad: u32 = 12,
    }

    /// `struct ioctl_gntdev_get_offset_for_vaddr`
    pub struct GetOffsetForVaddr: 24 {
        /// In: first address of a mapping.
        vaddr: u64 = 0,
        /// Out: its index.
        offset: u64 = 8,
        /// Out: its number of pages.
        count: u32 = 16,
        /// Zero.
        pad: u32 = 20,
    }

    /// `struct ioctl_gntdev_set_max_grants`
    pub struct SetMaxGrants: 4 {
        /// Pages.
        count: u32 = 0,
    }

    /// `struct ioctl_gntdev_unmap_notify`
    pub struct UnmapNotify: 16 {
        /// Index of the mapping, plus the offset of the byte in it.
        index: u64 = 0,
        /// [`UnmapNotifyAction`].
        action: u32 = 8,
        /// The local port that sends.
        event_channel_port: u32 = 12,
    }

    /// `struct ioctl_gntdev_grant_copy`
    pub struct GrantCopy: 16 {
        /// Number of segments.
        count: u32 = 0,
        /// Zero.
        pad: u32 = 4,
        /// Address of the [`GrantCopySegment`]s ([`list`](crate::list)).
        segments: u64 = 8,
    }

    /// `struct gntdev_grant_copy_segment`
    pub struct GrantCopySegment: 24 {
        /// Where from.
        source: GrantCopyPtr = 0,
        /// Where to.
        dest: GrantCopyPtr = 8,
        /// Bytes, at most to the end of a granted page.
        len: u16 = 16,
        /// [`GrantCopyFlags`].
        flags: u16 = 18,
        /// Out: one of [`grant_table`](crate::grant_table)'s `GNTST_*`.
        status: i16 = 20,
        /// Zero.
        pad: u16 = 22,
    }

    /// `struct ioctl_gntdev_dmabuf_exp_from_refs`, up to its list.
    pub struct DmabufExpFromRefs: 16 {
        /// [`DmaFlags`].
        flags: u32 = 0,
        /// Number of references (u32 each) behind the struct.
        count: u32 = 4,
        /// Out: the dma-buf.
        fd: u32 = 8,
        /// The domain that granted.
        domid: u32 = 12,
    }

    /// `struct ioctl_gntdev_dmabuf_exp_wait_released`
    pub struct DmabufExpWaitReleased: 8 {
        /// The dma-buf.
        fd: u32 = 0,
        /// How long to wait, in milliseconds.
        wait_to_ms: u32 = 4,
    }

    /// `struct ioctl_gntdev_dmabuf_imp_to_refs`, up to its list.
    pub struct DmabufImpToRefs: 16 {
        /// The dma-buf.
        fd: u32 = 0,
        /// Number of references (u32 each) behind the struct.
        count: u32 = 4,
        /// The domain that gets the grants.
        domid: u32 = 8,
        /// Zero.
        reserved: u32 = 12,
    }

    /// `struct ioctl_gntdev_dmabuf_imp_release`
    pub struct DmabufImpRelease: 8 {
        /// The dma-buf.
        fd: u32 = 0,
        /// Zero.
        reserved: u32 = 4,
    }
}

/// A place to copy from or to: a union in C. Which of the two it is, the flags
/// of the segment say.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct GrantCopyPtr(u64);

impl Layout for GrantCopyPtr {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    const FIELDS: &'static [(&'static str, usize)] = &[];
}

impl GrantCopyPtr {
    /// An address of this process.
    #[must_use]
    pub const fn local(virt: u64) -> Self {
        Self(virt)
    }

    /// `offset` bytes into the page that `domid` granted as `reference`.
    #[must_use]
    pub const fn foreign(reference: u32, offset: u16, domid: u16) -> Self {
        let [r0, r1, r2, r3] = reference.to_ne_bytes();
        let [o0, o1] = offset.to_ne_bytes();
        let [d0, d1] = domid.to_ne_bytes();
        Self(u64::from_ne_bytes([r0, r1, r2, r3, o0, o1, d0, d1]))
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn as_local(self) -> u64 {
        self.0
    }

    /// Reference, offset and domain, if it is a grant.
    #[must_use]
    pub const fn as_foreign(self) -> (u32, u16, u16) {
        let [r0, r1, r2, r3, o0, o1, d0, d1] = self.0.to_ne_bytes();
        (
            u32::from_ne_bytes([r0, r1, r2, r3]),
            u16::from_ne_bytes([o0, o1]),
            u16::from_ne_bytes([d0, d1]),
        )
    }
}

impl MapGrantRef {
    /// Bytes of a request with `count` references, not less than the number says;
    /// `None` past `usize::MAX`.
    #[must_use]
    pub fn size_with(count: usize) -> Option<usize> {
        tail::size::<Self, MapGrantRefEntry>(count, MAP_GRANT_REF.size())
    }

    /// Writes a request to the start of `buffer` and returns it; `None` when
    /// there is no room, or more references than a u32 counts.
    #[must_use]
    pub fn encode<'b>(
        buffer: &'b mut [u8],
        references: &[MapGrantRefEntry],
    ) -> Option<&'b mut [u8]> {
        let count = u32::try_from(references.len()).ok()?;
        let head = Self {
            count,
            ..Self::default()
        };
        tail::encode(buffer, &head, references, MAP_GRANT_REF.size())
    }

    /// Reads a request; `None` when the list is cut off, or the bytes are not
    /// aligned to 8.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(&Self, &[MapGrantRefEntry])> {
        tail::decode(bytes, |head: &Self| head.count)
    }
}

impl DmabufExpFromRefs {
    /// Writes a request to the start of `buffer` and returns it; as
    /// [`MapGrantRef::encode`].
    #[must_use]
    pub fn encode<'b>(
        buffer: &'b mut [u8],
        domid: u16,
        flags: DmaFlags,
        references: &[u32],
    ) -> Option<&'b mut [u8]> {
        let head = Self {
            flags: flags.bits(),
            count: u32::try_from(references.len()).ok()?,
            domid: domid.into(),
            ..Self::default()
        };
        tail::encode(buffer, &head, references, DMABUF_EXP_FROM_REFS.size())
    }

    /// Reads a request; as [`MapGrantRef::decode`], aligned to 4.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(&Self, &[u32])> {
        tail::decode(bytes, |head: &Self| head.count)
    }
}

impl DmabufImpToRefs {
    /// Writes a request to the start of `buffer` and returns it, with
    /// `references` as room for the answer; as [`MapGrantRef::encode`].
    #[must_use]
    pub fn encode<'b>(
        buffer: &'b mut [u8],
        fd: u32,
        domid: u16,
        references: &[u32],
    ) -> Option<&'b mut [u8]> {
        let head = Self {
            fd,
            count: u32::try_from(references.len()).ok()?,
            domid: domid.into(),
            ..Self::default()
        };
        tail::encode(buffer, &head, references, DMABUF_IMP_TO_REFS.size())
    }

    /// Reads a request, or the driver's answer; as [`MapGrantRef::decode`],
    /// aligned to 4.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(&Self, &[u32])> {
        tail::decode(bytes, |head: &Self| head.count)
    }
}

const _: () = assert!(MAP_GRANT_REF.number() == 0x0018_4700);
