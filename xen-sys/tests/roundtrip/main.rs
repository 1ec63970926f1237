// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is encoded is decoded to the same; what has no room is refused; and no
//! bytes make a decoder panic.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "a test fails by panicking; the laws are shared with the fuzz targets"
)]

mod encode;
mod laws;
mod seeds;

use proptest::{collection::vec, prelude::*};
use xen_sys::{
    Request,
    dm_op::{self, AnyOperation, Frame, Operation},
    event_channel, evtchn,
    gntalloc::{self, AllocFlags, AllocGref},
    gntdev::{
        self, DmaFlags, DmabufExpFromRefs, DmabufImpToRefs, GrantCopyPtr, GrantCopySegment,
        MapGrantRef, MapGrantRefEntry,
    },
    grant_table, hvm_op,
    ioreq::{self, BufIoreq},
    list, memory, multicall,
    privcmd::{self, DmOpBuf},
    sched, version,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The head of every list is 16 bytes, so entries fit from there on.
const HEAD: usize = 16;

/// Bytes that often start like something that a decoder takes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    (vec(0_u32..32, 0..4), vec(any::<u8>(), 0..96)).prop_map(|(start, end)| {
        let mut all = start.as_bytes().to_vec();
        all.extend(end);
        all
    })
}

/// `room` bytes that are not 0, aligned to 8, for encoders.
fn room(length: usize) -> Vec<u64> {
    vec![0xA5A5_A5A5_A5A5_A5A5; length / 8 + 1]
}

