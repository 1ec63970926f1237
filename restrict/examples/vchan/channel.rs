// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client's side of a vchan, by Xen's `public/io/libxenvchan.h`: two rings of bytes in
//! pages that the server, the guest, granted, and an event channel for wake-ups.
//!
//! The guest is not trusted: what it says of sizes is checked once, its counters at each
//! use, and a server that breaks the rules is an error. It cannot reach beyond the pages
//! that it granted.

use std::{
    io,
    sync::atomic::{Ordering, fence},
};

use xen_restrict::{
    Access, BoundPort, EventChannel, GrantDevice, GrantRef, MappedGrants, Port, Restricted,
    UnmapNotify,
};

/// Offsets in the control page (`struct vchan_interface`). Left is from the client to the
/// server, right is back.
const LEFT: Counters = Counters { cons: 0, prod: 4 };
const RIGHT: Counters = Counters { cons: 8, prod: 12 };
const LEFT_ORDER: usize = 16;
const RIGHT_ORDER: usize = 18;
const CLIENT_LIVE: usize = 20;
const SERVER_LIVE: usize = 21;
/// What the client is to tell of, as the server asks; and the reverse.
const CLIENT_NOTIFY: usize = 22;
const SERVER_NOTIFY: usize = 23;
const GRANTS: usize = 24;
/// `VCHAN_NOTIFY_WRITE`, `VCHAN_NOTIFY_READ`.
const WRITE: u8 = 1;
const READ: u8 = 2;

/// Rings of 1 and 2 KiB are in the control page, larger ones in pages of their own.
const SMALL: u16 = 10;
const MIDDLE: u16 = 11;
/// A page each from here on, to 1 MiB.
const PAGE: u16 = 12;
const LARGEST: u16 = 20;

#[derive(Clone, Copy)]
struct Counters {
    cons: usize,
    prod: usize,
}

/// A ring's bytes.
struct Ring {
    counters: Counters,
    size: u32,
    place: Place,
}

enum Place {
    /// In the control page, from here on.
    Control(usize),
    Pages(MappedGrants),
}

/// A connection.
pub(crate) struct Channel {
    control: MappedGrants,
    to_server: Ring,
    to_client: Ring,
    events: EventChannel<Restricted>,
    port: BoundPort,
}

impl Channel {
    /// Connects to a server that waits for a client.
    pub(crate) fn connect(
        grants: &GrantDevice<Restricted>,
        events: &EventChannel<Restricted>,
        control: GrantRef,
        server: Port,
    ) -> io::Result<Self> {
        let control = grants.map(&[control], Access::ReadWrite)?;
        if control.get::<u8>(SERVER_LIVE).map_err(io::Error::other)? != 1 {
            return Err(refused("there is no server at this page"));
        }
        // Once: the server could change them while they are used.
        let order = |at| control.get::<u16>(at).map_err(io::Error::other);
        let (left, right) = (order(LEFT_ORDER)?, order(RIGHT_ORDER)?);
        let in_page = |order| matches!(order, SMALL | MIDDLE);
        if in_page(left) && left == right {
            return Err(refused("both rings are at the same place"));
        }
        let mut references = GRANTS;
        let to_server = ring(grants, &control, LEFT, left, &mut references)?;
        let to_client = ring(grants, &control, RIGHT, right, &mut references)?;
        let port = events.bind_interdomain(server)?;
        let channel = Self {
            control,
            to_server,
            to_client,
            events: events.clone(),
            port,
        };
        channel.set(CLIENT_LIVE, 1)?;
        // However this process ends, the server learns of it.
        channel.control.notify_on_unmap(UnmapNotify {
            clear_byte: Some(CLIENT_LIVE),
            send_event: Some(&channel.port),
        })?;
        channel.set(SERVER_NOTIFY, WRITE)?;
        channel.port.notify()?;
        Ok(channel)
    }

