// SPDX-License-Identifier: MIT OR Apache-2.0
//! What does the encoding itself cost, next to a copy of its bytes?

use std::hint::black_box;

use xen_sys::{
    dm_op::{self, Frame, IoreqServerRange, MapIoRangeToIoreqServer, SetIsaIrqLevel},
    gntalloc::{AllocFlags, AllocGref},
    gntdev::{MapGrantRef, MapGrantRefEntry},
    ioreq::{BufIoreq, IOREQ_TYPE_COPY, IOREQ_TYPE_PIO, Ioreq, STATE_IOREQ_READY},
    list,
    privcmd::{DmOpBuf, MmapBatchV2},
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::operation::{Operation, repeat};

const FEW: u64 = 10_000;
const REFERENCES: [u32; 3] = [1, 16, 256];
const LISTED: usize = 64;

pub(crate) fn all() -> Vec<Operation> {
    let mut all = dm_op_frames();
    all.extend(ioreq_slots());
    all.extend(REFERENCES.into_iter().flat_map(grants));
    all.extend(list_of("DM_OP buffers", 2, |at| DmOpBuf {
        uptr: at as u64,
        size: 32,
    }));
    all.extend(list_of("frames", LISTED, |at| at as u64));
    all.extend(list_of("errors of frames", LISTED, |_| 0_i32));
    all.extend(list_of("evtchn ports", LISTED, |_| 5_u32));
    all.push(batch());
    all
}

/// Someone reads what was encoded, as the kernel would: no store is left out.
fn encoded(bytes: Option<&mut [u8]>) -> usize {
    black_box(bytes).map_or(0, |bytes| bytes.len())
}

/// The smallest operation, which a device model sends most, and the largest.
fn dm_op_frames() -> Vec<Operation> {
    const INTERRUPT: SetIsaIrqLevel = SetIsaIrqLevel {
        isa_irq: 4,
        level: 1,
    };
    let range = || {
        MapIoRangeToIoreqServer(IoreqServerRange {
            id: 1,
            type_: dm_op::IO_RANGE_MEMORY,
            start: 0xF000_0000,
            end: 0xF000_0FFF,
            ..Default::default()
        })
    };
    vec![
        Operation::new("encode a dm_op of 2 bytes", FEW, || {
            repeat(|| Frame::new(black_box(&INTERRUPT)))
        })
        .value::<10>(),
        Operation::new("encode a dm_op of 24 bytes", FEW, move || {
            let range = range();
            repeat(move || Frame::new(black_box(&range)))
        })
        .value::<32>(),
        Operation::new("read a dm_op of 24 bytes back", FEW, move || {
            let frame = Frame::new(&range());
            repeat(move || black_box(&frame).body())
        })
        .value::<24>(),
        Operation::new("decode any dm_op", FEW, move || {
            let frame = Frame::new(&range());
            repeat(move || dm_op::decode(black_box(frame.as_bytes())).is_some())
        })
        .value::<32>(),
    ]
}

fn ioreq_slots() -> Vec<Operation> {
    const SLOT: Ioreq = Ioreq {
        addr: 0x500,
        data: 0,
        count: 1,
        size: 4,
        vp_eport: 0,
        pad0: 0,
        flags: STATE_IOREQ_READY,
        type_: IOREQ_TYPE_PIO,
    };
    let buffered = || BufIoreq::new(IOREQ_TYPE_COPY, false, 2, 0xB_8000, 0x0741);
    vec![
        Operation::new("encode an ioreq slot", FEW, || {
            let mut to = [0; 32];
            repeat(move || {
                to.copy_from_slice(black_box(&SLOT).as_bytes());
                black_box(&mut to);
            })
        })
        .value::<32>(),
        Operation::new("decode an ioreq slot", FEW, || {
            let bytes: [u8; 32] = zerocopy::transmute!(SLOT);
            repeat(move || {
                let slot = Ioreq::read_from_bytes(black_box(&bytes)).ok()?;
                (slot.state() == STATE_IOREQ_READY).then_some((slot.addr, slot.size))
            })
        })
        .value::<32>(),
        Operation::new("encode a buffered ioreq", FEW, || {
            repeat(|| BufIoreq::new(IOREQ_TYPE_COPY, false, 2, black_box(0xB_8000), 0x0741))
        })
        .value::<8>(),
        Operation::new("decode a buffered ioreq", FEW, move || {
            let buffered = buffered().expect("in range");
            repeat(move || {
                let slot = black_box(buffered);
                (slot.is_read(), slot.size_log2(), slot.addr(), slot.data)
            })
        })
        .value::<8>(),
    ]
}

fn grants(count: u32) -> Vec<Operation> {
    let entries = move || -> Vec<_> {
        let entry = |reference| MapGrantRefEntry {
            domid: 7,
            reference,
        };
        (0..count).map(entry).collect()
    };
    let bytes = 16 + 8 * count as usize;
    vec![
        Operation::new(
            format!("encode a list of grants to map: {count}"),
            FEW,
            move || {
                let (entries, mut room) = (entries(), vec![0_u64; bytes / 8]);
                repeat(move || {
                    encoded(MapGrantRef::encode(
                        room.as_mut_bytes(),
                        black_box(&entries),
                    ))
                })
            },
        )
        .copy(bytes),
        Operation::new(
            format!("decode a list of grants to map: {count}"),
            FEW,
            move || {
                let mut room = vec![0_u64; bytes / 8];
                MapGrantRef::encode(room.as_mut_bytes(), &entries()).expect("there is room");
                repeat(move || {
                    let (_, entries) = MapGrantRef::decode(black_box(room.as_bytes()))?;
                    Some(sum(entries.iter().map(|entry| entry.reference)))
                })
            },
        )
        .copy(bytes),
        Operation::new(format!("encode grants to make: {count}"), FEW, move || {
            let mut room = vec![0_u64; bytes / 8];
            repeat(move || {
                let room = room.as_mut_bytes();
                encoded(AllocGref::encode(
                    room,
                    7,
                    AllocFlags::WRITABLE,
                    black_box(count),
                ))
            })
        })
        .copy(16 + 4 * count as usize),
    ]
}

fn sum(numbers: impl Iterator<Item = u32>) -> u32 {
    numbers.fold(0, u32::wrapping_add)
}

/// Both ways.
fn list_of<T: IntoBytes + FromBytes + Immutable + Copy + 'static>(
    what: &str,
    count: usize,
    entry: fn(usize) -> T,
) -> [Operation; 2] {
    let bytes = count * size_of::<T>();
    let entries = move || (0..count).map(entry).collect::<Vec<_>>();
    [
        Operation::new(
            format!("encode a list of {what}: {count}"),
            FEW,
            move || {
                let (entries, mut room) = (entries(), vec![0_u64; bytes.div_ceil(8)]);
                repeat(move || encoded(list::encode(room.as_mut_bytes(), black_box(&entries))))
            },
        )
        .copy(bytes),
        Operation::new(
            format!("decode a list of {what}: {count}"),
            FEW,
            move || {
                let entries = entries();
                let number = u32::try_from(count).expect("few");
                repeat(move || {
                    let entries = list::decode::<T>(black_box(entries.as_bytes()), number);
                    entries.map(|entries| black_box(entries).len())
                })
            },
        )
        // Where they are: nothing is copied.
        .value::<16>(),
    ]
}

fn batch() -> Operation {
    Operation::new("encode MMAPBATCH_V2", FEW, || {
        repeat(|| MmapBatchV2 {
            num: black_box(64),
            dom: 7,
            addr: black_box(0x1000),
            arr: black_box(0x2000),
            err: black_box(0x3000),
            ..Default::default()
        })
    })
    .value::<32>()
}
