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
    macro_rules! each {
        ($found:expr, $data:expr; $( $body:ident )*) => {
            match $found { $( AnyOperation::$body(body) => same(body, $data), )* }
        };
    }
    let data = Placed::new(data);
    assert_eq!(dm_op::decode(data.misaligned()), None);
    let data = data.aligned();
    let Some(found) = dm_op::decode(data) else {
        let known = data.len() >= 8 && dm_op::ALL.iter().any(|op| op.to_ne_bytes() == data[..4]);
        assert!(!known || data.len() < dm_op::MAX_SIZE, "{data:?} is whole");
        return;
    };
    each! { found, data;
        CreateIoreqServer GetIoreqServerInfo MapIoRangeToIoreqServer UnmapIoRangeFromIoreqServer
        SetIoreqServerState DestroyIoreqServer TrackDirtyVram SetPciIntxLevel SetIsaIrqLevel
        SetPciLinkRoute ModifiedMemory SetMemType InjectEvent InjectMsi MapMemTypeToIoreqServer
        RemoteShutdown RelocateMemory PinMemoryCacheattr SetIrqLevel NrVcpus
    }
}

/// Whatever is read as a request with grants is encoded to the same list.
pub fn gntdev(data: &[u8]) {
    let data = Placed::new(data);
    let mut buffer = vec![0; data.1];
    assert_eq!(MapGrantRef::decode(data.misaligned()), None);
    assert_eq!(DmabufExpFromRefs::decode(data.misaligned()), None);
    assert_eq!(DmabufImpToRefs::decode(data.misaligned()), None);
    let data = data.aligned();
    if let Some((head, entries)) = MapGrantRef::decode(data) {
        assert_eq!(head.count as usize, entries.len());
        let bytes = MapGrantRef::encode(&mut buffer, entries).expect("it was there");
        assert_eq!(Some(bytes.len()), MapGrantRef::size_with(entries.len()));
        assert_eq!(bytes[..4], data[..4]);
        assert_eq!(bytes[4..16], [0; 12]);
        assert_eq!(bytes[16..], data[16..bytes.len()]);
    }
    if let Some((head, references)) = DmabufExpFromRefs::decode(data) {
        assert_eq!(head.count as usize, references.len());
        let (flags, domid) = (DmaFlags::from_bits_retain(head.flags), head.domid as u16);
        let bytes =
            DmabufExpFromRefs::encode(&mut buffer, domid, flags, references).expect("it was there");
        assert_eq!(bytes[..8], data[..8]);
        assert_eq!(bytes[16..], data[16..bytes.len()]);
    }
    if let Some((head, references)) = DmabufImpToRefs::decode(data) {
        assert_eq!(head.count as usize, references.len());
        let domid = head.domid as u16;
        let bytes =
            DmabufImpToRefs::encode(&mut buffer, head.fd, domid, references).expect("it was there");
        assert_eq!(bytes[..8], data[..8]);
        assert_eq!(bytes[16..], data[16..bytes.len()]);
    }
}

/// The same for pages to grant; their references are room for the answer.
pub fn gntalloc(data: &[u8]) {
    let data = Placed::new(data);
    assert_eq!(AllocGref::decode(data.misaligned()), None);
    let Some((head, references)) = AllocGref::decode(data.aligned()) else {
        return;
    };
    assert_eq!(head.count as usize, references.len());
    let mut buffer = vec![0xA5; data.1];
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
