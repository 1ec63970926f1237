// SPDX-License-Identifier: MIT OR Apache-2.0
//! I/O request servers: which of the guest's accesses come to this process,
//! and how they are answered.

use std::{
    ops::RangeInclusive,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

use xen_sys::{dm_op, ioreq, memory};

use crate::{
    dm_op::MemType,
    error::{Cause, Result},
    evtchn::{BoundPort, EventChannel},
    guest::{Guest, Resource, ResourceMapping},
    ids::{IoreqServerId, Port},
    state::State,
};

/// How many vcpus one page of request slots has room for; an HVM or PVH guest
/// has no more.
pub const MAX_VCPUS: u32 = 128;

/// Accesses of the guest that an ioreq server can claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IoRange {
    /// I/O ports.
    Ports(RangeInclusive<u16>),
    /// Guest physical addresses.
    Memory(RangeInclusive<u64>),
    /// The configuration space of a PCI function.
    Pci {
        /// Segment.
        segment: u16,
        /// Bus.
        bus: u8,
        /// Device, 0 to 31.
        device: u8,
        /// Function, 0 to 7.
        function: u8,
    },
}

/// A server of one guest. Dropping destroys it: Xen then answers the guest's
/// accesses itself, reads with all ones.
#[derive(Debug)]
pub struct IoreqServer {
    guest: Guest,
    id: IoreqServerId,
    buffered: bool,
    destroyed: bool,
}

impl Guest {
    /// Creates an ioreq server, disabled and with no ranges.
    ///
    /// With `buffered`, Xen may queue writes that need no answer
    /// ([`BufferedRequests`]).
    ///
    /// # Errors
    /// As the other [`Guest`] operations. Xen allows 8 servers a guest:
    /// `ENOSPC`.
    pub fn create_ioreq_server(&self, buffered: bool) -> Result<IoreqServer> {
        let op = dm_op::CreateIoreqServer {
            handle_bufioreq: if buffered {
                ioreq::HVM_IOREQSRV_BUFIOREQ_ATOMIC
            } else {
                ioreq::HVM_IOREQSRV_BUFIOREQ_OFF
            },
            ..Default::default()
        };
        let id = IoreqServerId::new(self.dm_op("create_ioreq_server", &op)?.id);
        Ok(IoreqServer {
            guest: self.clone(),
            id,
            buffered,
            destroyed: false,
        })
    }
}

impl IoreqServer {
    /// The server's number in its guest.
    #[must_use]
    pub fn id(&self) -> IoreqServerId {
        self.id
    }

    /// Claims a range. Ranges of one kind and server must not overlap.
    ///
    /// # Errors
    /// As [`Guest::create_ioreq_server`]; `EEXIST` for an overlap.
    pub fn map_range(&self, range: &IoRange) -> Result<()> {
        let op = dm_op::MapIoRangeToIoreqServer(self.range(range));
        self.guest
            .dm_op("map_io_range_to_ioreq_server", &op)
            .map(drop)
    }

    /// Gives up a range that was claimed, exactly as it was claimed.
    ///
    /// # Errors
    /// As [`Guest::create_ioreq_server`]; `ENOENT` for a range not claimed.
    pub fn unmap_range(&self, range: &IoRange) -> Result<()> {
        let op = dm_op::UnmapIoRangeFromIoreqServer(self.range(range));
        self.guest
            .dm_op("unmap_io_range_from_ioreq_server", &op)
            .map(drop)
    }

    fn range(&self, range: &IoRange) -> dm_op::IoreqServerRange {
        let (type_, start, end) = match range {
            IoRange::Ports(r) => (dm_op::IO_RANGE_PORT, (*r.start()).into(), (*r.end()).into()),
            IoRange::Memory(r) => (dm_op::IO_RANGE_MEMORY, *r.start(), *r.end()),
            IoRange::Pci {
                segment,
                bus,
                device,
                function,
            } => {
                let sbdf = dm_op::pci_sbdf(*segment, *bus, *device, *function).into();
                (dm_op::IO_RANGE_PCI, sbdf, sbdf)
            }
        };
        dm_op::IoreqServerRange {
            id: self.id.get(),
            type_,
            start,
            end,
            ..Default::default()
        }
    }

    /// Claims accesses to pages of a memory type: writes, or none
    /// (`map_mem_type_to_ioreq_server`; Xen has it for
    /// [`MemType::IoreqServer`]).
    ///
    /// # Errors
    /// As [`Guest::create_ioreq_server`].
    pub fn map_mem_type(&self, mem_type: MemType, writes: bool) -> Result<()> {
        let op = dm_op::MapMemTypeToIoreqServer {
            id: self.id.get(),
            type_: mem_type as u16,
            flags: if writes {
                dm_op::IOREQ_MEM_ACCESS_WRITE
            } else {
                0
            },
            ..Default::default()
        };
        self.guest
            .dm_op("map_mem_type_to_ioreq_server", &op)
            .map(drop)
    }

