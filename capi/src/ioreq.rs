// SPDX-License-Identifier: MIT OR Apache-2.0
//! I/O request servers.

use libc::c_int;
use xen_restrict::{IoRange, IoreqServer, IoreqServerId};

use crate::{
    arguments::{self, Out},
    dm_op::mem_type,
    evtchn::either,
    failure::{Failure, Outcome},
    guard::guard,
    handle::{Finish, give, hold, xr_close},
    requests::{Buffered, Requests},
    xr_buffered, xr_evtchn, xr_guest, xr_ioreq_server, xr_requests,
};

pub(crate) struct Server(IoreqServer);

impl Finish for Server {
    fn finish(self) -> Outcome<()> {
        Ok(self.0.close()?)
    }
}

/// I/O ports, `first` to `last`.
pub const XR_RANGE_PORTS: u32 = 0;
/// Guest physical addresses, `first` to `last`.
pub const XR_RANGE_MEMORY: u32 = 1;
/// The configuration space of a PCI function. Both `first` and `last` are it: segment << 16,
/// bus << 8, device << 3, function.
pub const XR_RANGE_PCI: u32 = 2;

/// Accesses of a guest that a server can claim.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_io_range {
    /// XR_RANGE_...
    pub kind: u32,
    /// 0.
    pub reserved: u32,
    /// The first.
    pub first: u64,
    /// The last; it belongs to the range.
    pub last: u64,
}

impl xr_io_range {
    fn checked(self) -> Outcome<IoRange> {
        let Self {
            kind,
            reserved,
            first,
            last,
        } = self;
        arguments::zero(&[reserved], "reserved of the range")?;
        match kind {
            XR_RANGE_PORTS => match (u16::try_from(first), u16::try_from(last)) {
                (Ok(first), Ok(last)) => Ok(IoRange::Ports(first..=last)),
                _ => Err(Failure::argument("I/O ports are 0 to 65535")),
            },
            XR_RANGE_MEMORY => Ok(IoRange::Memory(first..=last)),
            XR_RANGE_PCI if first == last && first >> 32 == 0 => {
                let [function, bus, low, high, ..] = first.to_le_bytes();
                Ok(IoRange::Pci {
                    segment: u16::from_le_bytes([low, high]),
                    bus,
                    device: function >> 3,
                    function: function & 7,
                })
            }
            XR_RANGE_PCI => Err(Failure::argument(
                "a range of XR_RANGE_PCI is one function, of 32 bits",
            )),
            other => Err(Failure::argument(format!(
                "there is no kind {other} of range"
            ))),
        }
    }
}

/// Creates a server, disabled and without ranges. With `buffered`, Xen may queue writes that
/// need no answer (xr_ioreq_server_buffered()). `*out` is the caller's, to be closed by
/// xr_close(), which destroys the server: Xen then answers the guest's accesses itself.
///
/// Returns 0.
/// Errors: ENOSPC: the guest has 8 servers; EPERM, ESRCH, ENXIO, EINVAL, EBADF, EMFILE, and
/// Xen's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_create_ioreq_server(
    guest: *mut xr_guest,
    buffered: c_int,
    out: *mut *mut xr_ioreq_server,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let server = hold(guest)?.0.create_ioreq_server(buffered != 0)?;
        out.set(give(Server(server))?);
        Ok(0)
    })
}

/// Takes over server `id` (0 to 7) that a device model of this guest left behind when it was
/// killed, with the ranges that it had claimed and the requests that it had not answered:
/// xr_requests_serve() answers them, one for the second time, if the other had nearly done so.
/// Ports of the guest's first `vcpus` virtual processors are bound on `evtchn`. `*server` and
/// `*requests` are the caller's, to be closed by xr_close(), as those of
/// xr_guest_create_ioreq_server() and xr_ioreq_server_start(). A server that is just being
/// started looks like one that was left behind: know who else serves this guest.
///
/// Returns 0.
/// Errors: ENOENT: the guest has no such server; EINVAL: somebody serves it, or the guest has
/// fewer virtual processors; E2BIG: not 1 to 128 of them; EPERM, ESRCH, ENXIO, EBADF, and the
/// kernel's own: it stays there, as it was. EMFILE: it is destroyed. `*server` and `*requests`
/// are NULL then.
/// Threads: any.
/// Fork: usable.
/// Pointers: `server` and `requests` lead to places for a pointer, not to the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_guest_take_over_ioreq_server(
    guest: *mut xr_guest,
    id: u16,
    evtchn: *mut xr_evtchn,
    vcpus: u32,
    server: *mut *mut xr_ioreq_server,
    requests: *mut *mut xr_requests,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let to_server = unsafe { Out::none(server) }?;
        // SAFETY: as above.
        let to_requests = unsafe { Out::none(requests) }?;
        if server.addr() == requests.addr() {
            return Err(Failure::argument("both handles would go to one place"));
        }
        let (guest, handle) = (hold(guest)?, hold(evtchn)?);
        let id = IoreqServerId::new(id);
        let (server, requests) =
            either!(handle, events => guest.0.take_over_ioreq_server(id, events, vcpus)?);
        let requests: *mut xr_requests = give(Requests::new(requests))?;
        let server = give(Server(server)).inspect_err(|_| {
            xr_close(requests.cast());
        })?;
        to_requests.set(requests);
        to_server.set(server);
        Ok(0)
    })
}

