// SPDX-License-Identifier: MIT OR Apache-2.0
//! What does the encoding itself cost, next to the system call that follows?
//!
//! A `dm_op` or a grant request ends in the kernel: some hundred nanoseconds at
//! least, microseconds with a hypercall. The encoding should not be visible
//! beside that, and the decoding of an ioreq slot, which needs no call, should
//! be a few nanoseconds. No device is touched and no time is asserted.
//!
//! Repeat with `cargo bench -p xen-restrict-benches --bench abi`; compare with
//! an earlier run by `-- --save-baseline NAME`, then `-- --baseline NAME`.
#![allow(missing_docs, reason = "criterion's macros define public functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xen_sys::{
    dm_op::{self, Frame, IoreqServerRange, MapIoRangeToIoreqServer, SetIsaIrqLevel},
    gntalloc::{AllocFlags, AllocGref},
    gntdev::{MapGrantRef, MapGrantRefEntry},
    ioreq::{BufIoreq, IOREQ_TYPE_COPY, IOREQ_TYPE_PIO, Ioreq, STATE_IOREQ_READY},
    list,
    privcmd::DmOpBuf,
};
use zerocopy::{FromBytes, IntoBytes};

const REFERENCES: [u32; 3] = [1, 16, 256];

/// Someone reads what was encoded, as the kernel would: no store is left out.
fn encoded(bytes: Option<&mut [u8]>) -> usize {
    black_box(bytes).map_or(0, |bytes| bytes.len())
}

/// The smallest operation, which a device model sends most, and the largest.
fn dm_op_frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("dm_op");
    let interrupt = SetIsaIrqLevel {
        isa_irq: 4,
        level: 1,
    };
    let range = MapIoRangeToIoreqServer(IoreqServerRange {
        id: 1,
        type_: dm_op::IO_RANGE_MEMORY,
        start: 0xF000_0000,
        end: 0xF000_0FFF,
        ..Default::default()
    });
    group.bench_function("encode 2 bytes", |b| {
        b.iter(|| Frame::new(black_box(&interrupt)));
    });
    group.bench_function("encode 24 bytes", |b| {
        b.iter(|| Frame::new(black_box(&range)));
    });
    let frame = Frame::new(&range);
    group.bench_function("read 24 bytes back", |b| {
        b.iter(|| black_box(&frame).body());
    });
    group.bench_function("decode any", |b| {
        b.iter(|| dm_op::decode(black_box(frame.as_bytes())).is_some());
    });
    let buffers = [DmOpBuf {
        uptr: 0x1000,
        size: 32,
    }; 2];
    let mut room = [0_u64; 4];
    group.bench_function("encode 2 buffers", |b| {
        b.iter(|| encoded(list::encode(room.as_mut_bytes(), black_box(&buffers))));
    });
    group.finish();
}

fn grant_lists(c: &mut Criterion) {
    let mut group = c.benchmark_group("grants");
    for count in REFERENCES {
        let entries: Vec<_> = (0..count)
            .map(|reference| MapGrantRefEntry {
                domid: 7,
                reference,
            })
            .collect();
        group.throughput(Throughput::Elements(count.into()));
        let mut room = vec![0_u64; entries.len() + 2];
        group.bench_with_input(BenchmarkId::new("encode", count), &entries, |b, entries| {
            b.iter(|| encoded(MapGrantRef::encode(room.as_mut_bytes(), black_box(entries))));
        });
        group.bench_with_input(BenchmarkId::new("decode", count), &room, |b, room| {
            b.iter(|| {
                let (_, entries) = MapGrantRef::decode(black_box(room.as_bytes()))?;
                Some(
                    entries
                        .iter()
                        .map(|e| e.reference)
                        .fold(0, u32::wrapping_add),
                )
            });
        });
        let mut room = room.clone();
        group.bench_function(BenchmarkId::new("encode an allocation", count), |b| {
            let flags = AllocFlags::WRITABLE;
            let room = room.as_mut_bytes();
            b.iter(|| encoded(AllocGref::encode(room, 7, flags, black_box(count))));
        });
    }
    group.finish();
}

fn ioreq_slots(c: &mut Criterion) {
    let mut group = c.benchmark_group("ioreq");
    let slot = Ioreq {
        addr: 0x500,
        size: 4,
        count: 1,
        flags: STATE_IOREQ_READY,
        type_: IOREQ_TYPE_PIO,
        ..Default::default()
    };
    let bytes: [u8; 32] = zerocopy::transmute!(slot);
    group.bench_function("decode a slot", |b| {
        b.iter(|| {
            let slot = Ioreq::read_from_bytes(black_box(&bytes)).ok()?;
            (slot.state() == STATE_IOREQ_READY).then_some((slot.addr, slot.size))
        });
    });
    let buffered = BufIoreq::new(IOREQ_TYPE_COPY, false, 2, 0xB_8000, 0x0741).expect("in range");
    group.bench_function("decode a buffered slot", |b| {
        b.iter(|| {
            let slot = black_box(buffered);
            (slot.is_read(), slot.size_log2(), slot.addr(), slot.data)
        });
    });
    group.bench_function("encode a buffered slot", |b| {
        b.iter(|| BufIoreq::new(IOREQ_TYPE_COPY, false, 2, black_box(0xB_8000), 0x0741));
    });
    group.finish();
}

criterion_group!(abi, dm_op_frames, grant_lists, ioreq_slots);
criterion_main!(abi);