    /// Stops requests, or lets them come again after [`start`](Self::start).
    ///
    /// # Errors
    /// As [`Guest::create_ioreq_server`].
    pub fn set_enabled(&self, enabled: bool) -> Result<()> {
        let op = dm_op::SetIoreqServerState {
            id: self.id.get(),
            enabled: enabled.into(),
            ..Default::default()
        };
        self.guest.dm_op("set_ioreq_server_state", &op).map(drop)
    }

    /// Maps the request slots, enables the server, and binds the ports of the
    /// guest's first `vcpus` vcpus, through a handle that may bind to this
    /// guest.
    ///
    /// Xen tells the ports when the server is enabled, so requests can be
    /// waiting by the time this returns; the first [`VcpuRequests::serve`]
    /// finds them. On an error the server is disabled again.
    ///
    /// # Errors
    /// [`Cause::TooMany`] for more than [`MAX_VCPUS`]; as
    /// [`Guest::map_resource`] and [`EventChannel::bind_interdomain`]; `EINVAL`
    /// where the guest has fewer vcpus.
    pub fn start<S: State>(&self, events: &EventChannel<S>, vcpus: u32) -> Result<VcpuRequests> {
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            let cause = Cause::TooMany {
                what: "vcpus",
                count: vcpus as usize,
                limit: MAX_VCPUS as usize,
                hint: ", or ask for at least 1",
            };
            return Err(self.guest.wrong("start an ioreq server", cause));
        }
        let frame = memory::ioreq_server_frame_ioreq(0);
        let page = self
            .guest
            .map_resource(Resource::IoreqServer(self.id), frame, 1)?;
        // Only into a page that exists does Xen write the ports.
        self.set_enabled(true)?;
        let ports = self.connect(&page, events, vcpus as usize);
        let ports = ports.inspect_err(|_| {
            let _ = self.set_enabled(false);
        })?;
        Ok(VcpuRequests { page, ports })
    }

    fn connect<S: State>(
        &self,
        page: &ResourceMapping,
        events: &EventChannel<S>,
        vcpus: usize,
    ) -> Result<Vec<BoundPort>> {
        let bind = |vcpu: usize| {
            let remote = page.get::<u32>(vcpu * SLOT + VP_EPORT);
            let remote = remote.map_err(|e| self.guest.wrong("read a vcpu's port", e.into()))?;
            events.bind_guest(self.guest.id(), Port::new(remote))
        };
        (0..vcpus).map(bind).collect()
    }

    /// Maps the queue of buffered requests and binds its port.
    ///
    /// # Errors
    /// [`Cause::Invalid`] when the server was created without; as
    /// [`start`](Self::start).
    pub fn buffered_requests<S: State>(
        &self,
        events: &EventChannel<S>,
    ) -> Result<BufferedRequests> {
        if !self.buffered {
            let what = "the server has no buffered requests".into();
            let remedy = "create it with `buffered`";
            let cause = Cause::Invalid { what, remedy };
            return Err(self.guest.wrong("map the buffered requests", cause));
        }
        let resource = Resource::IoreqServer(self.id);
        let frame = memory::IOREQ_SERVER_FRAME_BUFIOREQ;
        let page = self.guest.map_resource(resource, frame, 1)?;
        let info = dm_op::GetIoreqServerInfo {
            id: self.id.get(),
            flags: dm_op::NO_GFNS,
            ..Default::default()
        };
        let info = self.guest.dm_op("get_ioreq_server_info", &info)?;
        let port = events.bind_guest(self.guest.id(), Port::new(info.bufioreq_port))?;
        Ok(BufferedRequests { page, port })
    }

    /// Destroys the server, as dropping does, and reports.
    ///
    /// # Errors
    /// As [`Guest::create_ioreq_server`].
    pub fn close(mut self) -> Result<()> {
        self.destroy()
    }

    fn destroy(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.destroyed, true) {
            return Ok(());
        }
        let op = dm_op::DestroyIoreqServer {
            id: self.id.get(),
            ..Default::default()
        };
        self.guest.dm_op("destroy_ioreq_server", &op).map(drop)
    }
}

impl Drop for IoreqServer {
    fn drop(&mut self) {
        let _ = self.destroy();
    }
}