    /// Sends as much as there is room for, without waiting.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let ring = &self.to_server;
        let (cons, prod) = ring.counters(&self.control)?;
        let room = ring.size - prod.wrapping_sub(cons);
        let length = bytes.len().min(room as usize);
        for (offset, piece) in ring.pieces(prod, length) {
            let memory = ring.memory(&self.control);
            let from = &bytes[piece];
            memory.write(offset, from).map_err(io::Error::other)?;
        }
        self.moved(ring.counters.prod, prod, length, WRITE)?;
        Ok(length)
    }

    /// Receives what there is, without waiting.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ring = &self.to_client;
        let (cons, prod) = ring.counters(&self.control)?;
        let length = into.len().min(prod.wrapping_sub(cons) as usize);
        for (offset, piece) in ring.pieces(cons, length) {
            let memory = ring.memory(&self.control);
            memory
                .read(offset, &mut into[piece])
                .map_err(io::Error::other)?;
        }
        self.moved(ring.counters.cons, cons, length, READ)?;
        Ok(length)
    }

    /// Waits until there is something to read, room to write if that is wanted, or no server
    /// any more.
    pub(crate) fn wait(&mut self, to_write: bool) -> io::Result<()> {
        let wanted = WRITE | if to_write { READ } else { 0 };
        let asked = self.control.fetch_or(SERVER_NOTIFY, wanted);
        asked.map_err(io::Error::other)?;
        // Something may have come before the server saw that.
        let (cons, prod) = self.to_client.counters(&self.control)?;
        let empty = cons == prod;
        let (cons, prod) = self.to_server.counters(&self.control)?;
        let full = prod.wrapping_sub(cons) == self.to_server.size;
        if empty && (full || !to_write) {
            let mut queue = [Port::new(0); 16];
            let pending = self.events.pending(&mut queue)?;
            self.events.unmask(pending)?;
        }
        match self.control.get::<u8>(SERVER_LIVE) {
            Ok(1) => Ok(()),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Tells the server that there is no client any more.
    pub(crate) fn close(self) {
        let _ = self.set(CLIENT_LIVE, 0);
        let _ = self.port.notify();
    }

    /// Moves a counter of ours on, behind the bytes; wakes the server if it waits for that.
    fn moved(&self, counter: usize, was: u32, length: usize, what: u8) -> io::Result<()> {
        let Ok(length @ 1..) = u32::try_from(length) else {
            return Ok(());
        };
        fence(Ordering::SeqCst);
        self.control
            .set(counter, &was.wrapping_add(length))
            .map_err(io::Error::other)?;
        fence(Ordering::SeqCst);
        let wanted = self.control.fetch_and(CLIENT_NOTIFY, !what);
        if wanted.map_err(io::Error::other)? & what != 0 {
            self.port.notify()?;
        }
        Ok(())
    }

    fn set(&self, at: usize, value: u8) -> io::Result<()> {
        self.control.set(at, &value).map_err(io::Error::other)
    }
}

/// A ring of the server's, whose references, if any, begin at `references`.
fn ring(
    grants: &GrantDevice<Restricted>,
    control: &MappedGrants,
    counters: Counters,
    order: u16,
    references: &mut usize,
) -> io::Result<Ring> {
    let place = match order {
        SMALL | MIDDLE => Place::Control(1 << order),
        PAGE..=LARGEST => {
            let pages = 1 << (order - PAGE);
            let at = *references;
            *references += pages * size_of::<u32>();
            let refs = (0..pages).map(|i| control.get(at + i * size_of::<u32>()));
            let refs: Result<Vec<_>, _> = refs.map(|number| number.map(GrantRef::new)).collect();
            let refs = refs.map_err(io::Error::other)?;
            Place::Pages(grants.map(&refs, Access::ReadWrite)?)
        }
        _ => return Err(refused("a ring has a size that no ring has")),
    };
    Ok(Ring {
        counters,
        size: 1 << order,
        place,
    })
}

impl Ring {
    /// `cons` and `prod`, which are never further apart than the ring is long.
    fn counters(&self, control: &MappedGrants) -> io::Result<(u32, u32)> {
        let get = |at| control.get::<u32>(at).map_err(io::Error::other);
        let (cons, prod) = (get(self.counters.cons)?, get(self.counters.prod)?);
        if prod.wrapping_sub(cons) > self.size {
            return Err(refused("the ring's counters cannot be"));
        }
        // The bytes are looked at after the counters.
        fence(Ordering::SeqCst);
        Ok((cons, prod))
    }

    fn memory<'m>(&'m self, control: &'m MappedGrants) -> &'m MappedGrants {
        match &self.place {
            Place::Control(_) => control,
            Place::Pages(pages) => pages,
        }
    }

    /// From a counter on: where in the memory, and which of the bytes; two around the end.
    fn pieces(
        &self,
        counter: u32,
        length: usize,
    ) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
        let start = match self.place {
            Place::Control(at) => at,
            Place::Pages(_) => 0,
        };
        let offset = (counter % self.size) as usize;
        let first = length.min(self.size as usize - offset);
        [(start + offset, 0..first), (start, first..length)].into_iter()
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
