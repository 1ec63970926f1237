// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every operation of the ABI, in a form that Xen takes, with random arguments.

use xen_sys::{dm_op::*, hvm_op, sched};
use zerocopy::IntoBytes;

use crate::{attempt::Attempt, random::Random};

fn of<T: Operation>(body: T) -> Attempt {
    Attempt::of(body)
}

type Make = fn(&mut Random) -> Attempt;

/// How often, and what. What ends the guest is rare: a new one takes a second.
const TABLE: &[(u64, Make)] = &[
    (40, |r| {
        of(CreateIoreqServer {
            handle_bufioreq: r.u8(3),
            ..Default::default()
        })
    }),
    (40, |r| {
        let flags = r.u16(2);
        of(GetIoreqServerInfo {
            id: r.u16(8),
            flags,
            ..Default::default()
        })
    }),
    (80, |r| of(MapIoRangeToIoreqServer(range(r)))),
    (60, |r| of(UnmapIoRangeFromIoreqServer(range(r)))),
    (40, |r| {
        of(SetIoreqServerState {
            id: r.u16(8),
            enabled: r.u8(2),
            pad: 0,
        })
    }),
    (30, |r| {
        of(DestroyIoreqServer {
            id: r.u16(8),
            pad: 0,
        })
    }),
    (40, |r| {
        let data = bytes(r);
        of(TrackDirtyVram {
            nr: r.frames(),
            first_pfn: r.gfn(),
            pad: 0,
        })
        .with(data)
    }),
    (40, |r| {
        of(SetPciIntxLevel {
            domain: if r.once_in(8) { r.u16(2) } else { 0 },
            bus: if r.once_in(8) { r.u8(2) } else { 0 },
            device: r.u8(32),
            intx: r.u8(4),
            level: r.u8(2),
        })
    }),
    (40, |r| {
        // Never raised: Xen dies of it where the guest has no PIC (docs/campaign.md).
        of(SetIsaIrqLevel {
            isa_irq: r.u8(16),
            level: 0,
        })
    }),
    (40, |r| {
        // Nowhere, or where there is nothing: a raised line that is routed is as above.
        of(SetPciLinkRoute {
            link: r.u8(4),
            isa_irq: r.one_of(&[0, 16, 255]),
        })
    }),
    (40, |r| {
        let extents = 1 + r.below(8);
        let extent = |r: &mut Random| ModifiedMemoryExtent {
            nr: r.frames(),
            pad: 0,
            first_pfn: r.gfn(),
        };
        let extents: Vec<_> = (0..extents).map(|_| extent(r)).collect();
        let said = if r.once_in(8) {
            r.u32(300)
        } else {
            u32::try_from(extents.len()).unwrap()
        };
        of(ModifiedMemory {
            nr_extents: said,
            opaque: 0,
        })
        .with(extents.as_bytes().to_vec())
    }),
    (60, |r| {
        const TYPES: &[u16] = &[
            hvm_op::HVMMEM_RAM_RW,
            hvm_op::HVMMEM_RAM_RO,
            hvm_op::HVMMEM_MMIO_DM,
            3,
            hvm_op::HVMMEM_IOREQ_SERVER,
            5,
        ];
        of(SetMemType {
            nr: r.frames(),
            mem_type: r.one_of(TYPES),
            pad: 0,
            first_pfn: r.gfn(),
        })
    }),
    (1, |r| {
        of(InjectEvent {
            vcpuid: r.u32(2),
            vector: r.u8(32),
            type_: r.u8(7),
            insn_len: r.u8(16),
            error_code: if r.once_in(2) { u32::MAX } else { r.u32(32) },
            cr2: r.word(),
            ..Default::default()
        })
    }),
    (40, |r| {
        let addr = if r.once_in(8) {
            r.word()
        } else {
            0xfee0_0000 | r.below(1 << 20)
        };
        of(InjectMsi {
            data: r.u32(1 << 16),
            pad: 0,
            addr,
        })
    }),
    (40, |r| {
        of(MapMemTypeToIoreqServer {
            id: r.u16(8),
            type_: if r.once_in(4) {
                r.u16(6)
            } else {
                hvm_op::HVMMEM_IOREQ_SERVER
            },
            flags: r.u32(4),
            opaque: 0,
        })
    }),
    (1, |r| {
        of(RemoteShutdown {
            reason: r.u32(sched::SHUTDOWN_SOFT_RESET + 2),
        })
    }),
    (60, |r| {
        let (src_gfn, dst_gfn) = (r.gfn(), r.gfn());
        of(RelocateMemory {
            size: r.frames(),
            pad: 0,
            src_gfn,
            dst_gfn,
        })
    }),
    (60, |r| {
        const TYPES: &[u32] = &[
            MEM_CACHEATTR_UC,
            MEM_CACHEATTR_WC,
            2,
            MEM_CACHEATTR_WT,
            MEM_CACHEATTR_WP,
            MEM_CACHEATTR_WB,
            MEM_CACHEATTR_UCM,
            DELETE_MEM_CACHEATTR,
        ];
        let start = r.gfn();
        let end = start.wrapping_add(r.frames().into());
        of(PinMemoryCacheattr {
            start,
            end,
            type_: r.one_of(TYPES),
            pad: 0,
        })
    }),
    (10, |r| {
        of(SetIrqLevel {
            irq: r.u32(64),
            level: r.u8(2),
            ..Default::default()
        })
    }),
    (10, |_| of(NrVcpus::default())),
];

/// One of the table's.
pub(crate) fn any(random: &mut Random) -> Attempt {
    let total: u64 = TABLE.iter().map(|(weight, _)| weight).sum();
    let mut at = random.below(total);
    for (weight, make) in TABLE {
        if at < *weight {
            return make(random);
        }
        at -= weight;
    }
    unreachable!("below the sum of all")
}

fn range(r: &mut Random) -> IoreqServerRange {
    let type_ = r.u32(3);
    let start = match type_ {
        IO_RANGE_PORT => r.below(1 << 16),
        IO_RANGE_PCI => r.below(1 << 32),
        _ => r.gfn() << 12,
    };
    let length = if r.once_in(8) {
        r.word()
    } else {
        r.below(4096)
    };
    let end = start.wrapping_add(length);
    IoreqServerRange {
        id: r.u16(8),
        pad: 0,
        type_,
        start,
        end,
    }
}

/// Never none: of an empty buffer that starts a page the driver takes all pages behind it.
fn bytes(r: &mut Random) -> Vec<u8> {
    let length = usize::try_from(1 + r.below(4096)).unwrap();
    vec![r.u8(255); length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_in_the_table() {
        let mut random = Random::new(1);
        let mut numbers: Vec<_> = TABLE
            .iter()
            .map(|(_, make)| make(&mut random).number())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, ALL);
    }
}
