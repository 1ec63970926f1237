// SPDX-License-Identifier: MIT OR Apache-2.0
//! What ends in a system call, with a file in the device's place: /dev/null refuses each
//! ioctl, and /dev/zero has port 0 pending and takes what is unmasked.

use std::{
    fs::File,
    hint::black_box,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use xen_restrict::{Gfn, Guest, Port, benching};
use xen_sys::privcmd::{DM_OP, DmOp};
use zerocopy::IntoBytes;

use crate::operation::{Operation, Work, repeat};

const FEW: u64 = 1000;
static EXTENTS: [(Gfn, u32); 256] = [(Gfn::new(5), 1); 256];

pub(crate) fn all() -> Vec<Operation> {
    let mut all = vec![
        dm_op("dm_op set_isa_irq_level", |guest, _| {
            guest.set_isa_irq_level(4, true).is_ok()
        }),
        dm_op("dm_op inject_msi", |guest, _| {
            guest.inject_msi(0xFEE0_0000, 0x41).is_ok()
        }),
        dm_op("dm_op track_dirty_vram, 4096 pages", |guest, bitmap| {
            guest
                .track_dirty_vram(Gfn::new(0xF0000), 4096, bitmap)
                .is_ok()
        }),
        dm_op("dm_op modified_memory, 256 extents", |guest, _| {
            guest.modified_memory(black_box(&EXTENTS)).is_ok()
        }),
    ];
    all.extend([1, 64].into_iter().flat_map(ports));
    all.push(waiting());
    all
}

fn open(path: &str) -> OwnedFd {
    let file = File::options().read(true).write(true).open(path);
    file.expect("it is there").into()
}

fn dm_op(name: &str, once: fn(&Guest, &mut [u8]) -> bool) -> Operation {
    Operation::new(name, FEW, move || {
        let (guest, mut bitmap) = (benching::guest(open("/dev/null")), vec![0; 512]);
        repeat(move || once(black_box(&guest), &mut bitmap))
    })
    .floor("ioctl", || {
        let null = open("/dev/null");
        let request = libc::Ioctl::from(DM_OP.number());
        repeat(move || {
            let mut argument = DmOp::default();
            // SAFETY: /dev/null looks at no argument.
            unsafe { libc::ioctl(null.as_raw_fd(), request, &raw mut argument) }
        })
    })
}

fn ports(count: usize) -> [Operation; 2] {
    let queue = move || (open("/dev/zero"), vec![Port::new(0); count]);
    [
        Operation::new(format!("take pending ports: {count}"), FEW, move || {
            let (zero, mut queue) = queue();
            let events = benching::events(zero);
            repeat(move || events.pending(&mut queue).map(<[Port]>::len).ok())
        })
        .floor("read", move || -> Work {
            let (zero, mut queue) = queue();
            repeat(move || {
                let bytes = queue.as_mut_bytes();
                // SAFETY: so many bytes are there.
                unsafe { libc::read(zero.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) }
            })
        }),
        Operation::new(format!("unmask ports: {count}"), FEW, move || {
            let (zero, queue) = queue();
            let events = benching::events(zero);
            repeat(move || events.unmask(&queue).is_ok())
        })
        .floor("write", move || -> Work {
            let (zero, queue) = queue();
            repeat(move || {
                let bytes = queue.as_bytes();
                // SAFETY: so many bytes are there.
                unsafe { libc::write(zero.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) }
            })
        }),
    ]
}

fn waiting() -> Operation {
    Operation::new("wait for a port that is pending", FEW, || {
        let events = benching::events(open("/dev/zero"));
        repeat(move || events.wait(Duration::from_secs(1)).ok())
    })
    .floor("poll", || {
        let zero = open("/dev/zero");
        repeat(move || {
            let mut waits = libc::pollfd {
                fd: zero.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one, and it is there.
            unsafe { libc::poll(&raw mut waits, 1, 1000) }
        })
    })
}
