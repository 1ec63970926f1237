// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel might write a line about.

use std::{
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::wait::wait};
use xen_sys::{evtchn, privcmd};

use crate::{Taken, kernel::forked, xen};

/// Again and again for so many milliseconds.
fn during(milliseconds: u64, mut one: impl FnMut() -> nix::Result<()>) -> Taken {
    let end = Instant::now() + Duration::from_millis(milliseconds);
    let mut count = 0;
    while Instant::now() < end {
        if let Err(errno) = one() {
            return Taken(count, Some(errno));
        }
        count += 1;
    }
    Taken(count, None)
}

/// Reads memory of the device in which nothing is mapped.
pub(crate) fn faults(milliseconds: u64) -> Taken {
    let given = xen::Given::receive();
    let at = given.privcmd_memory(4096).expect("address space");
    let (_reader, writer) = std::io::pipe().expect("descriptors");
    during(milliseconds, || {
        // SAFETY: the kernel reads one byte, or says that it cannot.
        let written = unsafe { libc::write(writer.as_raw_fd(), at.cast(), 1) };
        match Errno::result(written) {
            Err(Errno::EFAULT) => Ok(()),
            Err(errno) => Err(errno),
            Ok(_) => Err(Errno::ENOMSG),
        }
    })
}

/// Processes that end in a way that leaves a core, where it may.
pub(crate) fn aborts(milliseconds: u64) -> Taken {
    during(milliseconds, || {
        forked(|| std::process::abort())?;
        wait().map(drop)
    })
}

/// Processes that are killed by their filter.
pub(crate) fn foreign_calls(milliseconds: u64) -> Taken {
    const X32: i64 = 0x4000_0000;
    during(milliseconds, || {
        forked(|| {
            // SAFETY: the call takes nothing.
            let _answer = unsafe { libc::syscall(X32 | libc::SYS_getpid) };
        })?;
        wait().map(drop)
    })
}

/// Of the filter, and of the drivers.
pub(crate) fn refused_requests(milliseconds: u64) -> Taken {
    let given = xen::Given::receive();
    let mut virq = evtchn::BindVirq { virq: 3 };
    let mut elsewhere = evtchn::BindInterdomain {
        remote_domain: 0,
        remote_port: 1,
    };
    let mut other = privcmd::DmOp {
        dom: 0x7fef,
        num: 0,
        pad: 0,
        ubufs: 0,
    };
    let refused = |answer: nix::Result<u32>| match answer {
        Err(Errno::EPERM | Errno::EACCES) => Ok(()),
        other => Err(other.err().unwrap_or(Errno::ENOMSG)),
    };
    during(milliseconds, || {
        refused(given.events(evtchn::BIND_VIRQ, &mut virq))?;
        refused(given.events(evtchn::BIND_INTERDOMAIN, &mut elsewhere))?;
        refused(given.privcmd(privcmd::DM_OP, &mut other))
    })
}