/// The server's number in its guest.
///
/// Returns it, 0 to 65535.
/// Errors: EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_ioreq_server_id(server: *const xr_ioreq_server) -> c_int {
    guard(|| Ok(hold(server)?.0.id().get().into()))
}

/// Claims a range. Ranges of one kind and server must not overlap.
///
/// Returns 0.
/// Errors: EEXIST: an overlap; EINVAL: no such range; EPERM, ESRCH, ENXIO, EBADF, ECHILD, and
/// Xen's own.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `range` leads to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_ioreq_server_map_range(
    server: *mut xr_ioreq_server,
    range: *const xr_io_range,
) -> c_int {
    guard(|| {
        let server = hold(server)?;
        // SAFETY: by this function's contract.
        let range = unsafe { arguments::slice(range, 1, "range") }?[0];
        server.0.map_range(&range.checked()?)?;
        Ok(0)
    })
}

/// Gives up a range, exactly as it was claimed.
///
/// Returns 0.
/// Errors: ENOENT: not claimed; else as xr_ioreq_server_map_range().
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `range` leads to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_ioreq_server_unmap_range(
    server: *mut xr_ioreq_server,
    range: *const xr_io_range,
) -> c_int {
    guard(|| {
        let server = hold(server)?;
        // SAFETY: by this function's contract.
        let range = unsafe { arguments::slice(range, 1, "range") }?[0];
        server.0.unmap_range(&range.checked()?)?;
        Ok(0)
    })
}

/// Claims accesses to pages of a memory type (Xen has it for XR_MEM_IOREQ_SERVER): writes,
/// or none.
///
/// Returns 0.
/// Errors: EPERM, ESRCH, ENXIO, EINVAL, EBADF, ECHILD, and Xen's own.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_ioreq_server_map_mem_type(
    server: *mut xr_ioreq_server,
    mem_type: u32,
    writes: c_int,
) -> c_int {
    guard(|| {
        let server = hold(server)?;
        server
            .0
            .map_mem_type(self::mem_type(mem_type)?, writes != 0)?;
        Ok(0)
    })
}

/// Stops requests, or lets them come again after xr_ioreq_server_start().
///
/// Returns 0.
/// Errors: EINVAL: to enable it before it was started, of which Xen would die; EPERM, ESRCH,
/// ENXIO, EBADF, ECHILD, and Xen's own.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_ioreq_server_set_enabled(
    server: *mut xr_ioreq_server,
    enabled: c_int,
) -> c_int {
    guard(|| {
        hold(server)?.0.set_enabled(enabled != 0)?;
        Ok(0)
    })
}

/// Maps the requests of the guest's first `vcpus` virtual processors, enables the server,
/// and binds their ports on `evtchn`. Requests can be waiting by the time this returns.
/// `*out` is the caller's, to be closed by xr_close().
///
/// Returns 0.
/// Errors: E2BIG: not 1 to 128 virtual processors; EINVAL: the server is enabled, or the
/// guest has fewer of them; EPERM, ESRCH, ENXIO, EBADF, ECHILD, EMFILE, and the kernel's own.
/// The server is disabled then.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_ioreq_server_start(
    server: *mut xr_ioreq_server,
    evtchn: *mut xr_evtchn,
    vcpus: u32,
    out: *mut *mut xr_requests,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let (server, handle) = (hold(server)?, hold(evtchn)?);
        let requests = either!(handle, events => server.0.start(events, vcpus)?);
        out.set(give(Requests::new(requests))?);
        Ok(0)
    })
}

/// Maps the queue of writes that need no answer, and binds its port on `evtchn`. `*out` is
/// the caller's, to be closed by xr_close().
///
/// Returns 0.
/// Errors: EINVAL: the server was created without; EPERM, ESRCH, ENXIO, EBADF, ECHILD,
/// EMFILE, and the kernel's own.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_ioreq_server_buffered(
    server: *mut xr_ioreq_server,
    evtchn: *mut xr_evtchn,
    out: *mut *mut xr_buffered,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        let (server, handle) = (hold(server)?, hold(evtchn)?);
        let buffered = either!(handle, events => server.0.buffered_requests(events)?);
        out.set(give(Buffered::new(buffered))?);
        Ok(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(kind: u32, first: u64, last: u64) -> Outcome<IoRange> {
        let reserved = 0;
        let range = xr_io_range {
            kind,
            reserved,
            first,
            last,
        };
        range.checked()
    }

    #[test]
    fn ranges_are_what_they_say_or_refused() {
        assert_eq!(range(0, 1, 65535).unwrap(), IoRange::Ports(1..=65535));
        assert_eq!(
            range(1, 0, u64::MAX).unwrap(),
            IoRange::Memory(0..=u64::MAX)
        );
        let function = IoRange::Pci {
            segment: 0x1234,
            bus: 0x56,
            device: 31,
            function: 7,
        };
        assert_eq!(range(2, 0x1234_56ff, 0x1234_56ff).unwrap(), function);
        for (kind, first, last) in [(0, 0, 65536), (2, 0, 1), (2, 1 << 32, 1 << 32), (3, 0, 0)] {
            assert!(range(kind, first, last).is_err(), "{kind} {first} {last}");
        }
        let later = xr_io_range {
            kind: XR_RANGE_PORTS,
            reserved: 1,
            first: 0,
            last: 1,
        };
        assert_eq!(later.checked().unwrap_err().errno(), libc::EINVAL);
    }
}