fn untouched(words: &[u64]) -> bool {
    words.iter().all(|word| *word == 0xA5A5_A5A5_A5A5_A5A5)
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(data in bytes()) {
        laws::dm_op(&data);
        laws::gntdev(&data);
        laws::gntalloc(&data);
        laws::lists(&data);
        laws::ioreq(&data);
    }

    #[test]
    fn any_page_is_read_without_panic(data in vec(any::<u8>(), 4090..4110)) {
        laws::ioreq(&data);
    }

    #[test]
    fn any_arguments_are_encoded_or_refused(
        entries in vec(any::<u8>(), 0..300),
        room in 0_u16..400,
        at in 0_u8..8,
        domid: u16,
        flags: u16,
        count in prop_oneof![4 => 0_u32..80, 1 => any::<u32>()],
        fd in prop_oneof![0..=0x10_0000_u32, any::<u32>()],
    ) {
        let numbers = (domid, flags, count, fd);
        encode::Plan { entries: &entries, room, at, numbers }.run();
    }

    #[test]
    fn a_map_request_survives(refs in vec(any::<[u32; 2]>(), 0..64), length in 0_usize..600) {
        let refs: Vec<_> = refs
            .iter()
            .map(|&[domid, reference]| MapGrantRefEntry { domid, reference })
            .collect();
        let needed = MapGrantRef::size_with(refs.len()).unwrap();
        let list = HEAD + 8 * refs.len();
        prop_assert_eq!(needed, list.max(gntdev::MAP_GRANT_REF.size()));
        let mut words = room(length);
        match MapGrantRef::encode(&mut words.as_mut_bytes()[..length], &refs) {
            Some(bytes) => {
                prop_assert_eq!(bytes.len(), needed);
                let (head, seen) = MapGrantRef::decode(bytes).unwrap();
                prop_assert_eq!(head.count as usize, refs.len());
                prop_assert_eq!((head.pad, head.index), (0, 0));
                prop_assert_eq!(seen, &refs[..]);
                let cut = &bytes[..list - 1];
                prop_assert_eq!(MapGrantRef::decode(cut), None);
            }
            None => {
                prop_assert!(length < needed);
                prop_assert!(untouched(&words));
            }
        }
    }

    #[test]
    fn dma_buf_requests_survive(
        refs in vec(any::<u32>(), 0..64), length in 0_usize..300,
        domid: u16, fd: u32, bits in 0_u32..4,
    ) {
        let list = HEAD + 4 * refs.len();
        let needed = list.max(gntdev::DMABUF_EXP_FROM_REFS.size());
        let flags = DmaFlags::from_bits(bits).unwrap();
        let mut words = room(length);
        let buffer = &mut words.as_mut_bytes()[..length];
        match DmabufExpFromRefs::encode(buffer, domid, flags, &refs) {
            Some(bytes) => {
                let (head, seen) = DmabufExpFromRefs::decode(bytes).unwrap();
                prop_assert_eq!((head.flags, head.fd, head.domid), (bits, 0, domid.into()));
                prop_assert_eq!(seen, &refs[..]);
                prop_assert_eq!(DmabufExpFromRefs::decode(&bytes[..list - 1]), None);
            }
            None => prop_assert!(length < needed && untouched(&words)),
        }
        let mut words = room(length);
        let buffer = &mut words.as_mut_bytes()[..length];
        match DmabufImpToRefs::encode(buffer, fd, domid, &refs) {
            Some(bytes) => {
                let (head, seen) = DmabufImpToRefs::decode(bytes).unwrap();
                prop_assert_eq!((head.fd, head.domid, head.reserved), (fd, domid.into(), 0));
                prop_assert_eq!(seen, &refs[..]);
                prop_assert_eq!(DmabufImpToRefs::decode(&bytes[..list - 1]), None);
            }
            None => prop_assert!(length < needed && untouched(&words)),
        }
    }

    #[test]
    fn an_allocation_survives(domid: u16, count in 0_u32..64, length in 0_usize..300) {
        let needed = AllocGref::size_with(count as usize).unwrap();
        let list = HEAD + 4 * count as usize;
        prop_assert_eq!(needed, list.max(gntalloc::ALLOC_GREF.size()));
        let mut words = room(length);
        let buffer = &mut words.as_mut_bytes()[..length];
        match AllocGref::encode(buffer, domid, AllocFlags::WRITABLE, count) {
            Some(bytes) => {
                let (head, references) = AllocGref::decode(bytes).unwrap();
                prop_assert_eq!((head.domid, head.flags, head.index), (domid, 1, 0));
                prop_assert_eq!(references, vec![0; count as usize]);
                prop_assert_eq!(AllocGref::decode(&bytes[..list - 1]), None);
            }
            None => prop_assert!(length < needed && untouched(&words)),
        }
    }

    #[test]
    fn lists_survive(buffers in vec(any::<[u64; 2]>(), 0..20), length in 0_usize..400) {
        let buffers: Vec<_> =
            buffers.iter().map(|&[uptr, size]| DmOpBuf { uptr, size }).collect();
        let count = buffers.len() as u32;
        let mut words = room(length);
        match list::encode(&mut words.as_mut_bytes()[..length], &buffers) {
            Some(bytes) => {
                prop_assert_eq!(list::decode(bytes, count), Some(&buffers[..]));
                prop_assert_eq!(list::decode::<DmOpBuf>(bytes, count + 1), None);
            }
            None => prop_assert!(length < 16 * buffers.len() && untouched(&words)),
        }
    }

    #[test]
    fn a_copy_survives(virt: u64, reference: u32, offset: u16, domid: u16, len: u16) {
        let segment = GrantCopySegment {
            source: GrantCopyPtr::foreign(reference, offset, domid),
            dest: GrantCopyPtr::local(virt),
            len,
            flags: gntdev::GrantCopyFlags::SOURCE_GREF.bits(),
            ..Default::default()
        };
        let mut words = room(24);
        let bytes = list::encode(words.as_mut_bytes(), &[segment]).unwrap();
        let [seen] = list::decode::<GrantCopySegment>(bytes, 1).unwrap() else { panic!() };
        prop_assert_eq!(seen.source.as_foreign(), (reference, offset, domid));
        prop_assert_eq!(seen.dest.as_local(), virt);
        prop_assert_eq!(seen, &segment);
    }

    #[test]
    fn a_buffered_request_survives(
        type_: u8, read: bool, size in 0_u8..5, addr in 0_u32..1 << 21, data: u32,
    ) {
        match BufIoreq::new(type_, read, size, addr, data) {
            Some(slot) => {
                prop_assert_eq!((slot.type_, slot.data), (type_, data));
                prop_assert_eq!(
                    (slot.is_read(), slot.size_log2(), slot.addr()), (read, size, addr)
                );
            }
            None => prop_assert!(size > 3 || addr >= 1 << 20),
        }
    }

    #[test]
    fn a_pci_function_is_packed(segment: u16, bus: u8, device in 0_u8..32, function in 0_u8..8) {
        let sbdf = dm_op::pci_sbdf(segment, bus, device, function);
        prop_assert_eq!((sbdf >> 16) as u16, segment);
        prop_assert_eq!((sbdf >> 8) as u8, bus);
        prop_assert_eq!((sbdf >> 3) as u8 & 0x1F, device);
        prop_assert_eq!(sbdf as u8 & 7, function);
    }

    #[test]
    fn a_request_number_has_its_parts(group: u8, nr: u8, size in 0_usize..1 << 14) {
        let number = Request::<()>::with_size(group, nr, size).number();
        prop_assert_eq!(number >> 30, 0);
        prop_assert_eq!((number >> 16) as usize, size);
        prop_assert_eq!(Request::<()>::with_size(group, nr, size).size(), size);
        prop_assert_eq!((number >> 8) as u8, group);
        prop_assert_eq!(number as u8, nr);
        let write = Request::<[u8; 24]>::write(group, nr).number();
        prop_assert_eq!(write, 1 << 30 | Request::<[u8; 24]>::new(group, nr).number());
        prop_assert_eq!(Request::<[u8; 24]>::write(group, nr).size(), 24);
    }
}

