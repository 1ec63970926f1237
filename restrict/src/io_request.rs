// SPDX-License-Identifier: MIT OR Apache-2.0
//! I/O requests of a guest: taken from the pages that Xen shares with an ioreq
//! server, and answered there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use xen_sys::ioreq;

use crate::{
    device::Device,
    error::{Cause, Error, Result},
    evtchn::{BoundPort, EventChannel},
    guest::ResourceMapping,
    ids::{GuestId, Port},
    memory::SharedMemory,
    state::State,
};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod laws;

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
///
/// Dropping it ends nothing: its server keeps the ports, to let go of vcpus that wait when it
/// is destroyed.
#[derive(Debug)]
pub struct VcpuRequests {
    slots: Arc<Slots>,
}

/// The page, and the ports that belong to it.
#[derive(Debug)]
pub(crate) struct Slots {
    page: ResourceMapping,
    ports: Vec<BoundPort>,
}

impl Slots {
    /// Binds the ports that Xen wrote into the slots.
    pub(crate) fn connect<S: State>(
        page: ResourceMapping,
        events: &EventChannel<S>,
        guest: GuestId,
        vcpus: u32,
    ) -> Result<Self> {
        let bind = |vcpu: usize| {
            let remote = page.get::<u32>(vcpu * SLOT + VP_EPORT).map_err(|e| {
                Error::new("read a vcpu's port", Device::PrivCmd, e.into()).for_guest(guest)
            })?;
            events.bind_guest(guest, Port::new(remote))
        };
        let ports = (0..vcpus as usize).map(bind).collect::<Result<_>>()?;
        Ok(Self { page, ports })
    }

    /// Wakes every vcpu, to look whether it was answered.
    pub(crate) fn notify_all(&self) -> Result<()> {
        self.ports.iter().try_for_each(BoundPort::notify)
    }

    /// Answers what waits as nobody would: with all ones. That of a server that gets no more
    /// requests: Xen would forget who waits for it, and not wake them. What another thread is
    /// answering is answered twice, which nobody sees: there is no other request to come.
    pub(crate) fn let_go(&self) {
        for (vcpu, port) in self.ports.iter().enumerate() {
            if self.slot(vcpu).answer(|_| u64::MAX) {
                // The port of a guest that is gone: nobody waits.
                let _ = port.notify();
            }
        }
    }

    fn slot(&self, vcpu: usize) -> Slot<'_> {
        Slot::new(&self.page, vcpu)
    }
}

impl VcpuRequests {
    pub(crate) fn new(slots: Arc<Slots>) -> Self {
        Self { slots }
    }

    /// The local ports of the vcpus, in their order: to unmask after a
    /// [`reset`](EventChannel::reset).
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        self.slots.ports.iter().map(BoundPort::port)
    }

    /// Waits at most `timeout` for events, answers the requests among them,
    /// and returns how many it answered and whose events the others are.
    ///
    /// `queue` has room for as many ports as shall be read at once: at least one.
    /// `answer` returns what the guest reads; for a write it does not matter. If
    /// it panics, the vcpu waits until the server is destroyed or [taken
    /// over](crate::Guest::take_over_ioreq_server). Where several
    /// threads read one handle, make it non-blocking: another may take what this
    /// one waited for.
    ///
    /// `Duration::MAX` is without end: a blocking handle waits in its read then, which is a
    /// system call less for each request. That another thread revoked it is seen with the
    /// next event.
    ///
    /// # Errors
    /// As [`EventChannel::wait`], [`EventChannel::pending`],
    /// [`EventChannel::unmask`] and [`BoundPort::notify`]; other ports that were
    /// pending are lost then, and stay masked.
    pub fn serve<'q, S: State>(
        &mut self,
        events: &EventChannel<S>,
        timeout: Duration,
        queue: &'q mut [Port],
        answer: impl FnMut(&IoRequest) -> u64,
    ) -> Result<Served<'q>> {
        let mut pending = 0;
        if timeout == Duration::MAX {
            pending = events.pending(queue)?.len();
        }
        if pending == 0 {
            if !events.wait(timeout)? {
                return Ok(Served::default());
            }
            pending = events.pending(queue)?.len();
        }
        let pending = &mut queue[..pending];
        // Ours first.
        let mut own = 0;
        for at in 0..pending.len() {
            if self.ports().any(|port| port == pending[at]) {
                pending.swap(own, at);
                own += 1;
            }
        }
        let (own, others) = pending.split_at(own);
        events.unmask(own)?;
        let answered = self.answer(own, answer)?;
        Ok(Served { answered, others })
    }

    /// Answers the requests behind `pending` ports, which the caller has
    /// unmasked; ports of others are left alone.
    ///
    /// # Errors
    /// As [`BoundPort::notify`].
    pub fn answer(
        &mut self,
        pending: &[Port],
        mut answer: impl FnMut(&IoRequest) -> u64,
    ) -> Result<usize> {
        let mut answered = 0;
        let Slots { ports, .. } = &*self.slots;
        for port in pending {
            let Some(vcpu) = ports.iter().position(|bound| bound.port() == *port) else {
                continue;
            };
            if self.slots.slot(vcpu).answer(&mut answer) {
                ports[vcpu].notify()?;
                answered += 1;
            }
        }
        Ok(answered)
    }
}

