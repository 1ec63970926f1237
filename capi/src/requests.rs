// SPDX-License-Identifier: MIT OR Apache-2.0
//! I/O requests of a guest, answered by a function of C.

use std::sync::{Mutex, MutexGuard, TryLockError};

use libc::{c_int, c_void};
use xen_restrict::{BufferedRequests, IoKind, IoRequest, VcpuRequests};

use crate::{
    arguments::{self, Out},
    evtchn::{either, ports, ports_mut},
    failure::{Failure, Outcome},
    guard::guard,
    handle::{Finish, hold},
    xr_buffered, xr_evtchn, xr_requests,
};

/// What one call at a time may use. A second one is refused: to wait for the first could be
/// to wait for itself, in a callback.
pub(crate) struct Exclusive<T>(Mutex<T>);

impl<T> Exclusive<T> {
    pub(crate) fn new(thing: T) -> Self {
        Self(Mutex::new(thing))
    }

    pub(crate) fn take(&self) -> Outcome<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                libc::EBUSY,
                "another call uses it: one at a time, and none in its callback",
            )),
        }
    }
}

impl<T> Finish for Exclusive<T> {}

pub(crate) type Requests = Exclusive<VcpuRequests>;
pub(crate) type Buffered = Exclusive<BufferedRequests>;

/// An I/O port.
pub const XR_IO_PORT: u32 = 0;
/// A guest physical address.
pub const XR_IO_MEMORY: u32 = 1;
/// PCI configuration space: segment, bus, device and function in the high half of the
/// address, the register in the low half.
pub const XR_IO_PCI_CONFIG: u32 = 2;
/// The guest changed its clock by `data` seconds.
pub const XR_IO_TIME_OFFSET: u32 = 7;
/// Mappings of the guest's memory must be thrown away.
pub const XR_IO_INVALIDATE: u32 = 8;
/// A kind that this version does not know: Xen's number is added to it.
pub const XR_IO_OTHER: u32 = 0x100;

/// The guest reads, and waits for the answer.
pub const XR_IO_READ: u32 = 1;
/// `data` is a guest physical address to copy from or to, `count` times `size` bytes.
pub const XR_IO_DATA_IS_POINTER: u32 = 2;
/// Addresses go down from one access to the next.
pub const XR_IO_DESCENDING: u32 = 4;

/// One access of the guest: a copy, which the guest cannot change any more. What is in it is
/// the guest's word: check it. Later versions may have more fields, at the end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_io_request {
    /// XR_IO_PORT, ...
    pub kind: u32,
    /// XR_IO_READ, ..., added up.
    pub flags: u32,
    /// The virtual processor that waits; 0 for a buffered request.
    pub vcpu: u32,
    /// Bytes of one access: 1, 2, 4 or 8 from Xen.
    pub size: u32,
    /// How many accesses: more than 1 for a repeated instruction.
    pub count: u32,
    /// 0.
    pub reserved: u32,
    /// Port or guest physical address.
    pub address: u64,
    /// What is written; or where in guest memory, with XR_IO_DATA_IS_POINTER.
    pub data: u64,
}

impl From<&IoRequest> for xr_io_request {
    fn from(request: &IoRequest) -> Self {
        let kind = match request.kind {
            IoKind::Port => XR_IO_PORT,
            IoKind::Memory => XR_IO_MEMORY,
            IoKind::PciConfig => XR_IO_PCI_CONFIG,
            IoKind::TimeOffset => XR_IO_TIME_OFFSET,
            IoKind::Invalidate => XR_IO_INVALIDATE,
            IoKind::Other(kind) => XR_IO_OTHER + u32::from(kind),
            _ => XR_IO_OTHER,
        };
        let flag = |is: bool, flag| if is { flag } else { 0 };
        Self {
            kind,
            flags: flag(request.read, XR_IO_READ)
                | flag(request.data_is_pointer, XR_IO_DATA_IS_POINTER)
                | flag(request.descending, XR_IO_DESCENDING),
            vcpu: request.vcpu,
            size: request.size,
            count: request.count,
            reserved: 0,
            address: request.address,
            data: request.data,
        }
    }
}

/// Answers a request: returns what the guest reads; for a write it does not matter. It must
/// return: no longjmp(3), and no exception, which would end the process. It may use other
/// handles, but not the one that called it.
pub type xr_answer =
    Option<unsafe extern "C-unwind" fn(request: *const xr_io_request, context: *mut c_void) -> u64>;

/// What xr_requests_serve() did.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct xr_served {
    /// Requests answered.
    pub answered: usize,
    /// Pending ports that are not these requests', now at the head of the queue; masked, as
    /// xr_evtchn_pending() leaves them.
    pub others: usize,
}

/// # Safety
/// It can be called with a request and the context.
unsafe fn answerer(
    answer: xr_answer,
    context: *mut c_void,
) -> Outcome<impl FnMut(&IoRequest) -> u64> {
    let answer = answer.ok_or_else(|| Failure::argument("the callback is NULL"))?;
    Ok(move |request: &IoRequest| {
        let request = xr_io_request::from(request);
        // SAFETY: by this function's contract; the request lives as long as the call.
        unsafe { answer(&raw const request, context) }
    })
}

