// SPDX-License-Identifier: MIT OR Apache-2.0
//! The library's operations, on what the process kept from before it was
//! restricted: the types say nothing about those, so the kernel has to.

use xen_restrict::{
    Access, CacheAttr, CopySegment, Event, EventChannel, EventKind, Gfn, GrantAllocator,
    GrantDevice, GrantRef, GrantedByte, GuestId, MemType, PciAddress, Port, PrivCmd, Resource,
    Result,
};

use super::{
    Attempt,
    Expect::{self, All, Others},
    Handles, How,
    Seen::{Latched, Refused, Revoked},
};

type Call = fn(&Handles, GuestId) -> Result<()>;

const fn on(name: &'static str, expect: Expect, call: Call) -> Attempt {
    let how = How::Api(call);
    Attempt {
        name,
        has_domid: true,
        expect,
        how,
    }
}

const fn at(name: &'static str, expect: Expect, call: Call) -> Attempt {
    let how = How::Api(call);
    Attempt {
        name,
        has_domid: false,
        expect,
        how,
    }
}

/// Only its own guest.
const OWN: Expect = Others(Refused);
/// A page that the lab's guests do not use.
const UNUSED: Gfn = Gfn::new(0x300);
const GRANT: GrantRef = GrantRef::new(8);
const DEVICE: PciAddress = PciAddress {
    domain: 0,
    bus: 0,
    device: 3,
};

pub(super) static ATTEMPTS: &[Attempt] = &[
    at("PrivCmd::open", All(Latched), |_, _| {
        PrivCmd::open().map(drop)
    }),
    at("EventChannel::open", All(Latched), |_, _| {
        EventChannel::open().map(drop)
    }),
    at("GrantDevice::open", All(Latched), |_, _| {
        GrantDevice::open().map(drop)
    }),
    at("GrantAllocator::open", All(Latched), |_, _| {
        GrantAllocator::open().map(drop)
    }),
    at("PrivCmd::xen_version", All(Refused), |h, _| {
        h.privcmd.xen_version().map(drop)
    }),
    on("PrivCmd::hvm_param", All(Refused), |h, g| {
        h.privcmd.hvm_param(g, 1).map(drop)
    }),
    on("PrivCmd::set_hvm_param", All(Refused), |h, g| {
        h.privcmd.set_hvm_param(g, u32::MAX, 0)
    }),
    on("Guest::map", OWN, |h, g| {
        h.privcmd.guest(g).map(&[UNUSED], Access::Read).map(drop)
    }),
    on("Guest::resource_frames", OWN, |h, g| {
        h.privcmd
            .guest(g)
            .resource_frames(Resource::GrantTable)
            .map(drop)
    }),
    on("Guest::map_resource", OWN, |h, g| {
        h.privcmd
            .guest(g)
            .map_resource(Resource::GrantTable, 0, 1, Access::Read)
            .map(drop)
    }),
    on("Guest::create_ioreq_server", OWN, |h, g| {
        h.privcmd.guest(g).create_ioreq_server(true).map(drop)
    }),
    on("Guest::track_dirty_vram", OWN, |h, g| {
        h.privcmd.guest(g).track_dirty_vram(UNUSED, 1, &mut [0])
    }),
    on("Guest::set_pci_intx_level", OWN, |h, g| {
        h.privcmd.guest(g).set_pci_intx_level(DEVICE, 0, false)
    }),
    on("Guest::set_isa_irq_level", OWN, |h, g| {
        h.privcmd.guest(g).set_isa_irq_level(5, false)
    }),
    on("Guest::set_pci_link_route", OWN, |h, g| {
        h.privcmd.guest(g).set_pci_link_route(0, 0)
    }),
    on("Guest::set_irq_level", OWN, |h, g| {
        h.privcmd.guest(g).set_irq_level(1, false)
    }),
    on("Guest::modified_memory", OWN, |h, g| {
        h.privcmd.guest(g).modified_memory(&[(UNUSED, 1)])
    }),
    on("Guest::set_mem_type", OWN, |h, g| {
        h.privcmd.guest(g).set_mem_type(UNUSED, 1, MemType::RamRw)
    }),
    on("Guest::inject_event", OWN, |h, g| {
        // A vcpu that the guest does not have.
        let event = Event {
            vector: 255,
            kind: EventKind::ExternalInterrupt,
            instruction_length: 0,
            error_code: u32::MAX,
            extra: 0,
        };
        h.privcmd.guest(g).inject_event(4096, event)
    }),
    on("Guest::inject_msi", OWN, |h, g| {
        h.privcmd.guest(g).inject_msi(0, 0)
    }),
    on("Guest::relocate_memory", OWN, |h, g| {
        h.privcmd.guest(g).relocate_memory(UNUSED, UNUSED, 0)
    }),
    on("Guest::pin_memory_cacheattr", OWN, |h, g| {
        h.privcmd
            .guest(g)
            .pin_memory_cacheattr(Gfn::new(0), Gfn::new(1), CacheAttr::Delete)
    }),
    on("Guest::nr_vcpus", OWN, |h, g| {
        h.privcmd.guest(g).nr_vcpus().map(drop)
    }),
    on("Guest::dm_op_raw remote_shutdown", OWN, |h, g| {
        // Too short for Xen to act on.
        let mut remote_shutdown = [16, 0, 0, 0];
        h.privcmd.guest(g).dm_op_raw(&mut [&mut remote_shutdown])
    }),
    on("EventChannel::bind_interdomain", OWN, |h, g| {
        h.events.bind_interdomain(g, Port::new(u32::MAX)).map(drop)
    }),
    on("EventChannel::bind_unbound_port", All(Refused), |h, g| {
        h.events.bind_unbound_port(g).map(drop)
    }),
    at("EventChannel::bind_virq", All(Refused), |h, _| {
        h.events.bind_virq(1).map(drop)
    }),
    on("GrantDevice::map", All(Revoked), |h, g| {
        h.grants.map(g, &[GRANT], Access::Read).map(drop)
    }),
    on("GrantDevice::copy", All(Revoked), |h, guest| {
        let mut buffer = [0];
        let from = GrantedByte {
            guest,
            grant: GRANT,
            offset: 0,
        };
        match CopySegment::read(from, &mut buffer) {
            Ok(segment) => h.grants.copy(&mut [segment]),
            Err(_) => unreachable!("one byte at offset 0 is inside a page"),
        }
    }),
    on("GrantAllocator::grant", All(Revoked), |h, g| {
        h.pages.grant(g, 1, Access::Read).map(drop)
    }),
];
