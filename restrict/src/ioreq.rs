// SPDX-License-Identifier: MIT OR Apache-2.0
//! I/O request servers: which of the guest's accesses come to this process.
//! `io_request.rs` has how they are answered.

use std::{
    ops::RangeInclusive,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use xen_sys::{dm_op, ioreq, memory};

use crate::{
    dm_op::MemType,
    error::{Cause, Result},
    evtchn::EventChannel,
    guest::{Guest, Resource},
    handle::Ticket,
    ids::{IoreqServerId, Port},
    io_request::{BufferedRequests, Slots, VcpuRequests},
    leftover::Held,
    mmap::Access,
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
/// accesses itself, reads with all ones. A vcpu that waits for an answer goes on. In a forked
/// child dropping does nothing: the server is its parent's.
#[derive(Debug)]
pub struct IoreqServer {
    guest: Guest,
    id: IoreqServerId,
    buffered: bool,
    enabled: AtomicBool,
    /// Xen has made its pages.
    has_pages: AtomicBool,
    /// Whose child does not end it.
    owner: u32,
    /// Of the last start.
    slots: Mutex<Option<Arc<Slots>>>,
    /// Gone once the server is destroyed.
    ticket: Option<Ticket>,
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
        let (id, ticket) = self.handle.record(Some(self.id), || {
            let created = self.dm_op_in_passing("create_ioreq_server", &op, None)?;
            let id = IoreqServerId::new(created.id);
            Ok((id, Held::IoreqServer(id)))
        })?;
        Ok(IoreqServer {
            guest: self.clone(),
            id,
            buffered,
            enabled: AtomicBool::new(false),
            has_pages: AtomicBool::new(false),
            owner: process::id(),
            slots: Mutex::new(None),
            ticket: Some(ticket),
        })
    }

    /// Takes over a server that a device model of this guest left behind when it was killed,
    /// with the ranges that it had claimed and the requests that it had not answered.
    ///
    /// Xen keeps the server of a process that has ended, and a vcpu whose request was not
    /// answered waits. [`VcpuRequests::serve`] answers it now: for the second time, if the
    /// other process had nearly done so. A server with buffered requests keeps them.
    ///
    /// Ids are 0 to 7. One that nobody serves is told by its ports, which can be bound; one
    /// that is just being started cannot be told from that: know who else serves this guest.
    ///
    /// # Errors
    /// As [`IoreqServer::start`]; `ENOENT` where the guest has no such server, `EINVAL` where
    /// somebody serves it. It stays there, as it was.
    pub fn take_over_ioreq_server<S: State>(
        &self,
        id: IoreqServerId,
        events: &EventChannel<S>,
        vcpus: u32,
    ) -> Result<(IoreqServer, VcpuRequests)> {
        let info = dm_op::GetIoreqServerInfo {
            id: id.get(),
            flags: dm_op::NO_GFNS,
            ..Default::default()
        };
        let info = self.dm_op("get_ioreq_server_info", &info)?;
        let mut server = IoreqServer {
            guest: self.clone(),
            id,
            buffered: info.bufioreq_port != 0,
            enabled: AtomicBool::new(false),
            has_pages: AtomicBool::new(false),
            owner: process::id(),
            slots: Mutex::new(None),
            // Until it is ours it is not destroyed.
            ticket: None,
        };
        let slots = server.begin(events, vcpus)?;
        // There may be an answer whose event was never sent.
        slots.notify_all()?;
        let record = || Ok(((), Held::IoreqServer(id)));
        let ((), ticket) = self.handle.record(Some(self.id), record)?;
        server.ticket = Some(ticket);
        Ok((server, VcpuRequests::new(slots)))
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
        const NAME: &str = "map_io_range_to_ioreq_server";
        let op = dm_op::MapIoRangeToIoreqServer(self.range(NAME, range)?);
        self.guest.dm_op(NAME, &op).map(drop)
    }

    /// Gives up a range that was claimed, exactly as it was claimed.
    ///
    /// # Errors
    /// As [`Guest::create_ioreq_server`]; `ENOENT` for a range not claimed.
    pub fn unmap_range(&self, range: &IoRange) -> Result<()> {
        const NAME: &str = "unmap_io_range_from_ioreq_server";
        let op = dm_op::UnmapIoRangeFromIoreqServer(self.range(NAME, range)?);
        self.guest.dm_op(NAME, &op).map(drop)
    }

    fn range(&self, name: &'static str, range: &IoRange) -> Result<dm_op::IoreqServerRange> {
        let (type_, start, end) = match range {
            IoRange::Ports(r) => (dm_op::IO_RANGE_PORT, (*r.start()).into(), (*r.end()).into()),
            IoRange::Memory(r) => (dm_op::IO_RANGE_MEMORY, *r.start(), *r.end()),
            IoRange::Pci {
                device, function, ..
            } if *device > 31 || *function > 7 => {
                let what = format!("PCI device {device}, function {function}");
                let remedy = "devices are 0 to 31, functions 0 to 7";
                return Err(self.guest.wrong(name, Cause::Invalid { what, remedy }));
            }
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
        Ok(dm_op::IoreqServerRange {
            id: self.id.get(),
            type_,
            start,
            end,
            ..Default::default()
        })
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
    /// As [`Guest::create_ioreq_server`]; [`Cause::Invalid`] to enable it before it
    /// was started: Xen would look for a request's slot in a page that is not there,
    /// and die.
    pub fn set_enabled(&self, enabled: bool) -> Result<()> {
        if enabled && !self.has_pages.load(Ordering::Relaxed) {
            let what = "the server has no pages yet, and Xen would die".into();
            let remedy = "start it";
            let cause = Cause::Invalid { what, remedy };
            return Err(self.guest.wrong("set_ioreq_server_state", cause));
        }
        let op = dm_op::SetIoreqServerState {
            id: self.id.get(),
            enabled: enabled.into(),
            ..Default::default()
        };
        self.guest.dm_op("set_ioreq_server_state", &op)?;
        self.enabled.store(enabled, Ordering::Relaxed);
        Ok(())
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
    /// [`Cause::TooMany`] for more than [`MAX_VCPUS`]; [`Cause::Invalid`] for a
    /// server that is enabled, which stays so; as [`Guest::map_resource`] and [`EventChannel::bind_interdomain`]; `EINVAL`
    /// where the guest has fewer vcpus.
    pub fn start<S: State>(&self, events: &EventChannel<S>, vcpus: u32) -> Result<VcpuRequests> {
        let was_enabled = self.enabled.load(Ordering::Relaxed);
        let slots = self.begin(events, vcpus);
        if slots.is_err() && !was_enabled && self.enabled.load(Ordering::Relaxed) {
            let _ = self.set_enabled(false);
        }
        slots.map(VcpuRequests::new)
    }

    /// The same, and on an error it stays as it is then.
    fn begin<S: State>(&self, events: &EventChannel<S>, vcpus: u32) -> Result<Arc<Slots>> {
        const NAME: &str = "start an ioreq server";
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            let cause = Cause::TooMany {
                what: "vcpus",
                count: vcpus as usize,
                limit: MAX_VCPUS as usize,
                hint: ", or ask for at least 1",
            };
            return Err(self.guest.wrong(NAME, cause));
        }
        if self.enabled.load(Ordering::Relaxed) {
            let what = "the server is enabled, and Xen tells its ports only then".into();
            let remedy = "start it once; disable it to start it again";
            return Err(self.guest.wrong(NAME, Cause::Invalid { what, remedy }));
        }
        // Xen's ports are bound once.
        drop(self.slots().take());
        let frame = memory::ioreq_server_frame_ioreq(0);
        let page =
            self.guest
                .map_resource(Resource::IoreqServer(self.id), frame, 1, Access::ReadWrite)?;
        self.has_pages.store(true, Ordering::Relaxed);
        // Only into a page that exists does Xen write the ports.
        self.set_enabled(true)?;
        let slots = Arc::new(Slots::connect(page, events, self.guest.id(), vcpus)?);
        *self.slots() = Some(Arc::clone(&slots));
        Ok(slots)
    }

    fn slots(&self) -> MutexGuard<'_, Option<Arc<Slots>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
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
        let page = self
            .guest
            .map_resource(resource, frame, 1, Access::ReadWrite)?;
        let info = dm_op::GetIoreqServerInfo {
            id: self.id.get(),
            flags: dm_op::NO_GFNS,
            ..Default::default()
        };
        let info = self.guest.dm_op("get_ioreq_server_info", &info)?;
        let port = events.bind_guest(self.guest.id(), Port::new(info.bufioreq_port))?;
        Ok(BufferedRequests::new(page, port))
    }

    /// Destroys the server, as dropping does, and reports.
    ///
    /// # Errors
    /// As [`Guest::create_ioreq_server`].
    pub fn close(mut self) -> Result<()> {
        self.destroy()
    }

    fn destroy(&mut self) -> Result<()> {
        let Some(ticket) = self.ticket.take() else {
            return Ok(());
        };
        if self.owner != process::id() {
            return Ok(());
        }
        if let Some(slots) = self.slots().take() {
            // Whatever else fails: they wait for nobody any more.
            let _ = self.set_enabled(false);
            slots.let_go();
        }
        let op = dm_op::DestroyIoreqServer {
            id: self.id.get(),
            ..Default::default()
        };
        let destroyed = self.guest.dm_op("destroy_ioreq_server", &op).map(drop);
        match &destroyed {
            Ok(()) => {}
            // The guest is gone, or going and held by a mapping.
            Err(error) if matches!(error.cause, Cause::NoSuchDomain) => {}
            Err(error) if error.cause.raw_os_error() == Some(libc::ENOENT) => {}
            // Still there: no restriction may overlook it.
            Err(_) => ticket.keep_handle(),
        }
        destroyed
    }
}

impl Drop for IoreqServer {
    fn drop(&mut self) {
        let _ = self.destroy();
    }
}