/// The local ports of the virtual processors, in their order: the first `room` of them are
/// written to `numbers`. To unmask after xr_evtchn_reset().
///
/// Returns how many there are.
/// Errors: EBUSY: another call uses the requests; EINVAL, EBADF, ECHILD.
/// Threads: one at a time: EBUSY.
/// Fork: not in a child: ECHILD.
/// Pointers: `numbers` has room for `room`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_requests_ports(
    requests: *const xr_requests,
    numbers: *mut u32,
    room: usize,
) -> c_int {
    guard(|| {
        let requests = hold(requests)?;
        let requests = requests.take()?;
        // SAFETY: by this function's contract.
        let numbers = unsafe { ports_mut(numbers, room) }?;
        for (to, port) in numbers.iter_mut().zip(requests.ports()) {
            *to = port;
        }
        Ok(arguments::count(requests.ports().count()))
    })
}

/// Waits `milliseconds` at most for events (without end below 0, which on a blocking handle
/// is a system call less), and has `answer` answer the requests among them, with `context`.
/// `queue` is where `room` ports are read to at once: at least one. Ports of others are at
/// its head afterwards, still masked: they are the caller's to see to, and to unmask.
///
/// Returns 0, and what was done in `*served`: nothing after `milliseconds`.
/// Errors: as xr_evtchn_wait(), xr_evtchn_pending() and xr_port_notify(); EBUSY: another call
/// uses the requests; EINVAL, EBADF, ECHILD. Other ports that were pending are lost then, and
/// stay masked.
/// Threads: one at a time: EBUSY.
/// Fork: not in a child: ECHILD.
/// Pointers: `queue` has room for `room` numbers, `served` leads to a structure, and `answer` can be
/// called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_requests_serve(
    requests: *mut xr_requests,
    evtchn: *mut xr_evtchn,
    milliseconds: i64,
    queue: *mut u32,
    room: usize,
    answer: xr_answer,
    context: *mut c_void,
    served: *mut xr_served,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::new(served, "served") }?;
        out.set(xr_served::default());
        let (requests, handle) = (hold(requests)?, hold(evtchn)?);
        // SAFETY: as above.
        let queue = unsafe { ports_mut(queue, room) }?;
        if queue.is_empty() {
            return Err(Failure::argument("the queue has no room"));
        }
        // SAFETY: as above.
        let answer = unsafe { answerer(answer, context) }?;
        let timeout = arguments::timeout(milliseconds);
        let mut requests = requests.take()?;
        let head = queue.as_ptr().addr();
        let served =
            either!(handle, events => requests.serve(events, timeout, &mut *queue, answer)?);
        let (answered, others) = (served.answered, served.others.len());
        // They are part of the queue, behind the requests' own.
        let first = served.others.as_ptr().addr().wrapping_sub(head) / size_of::<u32>();
        if others > 0 {
            queue.copy_within(first..first + others, 0);
        }
        out.set(xr_served { answered, others });
        Ok(0)
    })
}

/// Answers the requests behind `count` pending ports, which the caller has unmasked: for who
/// reads the ports by xr_evtchn_pending(). Ports of others are left alone.
///
/// Returns how many requests were answered.
/// Errors: as xr_port_notify(); EBUSY: another call uses the requests; EINVAL, EBADF, ECHILD.
/// Threads: one at a time: EBUSY.
/// Fork: not in a child: ECHILD.
/// Pointers: `pending` leads to `count` numbers, and `answer` can be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_requests_answer(
    requests: *mut xr_requests,
    pending: *const u32,
    count: usize,
    answer: xr_answer,
    context: *mut c_void,
) -> c_int {
    guard(|| {
        let requests = hold(requests)?;
        // SAFETY: by this function's contract.
        let pending = unsafe { ports(pending, count) }?;
        // SAFETY: as above.
        let answer = unsafe { answerer(answer, context) }?;
        let answered = requests.take()?.answer(pending, answer)?;
        Ok(arguments::count(answered))
    })
}

/// The local port that tells of buffered requests.
///
/// Returns 0, and the number in `*number`.
/// Errors: EBUSY: another call uses them; EINVAL, EBADF, ECHILD.
/// Threads: one at a time: EBUSY.
/// Fork: not in a child: ECHILD.
/// Pointers: `number` leads to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_buffered_port(buffered: *const xr_buffered, number: *mut u32) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let number = unsafe { Out::new(number, "number") }?;
        number.set(hold(buffered)?.take()?.port().get());
        Ok(0)
    })
}

/// Takes requests out of the queue, oldest first, and gives each to `take`, whose result
/// does not matter. At most 511, so call it again until it is 0.
///
/// Returns how many.
/// Errors: EINVAL: the queue is broken, destroy the server; EBUSY: another call uses it;
/// EBADF, ECHILD.
/// Threads: one at a time: EBUSY.
/// Fork: not in a child: ECHILD.
/// Pointers: `take` can be called with `context`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_buffered_drain(
    buffered: *mut xr_buffered,
    take: xr_answer,
    context: *mut c_void,
) -> c_int {
    guard(|| {
        let buffered = hold(buffered)?;
        // SAFETY: by this function's contract.
        let mut take = unsafe { answerer(take, context) }?;
        let taken = buffered.take()?.drain(|request| {
            take(request);
        })?;
        Ok(arguments::count(taken))
    })
}