/// What an access is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoKind {
    /// An I/O port.
    Port,
    /// A guest physical address.
    Memory,
    /// PCI configuration space: segment, bus, device and function in the high
    /// half of the address, the register in the low half.
    PciConfig,
    /// The guest changed its clock by `data` seconds.
    TimeOffset,
    /// Mappings of the guest's memory must be thrown away.
    Invalidate,
    /// A kind that this version does not know.
    Other(u8),
}

impl From<u8> for IoKind {
    fn from(kind: u8) -> Self {
        match kind {
            ioreq::IOREQ_TYPE_PIO => Self::Port,
            ioreq::IOREQ_TYPE_COPY => Self::Memory,
            ioreq::IOREQ_TYPE_PCI_CONFIG => Self::PciConfig,
            ioreq::IOREQ_TYPE_TIMEOFFSET => Self::TimeOffset,
            ioreq::IOREQ_TYPE_INVALIDATE => Self::Invalidate,
            other => Self::Other(other),
        }
    }
}

/// One access of the guest: a copy, taken once from the shared page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoRequest {
    /// What is accessed.
    pub kind: IoKind,
    /// The vcpu that waits, 0 for a buffered request.
    pub vcpu: u32,
    /// Whether the guest reads.
    pub read: bool,
    /// Port or guest physical address.
    pub address: u64,
    /// Bytes of one access: 1, 2, 4 or 8 from Xen, but check it.
    pub size: u32,
    /// How many accesses: more than 1 for a repeated instruction.
    pub count: u32,
    /// What is written; or where in guest memory, see `data_is_pointer`.
    pub data: u64,
    /// Whether `data` is a guest physical address to copy from or to, `count`
    /// times `size` bytes.
    pub data_is_pointer: bool,
    /// Whether addresses go down from one access to the next.
    pub descending: bool,
}

const SLOT: usize = size_of::<ioreq::Ioreq>();
const DATA: usize = std::mem::offset_of!(ioreq::Ioreq, data);
const VP_EPORT: usize = std::mem::offset_of!(ioreq::Ioreq, vp_eport);
const FLAGS: usize = std::mem::offset_of!(ioreq::Ioreq, flags);

/// The request slots of a guest's vcpus, one at a time in flight for each.
#[derive(Debug)]
pub struct VcpuRequests {
    page: ResourceMapping,
    ports: Vec<BoundPort>,
}

impl VcpuRequests {
    /// Waits at most `timeout` for requests, answers those that came, and
    /// returns how many: 0 when none did.
    ///
    /// `answer` returns what the guest reads; for a write it does not matter.
    ///
    /// # Errors
    /// As [`EventChannel::wait`] and [`EventChannel::pending`].
    pub fn serve<S: State>(
        &self,
        events: &EventChannel<S>,
        timeout: Duration,
        answer: impl FnMut(&IoRequest) -> u64,
    ) -> Result<usize> {
        if !events.wait(timeout)? {
            return Ok(0);
        }
        let mut queue = [Port::new(0); MAX_VCPUS as usize];
        let pending = events.pending(&mut queue)?;
        events.unmask(pending)?;
        self.answer(pending, answer)
    }

    /// Answers the requests behind `pending` ports, which the caller has
    /// unmasked; ports of others are left alone.
    ///
    /// # Errors
    /// As [`BoundPort::notify`].
    pub fn answer(
        &self,
        pending: &[Port],
        mut answer: impl FnMut(&IoRequest) -> u64,
    ) -> Result<usize> {
        let mut answered = 0;
        for port in pending {
            let Some(vcpu) = self.ports.iter().position(|bound| bound.port() == *port) else {
                continue;
            };
            if self.slot(vcpu).answer(&mut answer) {
                self.ports[vcpu].notify()?;
                answered += 1;
            }
        }
        Ok(answered)
    }

    fn slot(&self, vcpu: usize) -> Slot<'_> {
        Slot::new(&self.page, vcpu)
    }
}

/// One vcpu's place in the page that this process shares with Xen.
struct Slot<'p> {
    page: &'p crate::memory::SharedMemory,
    vcpu: usize,
    /// State in the low four bits; Xen and this side hand it back and forth.
    flags: &'p AtomicU8,
}

impl<'p> Slot<'p> {
    fn new(page: &'p crate::memory::SharedMemory, vcpu: usize) -> Self {
        let at = vcpu * SLOT + FLAGS;
        assert!(at < page.len(), "vcpus are counted when the page is mapped");
        let flags = page.map().start().as_ptr().wrapping_add(at);
        // SAFETY: inside the mapping, which lives as long as 'p; this byte is
        // only ever accessed atomically, here.
        let flags = unsafe { AtomicU8::from_ptr(flags) };
        Self { page, vcpu, flags }
    }

