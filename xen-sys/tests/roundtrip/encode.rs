// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for each encoder and any room: there is nothing, and the buffer
//! is as it was, or exactly what was asked for, and decodes to that.

use xen_sys::{
    dm_op::ModifiedMemoryExtent,
    gntalloc::{self, AllocFlags, AllocGref},
    gntdev::{
        self, DmaFlags, DmabufExpFromRefs, DmabufImpToRefs, GrantCopySegment, MapGrantRef,
        MapGrantRefEntry,
    },
    ioreq::BufIoreq,
    list,
    privcmd::DmOpBuf,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The arguments of all encoders, and the buffer that they get.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Entries of the lists, whatever their type.
    pub entries: &'a [u8],
    /// Bytes of the buffer.
    pub room: u16,
    /// How far the buffer is behind a multiple of 8.
    pub at: u8,
    /// A domain, flags, a count, a descriptor.
    pub numbers: (u16, u16, u32, u32),
}

/// The arguments from bytes: room, place, numbers, and entries.
pub fn encode(data: &[u8]) {
    let Some((head, entries)) = data.split_first_chunk::<15>() else {
        return;
    };
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
    let plan = Plan {
        entries,
        room: half(0) % 1024,
        at: head[2],
        numbers: (half(3), half(5), word(7), word(11)),
    };
    plan.run();
}

const UNTOUCHED: u8 = 0xA5;

impl Plan<'_> {
    /// Gives the arguments to each encoder.
    pub fn run(&self) {
        let (domid, flags, count, fd) = self.numbers;
        let grants: Vec<MapGrantRefEntry> = self.list();
        let references: Vec<u32> = self.list();

        let size = 16 + size_of_val(&grants[..]);
        let size = size.max(gntdev::MAP_GRANT_REF.size());
        if let Some(bytes) = self.encode(size, |b| MapGrantRef::encode(b, &grants)) {
            let (head, list) = MapGrantRef::decode(bytes.as_bytes()).expect("encoded");
            assert_eq!(
                (head.count as usize, head.pad, head.index),
                (list.len(), 0, 0)
            );
            assert_eq!(list, grants);
        }

        let size = 16 + size_of_val(&references[..]);
        let size = size.max(gntdev::DMABUF_EXP_FROM_REFS.size());
        let dma = DmaFlags::from_bits_retain(count);
        let bytes = self.encode(size, |b| {
            DmabufExpFromRefs::encode(b, domid, dma, &references)
        });
        if let Some(bytes) = bytes {
            let (head, list) = DmabufExpFromRefs::decode(bytes.as_bytes()).expect("encoded");
            let seen = (head.flags, head.count as usize, head.fd, head.domid);
            assert_eq!(seen, (count, list.len(), 0, domid.into()));
            assert_eq!(list, references);
        }
        let bytes = self.encode(size, |b| DmabufImpToRefs::encode(b, fd, domid, &references));
        if let Some(bytes) = bytes {
            let (head, list) = DmabufImpToRefs::decode(bytes.as_bytes()).expect("encoded");
            let seen = (head.fd, head.count as usize, head.domid, head.reserved);
            assert_eq!(seen, (fd, list.len(), domid.into(), 0));
            assert_eq!(list, references);
        }

        let size = 16 + 4 * count as usize;
        let size = size.max(gntalloc::ALLOC_GREF.size());
        let bits = AllocFlags::from_bits_retain(flags);
        if let Some(bytes) = self.encode(size, |b| AllocGref::encode(b, domid, bits, count)) {
            let (head, list) = AllocGref::decode(bytes.as_bytes()).expect("encoded");
            let seen = (head.domid, head.flags, head.count, head.index);
            assert_eq!(seen, (domid, flags, count, 0));
            assert_eq!(list, vec![0; count as usize]);
        }

        self.is_listed::<DmOpBuf>();
        self.is_listed::<u64>();
        self.is_listed::<i32>();
        self.is_listed::<GrantCopySegment>();
        self.is_listed::<ModifiedMemoryExtent>();

        let [type_, size_log2, ..] = count.to_ne_bytes();
        let slot = BufIoreq::new(type_, flags & 1 == 0, size_log2, fd, count);
        assert_eq!(slot.is_some(), size_log2 < 4 && fd < 1 << 20);
        if let Some(slot) = slot {
            assert_eq!((slot.type_, slot.data), (type_, count));
            let seen = (slot.is_read(), slot.size_log2(), slot.addr());
            assert_eq!(seen, (flags & 1 == 0, size_log2, fd));
        }
    }

    fn list<E: FromBytes>(&self) -> Vec<E> {
        let entries = self.entries.chunks_exact(size_of::<E>());
        entries
            .map(|e| E::read_from_bytes(e).expect("a whole entry"))
            .collect()
    }

    fn is_listed<E>(&self)
    where
        E: FromBytes + IntoBytes + Immutable + PartialEq + std::fmt::Debug,
    {
        let entries: Vec<E> = self.list();
        let size = size_of_val(&entries[..]);
        if let Some(bytes) = self.encode(size, |b| list::encode(b, &entries)) {
            let count = u32::try_from(entries.len()).expect("few");
            let whole = &bytes.as_bytes()[..size];
            assert_eq!(list::decode::<E>(whole, count), Some(&entries[..]));
            assert_eq!(list::decode::<E>(whole, count + 1), None);
            assert_eq!(list::decode::<E>(whole, u32::MAX), None);
        }
    }

    /// What the encoder makes of the buffer, in words; `Some` exactly when `size`
    /// bytes have room. What it does not return, it did not touch.
    fn encode(
        &self,
        size: usize,
        encoder: impl FnOnce(&mut [u8]) -> Option<&mut [u8]>,
    ) -> Option<Vec<u64>> {
        let (room, at) = (usize::from(self.room), usize::from(self.at % 8));
        let mut words = vec![u64::from_ne_bytes([UNTOUCHED; 8]); (room + at).div_ceil(8)];
        let buffer = &mut words.as_mut_bytes()[at..][..room];
        let encoded = encoder(buffer).map(|bytes| {
            assert_eq!(bytes.len(), size);
            let mut words = vec![0_u64; size.div_ceil(8)];
            words.as_mut_bytes()[..size].copy_from_slice(bytes);
            words
        });
        assert_eq!(encoded.is_some(), size <= room);
        let used = if encoded.is_some() { size } else { 0 };
        if let Some(encoded) = &encoded {
            assert_eq!(encoded.as_bytes()[..size], buffer[..size]);
        }
        assert!(buffer[used..].iter().all(|byte| *byte == UNTOUCHED));
        encoded
    }
}