/// Bytes, as a struct, as bytes; and as long as its fields.
fn is_its_bytes<T>(data: &[u8; 4096])
where
    T: xen_sys::Layout + FromBytes + IntoBytes + Immutable + KnownLayout,
{
    let value = T::read_from_prefix(data).unwrap().0;
    assert_eq!(value.as_bytes(), &data[..T::SIZE]);
    let mut last = None;
    for (field, offset) in T::FIELDS {
        assert!(last < Some(*offset), "{field} is out of order");
        assert!(*offset < T::SIZE, "{field} is outside");
        last = Some(*offset);
    }
}

/// An operation in a frame, as Xen sees it, as [`AnyOperation`], and back; then
/// with an answer of Xen's.
fn is_framed<T: Operation + PartialEq + std::fmt::Debug>(
    data: &[u8; 4096],
    is_same: impl Fn(AnyOperation<'_>, &T) -> bool,
) -> u32 {
    let body = T::read_from_prefix(data).unwrap().0;
    let mut frame = Frame::new(&body);
    assert_eq!(frame.as_bytes().as_ptr().addr() % 8, 0);
    let found = dm_op::decode(frame.as_bytes()).unwrap();
    assert!(is_same(found, &body), "{found:?} is not {body:?}");
    let length = frame.as_bytes().len();
    assert_eq!(length, 8 + T::SIZE);
    assert_eq!(dm_op::decode(&frame.as_bytes()[..length - 1]), None);
    let answer: Vec<u8> = body.as_bytes().iter().map(|byte| !byte).collect();
    frame.as_mut_bytes()[8..].copy_from_slice(&answer);
    assert_eq!(frame.body().as_bytes(), answer);
    T::OP
}

macro_rules! all_structs {
    ($data:ident; $( $module:ident: $( $name:ident )*; )*) => {{
        $( $( is_its_bytes::<$module::$name>($data); )* )*
        [$( $( concat!(stringify!($module), "::", stringify!($name)) ),* ),*]
    }};
}

macro_rules! all_operations {
    ($data:ident; $( $name:ident )*) => {
        [$( is_framed($data, |found, body| matches!(found, AnyOperation::$name(b) if b == body)) ),*]
    };
}

/// Returns the names of those that are no operation.
fn every_struct(data: &[u8; 4096]) -> Vec<&'static str> {
    let structs = all_structs! { data;
        privcmd: Hypercall Mmap MmapEntry MmapBatch MmapBatchV2 DmOpBuf DmOp MmapResource Irqfd
            Ioeventfd PcidevGetGsi;
        evtchn: BindVirq BindInterdomain BindUnboundPort Unbind Notify RestrictDomid BindStatic;
        gntdev: MapGrantRef MapGrantRefEntry UnmapGrantRef GetOffsetForVaddr SetMaxGrants
            UnmapNotify GrantCopy GrantCopySegment GrantCopyPtr DmabufExpFromRefs
            DmabufExpWaitReleased DmabufImpToRefs DmabufImpRelease;
        gntalloc: AllocGref DeallocGref;
        dm_op: Header IoreqServerRange ModifiedMemoryExtent;
        ioreq: Ioreq BufIoreq BufferedIopage;
        memory: Reservation AddToPhysmap AddToPhysmapBatch RemoveFromPhysmap AcquireResource;
        multicall: Entry;
        hvm_op: HvmParam;
        version: FeatureInfo;
        sched: Shutdown Poll;
        event_channel: BindInterdomain Close Send Unmask AllocUnbound;
        grant_table: EntryV1 SetupTable QuerySize;
    };
    let operations = all_operations! { data;
        CreateIoreqServer GetIoreqServerInfo MapIoRangeToIoreqServer UnmapIoRangeFromIoreqServer
        SetIoreqServerState DestroyIoreqServer TrackDirtyVram SetPciIntxLevel SetIsaIrqLevel
        SetPciLinkRoute ModifiedMemory SetMemType InjectEvent InjectMsi MapMemTypeToIoreqServer
        RemoteShutdown RelocateMemory PinMemoryCacheattr SetIrqLevel NrVcpus
    };
    assert_eq!(operations, dm_op::ALL, "an operation is not tried");
    structs.to_vec()
}