/// What [`VcpuRequests::serve`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "the other ports are masked until their events are handled"]
pub struct Served<'q> {
    /// Requests answered.
    pub answered: usize,
    /// Pending ports that are not these requests', still masked.
    pub others: &'q [Port],
}

/// One vcpu's place in the page that this process shares with Xen.
struct Slot<'p> {
    page: &'p SharedMemory,
    vcpu: usize,
    /// State in the low four bits; Xen and this side hand it back and forth.
    flags: &'p AtomicU8,
}

impl<'p> Slot<'p> {
    fn new(page: &'p SharedMemory, vcpu: usize) -> Self {
        let at = vcpu * SLOT + FLAGS;
        assert!(at < page.len(), "vcpus are counted when the page is mapped");
        let flags = page.map().start().as_ptr().wrapping_add(at);
        // SAFETY: inside the mapping, which lives as long as 'p; this process accesses the byte
        // as an atomic only, and Xen is outside the memory model.
        let flags = unsafe { AtomicU8::from_ptr(flags) };
        Self { page, vcpu, flags }
    }

    /// Whether there was a request, which is then answered.
    fn answer(&self, answer: impl FnOnce(&IoRequest) -> u64) -> bool {
        // Acquire: what Xen wrote before it set the state is seen.
        let flags = self.flags.load(Ordering::Acquire);
        // In process: whoever began is gone, or has panicked. Only this value answers here.
        let state = flags & ioreq::FLAGS_STATE;
        if ![ioreq::STATE_IOREQ_READY, ioreq::STATE_IOREQ_INPROCESS].contains(&state) {
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
    pub(crate) fn new(page: ResourceMapping, port: BoundPort) -> Self {
        Self { page, port }
    }

    /// The port that Xen notifies.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port.port()
    }

    /// Takes the requests out of the queue, oldest first, and returns how many:
    /// at most 511, so call it again until it is 0.
    ///
    /// # Errors
    /// [`Cause::Invalid`] when the queue's pointers cannot be Xen's.
    pub fn drain(&mut self, take: impl FnMut(&IoRequest)) -> Result<usize> {
        drain(&self.page, take)
            .map_err(|cause| Error::new("read buffered requests", Device::PrivCmd, cause))
    }
}

/// One slot, without the port that tells of it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn answer_slot(
    page: &SharedMemory,
    vcpu: usize,
    answer: impl FnOnce(&IoRequest) -> u64,
) -> bool {
    Slot::new(page, vcpu).answer(answer)
}

