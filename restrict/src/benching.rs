// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `benches/` measures and callers cannot reach; no part of the API.
#![allow(clippy::missing_panics_doc, reason = "a bench fails by panicking")]

use std::os::fd::OwnedFd;

use crate::{
    Device, EventChannel, Guest, GuestId, IoRequest, SharedMemory, Unrestricted,
    confine::{
        not_sent,
        seccomp::{self, Denied},
        xen_requests::{self, FilterError, Mapping},
    },
    handle::Handle,
    io_request,
    mmap::Mmap,
};

pub use crate::{
    audit::benching::{Filters, descriptor_info, maps, mounts, status, status_of_this_process},
    broker::benching::Brokered,
};

/// Memory of this process's own, accessed as if it were shared.
#[must_use]
pub fn memory(pages: usize) -> SharedMemory {
    SharedMemory::whole(Mmap::anonymous(pages).expect("there is memory"))
}

/// Answers what is in a vcpu's slot, without the port that tells of it.
pub fn answer(page: &SharedMemory, vcpu: usize, answer: impl FnOnce(&IoRequest) -> u64) -> bool {
    io_request::answer_slot(page, vcpu, answer)
}

/// Takes what is in the queue of buffered requests.
pub fn drain(page: &SharedMemory, take: impl FnMut(&IoRequest)) -> usize {
    io_request::drain(page, take).expect("the queue is whole")
}

/// An event channel handle that reads and writes `fd`.
#[must_use]
pub fn events(fd: OwnedFd) -> EventChannel<Unrestricted> {
    EventChannel::over(fd)
}

/// A restricted guest whose requests go to `fd`, which refuses them.
#[must_use]
pub fn guest(fd: OwnedFd) -> Guest {
    Guest::new(
        Handle::wrap(Device::PrivCmd, fd, Some(GuestId::MIN)),
        GuestId::MIN,
    )
}

/// A program's name, and what assembles it and tells its instructions.
pub type Assembly = (&'static str, fn() -> Result<usize, FilterError>);

/// Every program of the mechanisms `xen-requests` and `seccomp`.
pub const ASSEMBLIES: [Assembly; 8] = [
    ("xen-requests, set-up (2 programs)", || {
        let both = xen_requests::supervised(Mapping::Always)?;
        Ok(both.never.len() + both.until_sealed.len())
    }),
    ("xen-requests, sealed", || {
        Ok(xen_requests::sealed(Mapping::Always)?.len())
    }),
    ("xen-requests, notifying", || {
        Ok(xen_requests::notifying(Mapping::Always)?.len())
    }),
    ("xen-requests, brokered", || Ok(not_sent::program()?.len())),
    ("seccomp, set-up", || {
        Ok(seccomp::program(Denied::Errno, Mapping::Always)?.len())
    }),
    ("seccomp, sealed", || {
        Ok(seccomp::sealed(Mapping::Always)?.len())
    }),
    ("seccomp, notifying", || {
        Ok(seccomp::program(Denied::Notify, Mapping::Always)?.len())
    }),
    ("seccomp, of init", || Ok(seccomp::init()?.len())),
];

/// The two that a sealed program has.
#[must_use]
pub fn sealed_filters() -> Filters {
    let programs = [
        xen_requests::sealed(Mapping::Always),
        seccomp::sealed(Mapping::Always),
    ];
    Filters::new(&programs.map(|program| program.expect("the architecture is known")))
}