/// What the sources define with `abi!`, against the list above.
#[test]
fn no_struct_is_left_out() {
    let tried = every_struct(&[0; 4096]);
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut defined = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        let structs = source
            .lines()
            .filter_map(|line| line.strip_prefix("    pub struct ")?.split_once(": "))
            .filter(|(_, size)| size.starts_with(|c: char| c.is_ascii_digit()));
        for (name, _) in structs {
            defined += 1;
            let operation = module == "dm_op" && source.contains(&format!(": {name},"));
            let full = format!("{module}::{name}");
            assert!(
                operation || tried.contains(&full.as_str()),
                "{full} is not tried"
            );
        }
    }
    assert!(defined > 60, "{defined} found: the search is broken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_struct_is_its_bytes(data in vec(any::<u8>(), 4096)) {
        prop_assert!(!every_struct(data.as_slice().try_into().unwrap()).is_empty());
    }
}

/// Bytes that were worth a thought, and those that a fuzzer found, if it ever
/// does.
#[test]
fn bytes_that_were_trouble_or_could_be() {
    let cases: &[&[u8]] = &[
        b"",
        &[0],
        &[0xFF; 16],
        &[0xFF; 40],
        // A list that is said to have 2^32 - 1 entries, and has one.
        &[
            255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
        ],
        // The last operation, whole and cut off.
        &[20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        &[20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        // Operations that there are not.
        &[0; 32],
        &[
            21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ],
        // No padding, though something stands there.
        &[20, 0, 0, 0, 9, 9, 9, 9, 1, 0, 0, 0],
        // A ring whose pointers are a full turn apart, and more.
        &[0xFF; 4096],
    ];
    for data in cases {
        laws::dm_op(data);
        laws::gntdev(data);
        laws::gntalloc(data);
        laws::lists(data);
        laws::ioreq(data);
    }
}

/// The drivers copy `sizeof` of their struct in and out, before they look at the
/// count: with the first reference, and for an allocation with the padding.
#[test]
fn no_request_is_shorter_than_its_number_says() {
    let mut buffer = [0xA5; 64];
    let bytes = AllocGref::encode(&mut buffer, 7, AllocFlags::WRITABLE, 1).unwrap();
    assert_eq!(bytes.len(), 24);
    assert_eq!(bytes[16..], [0; 8]);
    assert!(AllocGref::encode(&mut [0; 23], 7, AllocFlags::WRITABLE, 1).is_none());
    assert_eq!(MapGrantRef::encode(&mut buffer, &[]).unwrap().len(), 24);
    let exported = DmabufExpFromRefs::encode(&mut buffer, 7, DmaFlags::empty(), &[]);
    assert_eq!(exported.unwrap().len(), 20);
    let imported = DmabufImpToRefs::encode(&mut buffer, 3, 7, &[]);
    assert_eq!(imported.unwrap().len(), 20);
}

#[test]
fn four_bytes_off_is_aligned_for_words_only() {
    let mut words = [0_u64; 8];
    let bytes = &mut words.as_mut_bytes()[4..];
    DmabufImpToRefs::encode(bytes, 3, 7, &[1, 2]).unwrap();
    assert_eq!(DmabufImpToRefs::decode(bytes).unwrap().1, [1, 2]);
    assert!(DmabufExpFromRefs::decode(bytes).is_some());
    assert!(MapGrantRef::decode(bytes).is_none());
    assert!(AllocGref::decode(bytes).is_none());
    assert!(list::decode::<i32>(bytes, 15).is_some());
    assert!(list::decode::<DmOpBuf>(bytes, 1).is_none());
    assert!(list::decode::<u64>(bytes, 0).is_none());
    let frame = Frame::new(&dm_op::NrVcpus::default());
    bytes[..12].copy_from_slice(frame.as_bytes());
    assert_eq!(dm_op::decode(bytes), None);
}

#[test]
fn sizes_past_the_address_space_are_refused() {
    assert_eq!(MapGrantRef::size_with(usize::MAX), None);
    assert_eq!(MapGrantRef::size_with(usize::MAX / 8), None);
    assert_eq!(AllocGref::size_with(usize::MAX / 4), None);
    let mut room = [0; 64];
    assert!(AllocGref::encode(&mut room, 1, AllocFlags::empty(), u32::MAX).is_none());
}

#[test]
fn an_ioctl_with_too_large_an_argument_is_refused() {
    let result = std::panic::catch_unwind(|| Request::<()>::with_size(b'P', 0, 1 << 14));
    assert!(result.is_err());
    assert_eq!(
        gntalloc::SET_UNMAP_NOTIFY.number(),
        gntdev::SET_UNMAP_NOTIFY.number()
    );
    assert_eq!(ioreq::IOREQS_PER_PAGE, 128);
}
