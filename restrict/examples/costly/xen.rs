// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the handles give; and a device model that does its work, for comparison.

use std::{
    os::fd::{AsFd, AsRawFd as _},
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::mman::ProtFlags};
use xen_restrict::{
    Access, EventChannel, Gfn, GuestId, Handover, IoRange, IoRequest, Port, PrivCmd, Restricted,
};
use xen_sys::{Request, evtchn, privcmd};

use crate::{Taken, memory::mapped, until_refused};

/// Of the lab's guest (docs/lab.md): its status page, and words of that.
const STATUS: Gfn = Gfn::new(0x200);
const COMMAND: usize = 0x10;
const ARGUMENT: usize = 0x18;
const PORT_IO: u64 = 1;
/// More than a guest of xl's can have, if nothing else is said of it.
const PORTS: u32 = 4096;

pub(crate) struct Given {
    guest: GuestId,
    privcmd: PrivCmd<Restricted>,
    events: EventChannel<Restricted>,
}

impl Given {
    pub(crate) fn receive() -> Self {
        // SAFETY: nothing in this process has taken or opened a descriptor before.
        let given = unsafe { Handover::receive() }.expect("handles of `dm-restrict run`");
        Self {
            guest: given.guest,
            privcmd: given.privcmd.expect("`--xen privcmd,evtchn`"),
            events: given.events.expect("`--xen privcmd,evtchn`"),
        }
    }

    pub(crate) fn events<T>(&self, number: Request<T>, argument: &mut T) -> nix::Result<u32> {
        request(&self.events, number, argument)
    }

    pub(crate) fn privcmd<T>(&self, number: Request<T>, argument: &mut T) -> nix::Result<u32> {
        request(&self.privcmd, number, argument)
    }

    /// Address space of the device, in which nothing is mapped.
    pub(crate) fn privcmd_memory(&self, bytes: usize) -> nix::Result<*mut u8> {
        let fd = self.privcmd.as_fd().as_raw_fd();
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, 0) };
        match at == libc::MAP_FAILED {
            true => Err(Errno::last()),
            false => Ok(at.cast()),
        }
    }
}

fn request<T>(fd: &impl AsFd, number: Request<T>, argument: &mut T) -> nix::Result<u32> {
    let (fd, argument) = (fd.as_fd().as_raw_fd(), std::ptr::from_mut(argument));
    // SAFETY: the number and its own argument.
    let answer = unsafe { libc::ioctl(fd, number.number().into(), argument) };
    Errno::result(answer).map(i32::cast_unsigned)
}

/// All that the guest offers; it is the attacker's, too.
pub(crate) fn ports(most: u64) -> Taken {
    let given = Given::receive();
    let (mut bound, mut refusal) = (0, None);
    for remote_port in 1..PORTS {
        let mut argument = evtchn::BindInterdomain {
            remote_domain: given.guest.get().into(),
            remote_port,
        };
        match given.events(evtchn::BIND_INTERDOMAIN, &mut argument) {
            Ok(_) if bound + 1 == most => return held(given, Taken(most, None)),
            Ok(_) => bound += 1,
            Err(errno) => refusal = Some(errno),
        }
    }
    held(given, Taken(bound, refusal))
}

fn held<T>(kept: T, taken: Taken) -> Taken {
    std::mem::forget(kept);
    taken
}

/// Asks for mappings by a list of so many MiB, of which it has no page itself, for some
/// seconds. The driver copies the list before it finds that nothing else is in order.
pub(crate) fn mapping_list(mebibytes: u64) -> Taken {
    const TIME: Duration = Duration::from_secs(3);
    let given = Given::receive();
    let bytes = usize::try_from(mebibytes << 20).expect("an address space of 64 bits");
    let list = mapped(bytes, ProtFlags::PROT_READ).expect("address space");
    let (begin, mut calls) = (Instant::now(), 0);
    loop {
        let mut argument = privcmd::MmapBatchV2 {
            num: u32::try_from(bytes / 8).expect("a count"),
            dom: given.guest.get(),
            pad: 0,
            addr: 0,
            arr: list.addr() as u64,
            err: 0,
        };
        match given.privcmd(privcmd::MMAPBATCH_V2, &mut argument) {
            Err(Errno::EFAULT) if begin.elapsed() < TIME => calls += 1,
            Err(Errno::EFAULT) => return Taken(calls, None),
            other => return Taken(calls, other.err()),
        }
    }
}

/// One page of the guest, mapped again and again.
pub(crate) fn guest_pages(most: u64) -> Taken {
    const AT_A_TIME: u64 = 512;
    let given = Given::receive();
    let guest = given.privcmd.guest();
    let gfns = [STATUS; 512];
    let Taken(times, refusal) = until_refused(most / AT_A_TIME, |_| {
        let memory = guest.map(&gfns, Access::ReadWrite);
        let errno = |error: &xen_restrict::Error| {
            Errno::from_raw(error.cause.raw_os_error().unwrap_or_default())
        };
        std::mem::forget(memory.map_err(|error| errno(&error))?);
        Ok(())
    });
    held(given, Taken(times * AT_A_TIME, refusal))
}

/// However slow it is.
const ROUND: Duration = Duration::from_secs(5);

/// Answers the guest's requests for I/O, and says after so many of them, or [`ROUND`], how long
/// one took: microseconds.
pub(crate) fn serve(requests: u64) {
    let Given {
        privcmd, events, ..
    } = Given::receive();
    let guest = privcmd.guest();
    let status = guest.map(&[STATUS], Access::ReadWrite).expect("mapped");
    let server = guest.create_ioreq_server(false).expect("a server");
    let range = IoRange::Ports(0x500..=0x503);
    server.map_range(&range).expect("a range");
    let mut from_guest = server.start(&events, 1).expect("started");
    let (mut queue, mut last) = ([Port::new(0); 16], 0);
    let mut answer = |request: &IoRequest| {
        if !request.read {
            last = request.data;
        }
        !last & 0xffff_ffff
    };
    // For as long as this one serves.
    status.set(ARGUMENT, &0_u64).expect("mapped");
    status.set(COMMAND, &PORT_IO).expect("mapped");
    loop {
        let (begin, mut answered) = (Instant::now(), 0);
        while answered == 0 || answered < requests && begin.elapsed() < ROUND {
            let served = from_guest.serve(&events, Duration::MAX, &mut queue, &mut answer);
            let served = served.expect("events");
            events.unmask(served.others).expect("unmasked");
            answered += served.answered as u64;
        }
        println!("{}", begin.elapsed().as_micros() / u128::from(answered));
    }
}
