// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any bytes, one function a family. The fuzz targets call the
//! same functions (`fuzz/`), so that what they find becomes a test by adding
//! its bytes to `main.rs`.

use xen_sys::{
    dm_op::{self, AnyOperation, Frame, Operation},
    gntalloc::{AllocFlags, AllocGref},
    gntdev::{
        DmaFlags, DmabufExpFromRefs, DmabufImpToRefs, GrantCopyPtr, GrantCopySegment, MapGrantRef,
    },
    ioreq::{BufIoreq, BufferedIopage, Ioreq},
    list,
    privcmd::DmOpBuf,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The bytes at an address that is a multiple of 8, and at one that is not.
struct Placed(Vec<u64>, usize);

impl Placed {
    fn new(data: &[u8]) -> Self {
        let mut words = vec![0_u64; data.len() / 8 + 2];
        words.as_mut_bytes()[..data.len()].copy_from_slice(data);
        Self(words, data.len())
    }

    fn aligned(&self) -> &[u8] {
        &self.0.as_bytes()[..self.1]
    }

    /// One byte further on: the first byte is lost.
    fn misaligned(&self) -> &[u8] {
        self.aligned().get(1..).unwrap_or_default()
    }
}

/// Gives the names of all operations to a macro.
macro_rules! operations {
    ($use:ident!) => {
        $use! {
            CreateIoreqServer GetIoreqServerInfo MapIoRangeToIoreqServer
            UnmapIoRangeFromIoreqServer SetIoreqServerState DestroyIoreqServer TrackDirtyVram
            SetPciIntxLevel SetIsaIrqLevel SetPciLinkRoute ModifiedMemory SetMemType InjectEvent
            InjectMsi MapMemTypeToIoreqServer RemoteShutdown RelocateMemory PinMemoryCacheattr
            SetIrqLevel NrVcpus
        }
    };
}

/// The word at `offset`, where there is one.
fn word(data: &[u8], offset: usize) -> Option<u32> {
    data.get(offset..)?
        .first_chunk()
        .copied()
        .map(u32::from_ne_bytes)
}

/// Whether there are 16 bytes, and behind them as many entries as the word at
/// `offset` says: then a decoder must not refuse.
fn is_whole(data: &[u8], offset: usize, entry: usize) -> bool {
    let room = data.len().checked_sub(16).map(|list| list / entry);
    room.zip(word(data, offset))
        .is_some_and(|(room, count)| count as usize <= room)
}

/// What was encoded is the list that was there, at least as long as the number
/// says, and with zeros behind the list.
fn same_list(encoded: &[u8], data: &[u8], list: usize, least: usize) {
    assert_eq!(encoded.len(), (16 + list).max(least));
    assert_eq!(encoded[16..][..list], data[16..][..list]);
    assert!(encoded[16 + list..].iter().all(|byte| *byte == 0));
}

/// Whatever is read as an operation is that operation, in a frame again.
pub fn dm_op(data: &[u8]) {
    fn same<T: Operation + PartialEq + core::fmt::Debug>(body: &T, data: &[u8]) {
        let frame = Frame::new(body);
        assert_eq!(frame.body(), *body);
        let bytes = frame.as_bytes();
        assert_eq!(bytes.len(), 8 + size_of::<T>());
        assert_eq!(bytes[..4], T::OP.to_ne_bytes());
        assert_eq!(bytes[..4], data[..4]);
        assert_eq!(bytes[4..8], [0; 4]);
        assert_eq!(bytes[8..], data[8..bytes.len()]);
    }
    let data = Placed::new(data);
    assert_eq!(dm_op::decode(data.misaligned()), None);
    let data = data.aligned();
    let Some(found) = dm_op::decode(data) else {
        macro_rules! size {
            ($( $body:ident )*) => {
                match word(data, 0) {
                    $( Some(dm_op::$body::OP) => size_of::<dm_op::$body>(), )*
                    _ => return,
                }
            };
        }
        let size = operations!(size!);
        assert!(data.len() < 8 + size, "{data:?} is whole");
        return;
    };
    macro_rules! each {
        ($( $body:ident )*) => {
            match found { $( AnyOperation::$body(body) => same(body, data), )* }
        };
    }
    operations!(each!);
}

/// Whatever is read as a request with grants is encoded to the same list.
pub fn gntdev(data: &[u8]) {
    let data = Placed::new(data);
    let mut buffer = vec![0xA5; data.1.max(24)];
    assert_eq!(MapGrantRef::decode(data.misaligned()), None);
    assert_eq!(DmabufExpFromRefs::decode(data.misaligned()), None);
    assert_eq!(DmabufImpToRefs::decode(data.misaligned()), None);
    let data = data.aligned();
    let found = MapGrantRef::decode(data);
    assert_eq!(found.is_some(), is_whole(data, 0, 8));
    if let Some((head, entries)) = found {
        assert_eq!(head.count as usize, entries.len());
        let bytes = MapGrantRef::encode(&mut buffer, entries).expect("it was there");
        assert_eq!(Some(bytes.len()), MapGrantRef::size_with(entries.len()));
        assert_eq!(bytes[..4], data[..4]);
        assert_eq!(bytes[4..16], [0; 12]);
        same_list(bytes, data, size_of_val(entries), 24);
    }
    let found = DmabufExpFromRefs::decode(data);
    assert_eq!(found.is_some(), is_whole(data, 4, 4));
    if let Some((head, references)) = found {
        assert_eq!(head.count as usize, references.len());
        let (flags, domid) = (DmaFlags::from_bits_retain(head.flags), head.domid as u16);
        let bytes =
            DmabufExpFromRefs::encode(&mut buffer, domid, flags, references).expect("it was there");
        assert_eq!(bytes[..8], data[..8]);
        assert_eq!(bytes[8..12], [0; 4]);
        assert_eq!(bytes[12..16], u32::from(domid).to_ne_bytes());
        same_list(bytes, data, size_of_val(references), 20);
    }
    let found = DmabufImpToRefs::decode(data);
    assert_eq!(found.is_some(), is_whole(data, 4, 4));
    if let Some((head, references)) = found {
        assert_eq!(head.count as usize, references.len());
        let domid = head.domid as u16;
        let bytes =
            DmabufImpToRefs::encode(&mut buffer, head.fd, domid, references).expect("it was there");
        assert_eq!(bytes[..8], data[..8]);
        assert_eq!(bytes[8..12], u32::from(domid).to_ne_bytes());
        assert_eq!(bytes[12..16], [0; 4]);
        same_list(bytes, data, size_of_val(references), 20);
    }
}

/// The same for pages to grant; their references are room for the answer.
pub fn gntalloc(data: &[u8]) {
    let data = Placed::new(data);
    assert_eq!(AllocGref::decode(data.misaligned()), None);
    let found = AllocGref::decode(data.aligned());
    assert_eq!(found.is_some(), is_whole(data.aligned(), 4, 4));
    let Some((head, references)) = found else {
        return;
    };
    assert_eq!(head.count as usize, references.len());
    let mut buffer = vec![0xA5; data.1.max(24)];
    let flags = AllocFlags::from_bits_retain(head.flags);
    let bytes =
        AllocGref::encode(&mut buffer, head.domid, flags, head.count).expect("it was there");
    assert_eq!(Some(bytes.len()), AllocGref::size_with(references.len()));
    assert_eq!(bytes[..8], data.aligned()[..8]);
    assert!(bytes[8..].iter().all(|byte| *byte == 0));
}

/// The first byte says how many entries, the rest are they.
pub fn lists(data: &[u8]) {
    fn same<E: FromBytes + IntoBytes + Immutable>(count: u8, data: &Placed) {
        if align_of::<E>() > 1 && count > 0 {
            assert!(list::decode::<E>(data.misaligned(), count.into()).is_none());
        }
        let data = data.aligned();
        let size = usize::from(count) * size_of::<E>();
        let Some(entries) = list::decode::<E>(data, count.into()) else {
            assert!(data.len() < size);
            return;
        };
        assert_eq!(entries.len(), usize::from(count));
        let mut buffer = vec![0; size];
        let bytes = list::encode(&mut buffer, entries).expect("as large as needed");
        assert_eq!(bytes, &data[..size]);
        if let Some(short) = size.checked_sub(1) {
            let mut buffer = vec![0xA5; short];
            assert!(list::encode(&mut buffer, entries).is_none());
            assert!(buffer.iter().all(|byte| *byte == 0xA5));
        }
    }
    let Some((count, data)) = data.split_first() else {
        return;
    };
    let data = Placed::new(data);
    same::<u64>(*count, &data);
    same::<i32>(*count, &data);
    same::<DmOpBuf>(*count, &data);
    same::<GrantCopySegment>(*count, &data);
    assert!(list::decode::<u64>(data.aligned(), u32::MAX).is_none());
    if let Ok((pointer, _)) = GrantCopyPtr::read_from_prefix(data.aligned()) {
        let (reference, offset, domid) = pointer.as_foreign();
        assert_eq!(GrantCopyPtr::foreign(reference, offset, domid), pointer);
        assert_eq!(GrantCopyPtr::local(pointer.as_local()), pointer);
    }
}

/// Whatever stands in a page that is shared with Xen has a meaning, or is
/// visibly out of range.
pub fn ioreq(data: &[u8]) {
    if let Ok((slot, _)) = Ioreq::read_from_prefix(data) {
        assert_eq!(slot.as_bytes(), &data[..32]);
        assert_eq!(slot.state(), data[30] & 0xF);
    }
    if let Ok((slot, _)) = BufIoreq::read_from_prefix(data) {
        let (read, size, addr) = (slot.is_read(), slot.size_log2(), slot.addr());
        let again = BufIoreq::new(slot.type_, read, size, addr, slot.data).expect("in range");
        let mut expected = slot;
        expected.packed[0] &= !1;
        assert_eq!(again, expected);
    }
    let page = Placed::new(data);
    if let Ok((page, _)) = BufferedIopage::ref_from_prefix(page.aligned()) {
        let slots = u32::try_from(page.buf_ioreq.len()).expect("511");
        let waiting = page.write_pointer.wrapping_sub(page.read_pointer);
        for slot in 0..waiting.min(slots) {
            let index = page.read_pointer.wrapping_add(slot) % slots;
            assert!(page.buf_ioreq[index as usize].addr() < 1 << 20);
        }
    }
}