pub(crate) fn drain(page: &SharedMemory, mut take: impl FnMut(&IoRequest)) -> Result<usize, Cause> {
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
        // A guest that goes on writing does not keep us here.
        if queued == 0 || taken == SLOTS as usize {
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

fn entry(page: &SharedMemory, index: u32) -> Result<ioreq::BufIoreq, Cause> {
    let slot = (index % ioreq::IOREQ_BUFFER_SLOT_NUM) as usize;
    let at = std::mem::offset_of!(ioreq::BufferedIopage, buf_ioreq);
    Ok(page.get(at + slot * size_of::<ioreq::BufIoreq>())?)
}

#[cfg(test)]
mod tests {
    use xen_sys::ioreq::{BufIoreq, STATE_IOREQ_INPROCESS, STATE_IOREQ_READY, STATE_IORESP_READY};

    use super::*;
    use crate::mmap::Mmap;

    fn page() -> SharedMemory {
        SharedMemory::whole(Mmap::anonymous(1).unwrap())
    }

    fn request(flags: u8) -> ioreq::Ioreq {
        ioreq::Ioreq {
            addr: 0x500,
            data: 0xab,
            count: 1,
            size: 4,
            flags,
            ..ioreq::Ioreq::default()
        }
    }

    #[test]
    fn only_a_slot_with_a_request_is_answered() {
        let page = page();
        for flags in 0..=u8::MAX {
            page.set(3 * SLOT, &request(flags)).unwrap();
            let mut seen = None;
            let answered = Slot::new(&page, 3).answer(|r| {
                assert_eq!(
                    page.get::<u8>(3 * SLOT + FLAGS).unwrap() & ioreq::FLAGS_STATE,
                    STATE_IOREQ_INPROCESS
                );
                seen = Some(*r);
                0x1234
            });
            let state = flags & ioreq::FLAGS_STATE;
            assert_eq!(
                answered,
                [STATE_IOREQ_READY, STATE_IOREQ_INPROCESS].contains(&state),
                "{flags:#x}"
            );
            let after: ioreq::Ioreq = page.get(3 * SLOT).unwrap();
            let Some(seen) = seen else {
                assert_eq!(after, request(flags), "left alone");
                continue;
            };
            assert_eq!(after.state(), STATE_IORESP_READY);
            assert_eq!(
                after.flags & !ioreq::FLAGS_STATE,
                flags & !ioreq::FLAGS_STATE
            );
            let (read, pointer) = (
                flags & ioreq::FLAG_DIR != 0,
                flags & ioreq::FLAG_DATA_IS_PTR != 0,
            );
            assert_eq!((seen.read, seen.data_is_pointer), (read, pointer));
            assert_eq!((seen.vcpu, seen.address, seen.data), (3, 0x500, 0xab));
            // Only a read by value gets a value.
            assert_eq!(after.data, if read && !pointer { 0x1234 } else { 0xab });
        }
        // The neighbours were not touched.
        assert_eq!(
            page.get::<ioreq::Ioreq>(2 * SLOT).unwrap(),
            ioreq::Ioreq::default()
        );
        assert_eq!(
            page.get::<ioreq::Ioreq>(4 * SLOT).unwrap(),
            ioreq::Ioreq::default()
        );
    }

    /// Puts entries where Xen would, from `read` on.
    fn queue(page: &SharedMemory, read: u32, entries: &[BufIoreq]) {
        for (at, entry) in (read..).zip(entries) {
            page.set(8 + 8 * (at as usize % 511), entry).unwrap();
        }
        page.set(0, &read).unwrap();
        let written = read.wrapping_add(u32::try_from(entries.len()).unwrap());
        page.set(4, &written).unwrap();
    }

    fn entry(size_log2: u8, data: u32) -> BufIoreq {
        BufIoreq::new(ioreq::IOREQ_TYPE_COPY, false, size_log2, 0xa_0000, data).unwrap()
    }

    #[test]
    fn the_queue_is_drained_in_order_across_its_end() {
        let page = page();
        for read in [0, 1, 509, 510, 511, 1000] {
            queue(
                &page,
                read,
                &[entry(0, 1), entry(3, 2), entry(0, 3), entry(2, 4)],
            );
            let mut seen = Vec::new();
            let taken = drain(&page, |r| seen.push((r.size, r.data))).unwrap();
            assert_eq!(taken, 3);
            assert_eq!(seen, [(1, 1), (8, 3 << 32 | 2), (4, 4)]);
            assert_eq!(page.get::<u32>(0).unwrap(), page.get::<u32>(4).unwrap());
        }
    }

    #[test]
    fn a_full_queue_is_drained_and_an_overfull_one_refused() {
        let page = page();
        queue(&page, 7, &[entry(0, 9); 511]);
        assert_eq!(drain(&page, |_| ()).unwrap(), 511);
        page.set(0, &7_u32).unwrap();
        for written in [7 + 512, 6, u32::MAX] {
            page.set(4, &written).unwrap();
            let error = drain(&page, |r| panic!("{r:?}")).unwrap_err();
            assert!(error.to_string().contains("destroy the server"), "{error}");
        }
    }

    #[test]
    fn half_a_large_request_is_refused() {
        let page = page();
        queue(&page, 510, &[entry(3, 1)]);
        drain(&page, |r| panic!("{r:?}")).unwrap_err();
    }
}