    /// Whether there was a request, which is then answered.
    fn answer(&self, answer: impl FnOnce(&IoRequest) -> u64) -> bool {
        // Acquire: what Xen wrote before it set the state is seen.
        let flags = self.flags.load(Ordering::Acquire);
        if flags & ioreq::FLAGS_STATE != ioreq::STATE_IOREQ_READY {
            return false;
        }
        let Ok(raw) = self.page.get::<ioreq::Ioreq>(self.vcpu * SLOT) else {
            return false;
        };
        let set_state = |state: u8| {
            self.flags
                .store(flags & !ioreq::FLAGS_STATE | state, Ordering::Release);
        };
        set_state(ioreq::STATE_IOREQ_INPROCESS);
        let request = IoRequest {
            kind: raw.type_.into(),
            #[allow(clippy::cast_possible_truncation, reason = "below MAX_VCPUS")]
            vcpu: self.vcpu as u32,
            read: flags & ioreq::FLAG_DIR != 0,
            address: raw.addr,
            size: raw.size,
            count: raw.count,
            data: raw.data,
            data_is_pointer: flags & ioreq::FLAG_DATA_IS_PTR != 0,
            descending: flags & ioreq::FLAG_DF != 0,
        };
        let value = answer(&request);
        if request.read && !request.data_is_pointer {
            // The page has the slot: it was read above.
            let _ = self.page.set(self.vcpu * SLOT + DATA, &value);
        }
        set_state(ioreq::STATE_IORESP_READY);
        true
    }
}

/// The queue of writes that need no answer.
#[derive(Debug)]
pub struct BufferedRequests {
    page: ResourceMapping,
    port: BoundPort,
}

impl BufferedRequests {
    /// The port that Xen notifies.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port.port()
    }

    /// Takes all requests out of the queue, oldest first, and returns how many.
    ///
    /// # Errors
    /// [`Cause::Invalid`] when the queue's pointers cannot be Xen's.
    pub fn drain(&self, take: impl FnMut(&IoRequest)) -> Result<usize> {
        drain(&self.page, take).map_err(|cause| {
            let handle = self.page.handle();
            crate::Error::new("read buffered requests", handle.device(), cause)
        })
    }
}

fn drain(
    page: &crate::memory::SharedMemory,
    mut take: impl FnMut(&IoRequest),
) -> Result<usize, Cause> {
    const SLOTS: u32 = ioreq::IOREQ_BUFFER_SLOT_NUM;
    // Both pointers in one word: the read pointer is the low half. Xen wraps
    // both at once, so they are only right together.
    // SAFETY: a page is larger than 8 bytes and aligned to 4096; the word is
    // only ever accessed atomically, here.
    let pointers = unsafe { AtomicU64::from_ptr(page.map().start().as_ptr().cast()) };
    let mut taken = 0;
    loop {
        let now = pointers.load(Ordering::Acquire);
        #[allow(clippy::cast_possible_truncation, reason = "two halves of 64 bits")]
        let (read, written) = (now as u32, (now >> 32) as u32);
        let queued = written.wrapping_sub(read);
        if queued == 0 {
            return Ok(taken);
        }
        let first = entry(page, read)?;
        // Eight bytes of data take two slots.
        let used = if first.size_log2() == 3 { 2 } else { 1 };
        if queued > SLOTS || used > queued {
            return Err(Cause::Invalid {
                what: format!("{queued} of {SLOTS} slots queued"),
                remedy: "destroy the server: its queue is broken",
            });
        }
        let high = if used == 2 {
            entry(page, read.wrapping_add(1))?.data
        } else {
            0
        };
        take(&IoRequest {
            kind: first.type_.into(),
            vcpu: 0,
            read: first.is_read(),
            address: first.addr().into(),
            size: 1 << first.size_log2(),
            count: 1,
            data: u64::from(high) << 32 | u64::from(first.data),
            data_is_pointer: false,
            descending: false,
        });
        taken += 1;
        advance(pointers, used);
    }
}

/// Moves the read pointer, whatever Xen does to the pointers meanwhile.
fn advance(pointers: &AtomicU64, slots: u32) {
    let moved = |word: u64| {
        #[allow(clippy::cast_possible_truncation, reason = "the low half")]
        let read = (word as u32).wrapping_add(slots);
        Some(word >> 32 << 32 | u64::from(read))
    };
    let _ = pointers.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
}

fn entry(page: &crate::memory::SharedMemory, index: u32) -> Result<ioreq::BufIoreq, Cause> {
    let slot = (index % ioreq::IOREQ_BUFFER_SLOT_NUM) as usize;
    let at = std::mem::offset_of!(ioreq::BufferedIopage, buf_ioreq);
    Ok(page.get(at + slot * size_of::<ioreq::BufIoreq>())?)
}
