// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices' requests, issued past the library as injected code would.
//!
//! Each is harmless where it is accepted, on every kernel: none names a page,
//! port or grant that somebody uses.

use std::{
    os::fd::{AsFd, AsRawFd},
    ptr,
};

use nix::errno::Errno;
use xen_sys::{Request, evtchn, gntalloc, gntdev, hypercall, memory, privcmd};

use super::{
    Attempt,
    Expect::{self, Absent, All, Others, Same},
    Handles, How,
    Seen::Errno as No,
};

/// A port that cannot be.
const NO_PORT: u32 = u32::MAX;
/// What /dev/null answers: the handle is revoked.
const GONE: Expect = All(No(Errno::ENOTTY));

const fn to(name: &'static str, expect: Expect, raw: Raw) -> Attempt {
    let how = How::Raw(raw);
    Attempt {
        name,
        has_domid: true,
        expect,
        how,
    }
}

const fn at(name: &'static str, expect: Expect, raw: Raw) -> Attempt {
    let how = How::Raw(raw);
    Attempt {
        name,
        has_domid: false,
        expect,
        how,
    }
}

type Raw = fn(&Handles, u16) -> Result<i32, Errno>;

/// Every request of every device. Those that newer kernels added are sent
/// without an argument: a kernel that has one says EFAULT, and it is open.
pub(super) static ATTEMPTS: &[Attempt] = &[
    at(
        "privcmd HYPERCALL xen_version",
        All(No(Errno::EPERM)),
        |h, _| {
            let mut version = privcmd::Hypercall {
                op: hypercall::XEN_VERSION,
                ..Default::default()
            };
            ioctl(&h.privcmd, privcmd::HYPERCALL, &mut version)
        },
    ),
    to("privcmd DM_OP", Others(No(Errno::EPERM)), |h, dom| {
        let mut nothing = privcmd::DmOp {
            dom,
            ..Default::default()
        };
        ioctl(&h.privcmd, privcmd::DM_OP, &mut nothing)
    }),
    to("privcmd MMAP", Others(No(Errno::EPERM)), |h, dom| {
        let mut entry = privcmd::MmapEntry {
            npages: 1,
            ..Default::default()
        };
        let mut map = privcmd::Mmap {
            num: 1,
            dom,
            entry: ptr::from_mut(&mut entry).expose_provenance() as u64,
            ..Default::default()
        };
        ioctl(&h.privcmd, privcmd::MMAP, &mut map)
    }),
    to("privcmd MMAPBATCH", Others(No(Errno::EPERM)), |h, dom| {
        let mut batch = privcmd::MmapBatch {
            num: 1,
            dom,
            ..Default::default()
        };
        ioctl(&h.privcmd, privcmd::MMAPBATCH, &mut batch)
    }),
    to(
        "privcmd MMAPBATCH_V2",
        Others(No(Errno::EPERM)),
        |h, dom| {
            let mut batch = privcmd::MmapBatchV2 {
                num: 1,
                dom,
                ..Default::default()
            };
            ioctl(&h.privcmd, privcmd::MMAPBATCH_V2, &mut batch)
        },
    ),
    to(
        "privcmd MMAP_RESOURCE size",
        Others(No(Errno::EPERM)),
        |h, dom| {
            let mut size = privcmd::MmapResource {
                dom,
                type_: memory::RESOURCE_GRANT_TABLE,
                ..Default::default()
            };
            ioctl(&h.privcmd, privcmd::MMAP_RESOURCE, &mut size)
        },
    ),
    to(
        "privcmd RESTRICT",
        Others(No(Errno::EINVAL)),
        |h, mut dom| ioctl(&h.privcmd, privcmd::RESTRICT, &mut dom),
    ),
    at("privcmd IRQFD", Absent(Errno::ENOTTY), |h, _| {
        no_argument(&h.privcmd, privcmd::IRQFD.number())
    }),
    at("privcmd IOEVENTFD", Absent(Errno::ENOTTY), |h, _| {
        no_argument(&h.privcmd, privcmd::IOEVENTFD.number())
    }),
    at("privcmd PCIDEV_GET_GSI", Absent(Errno::ENOTTY), |h, _| {
        no_argument(&h.privcmd, privcmd::PCIDEV_GET_GSI.number())
    }),
    at("evtchn BIND_VIRQ", All(No(Errno::EACCES)), |h, _| {
        ioctl(
            &h.events,
            evtchn::BIND_VIRQ,
            &mut evtchn::BindVirq { virq: 1 },
        )
    }),
    to(
        "evtchn BIND_INTERDOMAIN",
        Others(No(Errno::EACCES)),
        |h, dom| {
            let mut bind = evtchn::BindInterdomain {
                remote_domain: dom.into(),
                remote_port: NO_PORT,
            };
            ioctl(&h.events, evtchn::BIND_INTERDOMAIN, &mut bind)
        },
    ),
    to(
        "evtchn BIND_UNBOUND_PORT",
        All(No(Errno::EACCES)),
        |h, dom| {
            let mut bind = evtchn::BindUnboundPort {
                remote_domain: dom.into(),
            };
            ioctl(&h.events, evtchn::BIND_UNBOUND_PORT, &mut bind)
        },
    ),
    at("evtchn UNBIND", Same, |h, _| {
        ioctl(
            &h.events,
            evtchn::UNBIND,
            &mut evtchn::Unbind { port: NO_PORT },
        )
    }),
    at("evtchn NOTIFY", Same, |h, _| {
        ioctl(
            &h.events,
            evtchn::NOTIFY,
            &mut evtchn::Notify { port: NO_PORT },
        )
    }),
    at("evtchn RESET", Same, |h, _| {
        ioctl(&h.events, evtchn::RESET, &mut ())
    }),
    to(
        "evtchn RESTRICT_DOMID",
        All(No(Errno::EACCES)),
        |h, domid| {
            ioctl(
                &h.events,
                evtchn::RESTRICT_DOMID,
                &mut evtchn::RestrictDomid { domid },
            )
        },
    ),
    at("evtchn BIND_STATIC", Absent(Errno::ENOSYS), |h, _| {
        ioctl(
            &h.events,
            evtchn::BIND_STATIC,
            &mut evtchn::BindStatic { port: NO_PORT },
        )
    }),
    to("gntdev MAP_GRANT_REF", GONE, |h, dom| {
        let mut request = [0; 24];
        let entry = gntdev::MapGrantRefEntry {
            domid: dom.into(),
            reference: 8,
        };
        gntdev::MapGrantRef::encode(&mut request, &[entry]).ok_or(Errno::EINVAL)?;
        let request: *mut [u8; 24] = &mut request;
        raw(&h.grants, gntdev::MAP_GRANT_REF.number(), request.cast())
    }),
    at("gntdev UNMAP_GRANT_REF", GONE, |h, _| {
        let mut unmap = gntdev::UnmapGrantRef {
            count: 1,
            index: 1 << 40,
            ..Default::default()
        };
        ioctl(&h.grants, gntdev::UNMAP_GRANT_REF, &mut unmap)
    }),
    at("gntdev GET_OFFSET_FOR_VADDR", GONE, |h, _| {
        ioctl(
            &h.grants,
            gntdev::GET_OFFSET_FOR_VADDR,
            &mut Default::default(),
        )
    }),
    at("gntdev SET_MAX_GRANTS", GONE, |h, _| {
        ioctl(&h.grants, gntdev::SET_MAX_GRANTS, &mut Default::default())
    }),
    at("gntdev SET_UNMAP_NOTIFY", GONE, |h, _| {
        ioctl(&h.grants, gntdev::SET_UNMAP_NOTIFY, &mut Default::default())
    }),
    to("gntdev GRANT_COPY", GONE, |h, dom| {
        let mut byte = 0_u8;
        let mut segment = gntdev::GrantCopySegment {
            source: gntdev::GrantCopyPtr::foreign(8, 0, dom),
            dest: gntdev::GrantCopyPtr::local(ptr::from_mut(&mut byte).expose_provenance() as u64),
            len: 1,
            flags: gntdev::GrantCopyFlags::SOURCE_GREF.bits(),
            ..Default::default()
        };
        let mut copy = gntdev::GrantCopy {
            count: 1,
            segments: ptr::from_mut(&mut segment).expose_provenance() as u64,
            ..Default::default()
        };
        ioctl(&h.grants, gntdev::GRANT_COPY, &mut copy)?;
        if segment.status == 0 {
            Ok(0)
        } else {
            Err(Errno::EFAULT)
        }
    }),
    at("gntdev DMABUF_EXP_FROM_REFS", GONE, |h, _| {
        no_argument(&h.grants, gntdev::DMABUF_EXP_FROM_REFS.number())
    }),
    at("gntdev DMABUF_EXP_WAIT_RELEASED", GONE, |h, _| {
        no_argument(&h.grants, gntdev::DMABUF_EXP_WAIT_RELEASED.number())
    }),
    at("gntdev DMABUF_IMP_TO_REFS", GONE, |h, _| {
        no_argument(&h.grants, gntdev::DMABUF_IMP_TO_REFS.number())
    }),
    at("gntdev DMABUF_IMP_RELEASE", GONE, |h, _| {
        no_argument(&h.grants, gntdev::DMABUF_IMP_RELEASE.number())
    }),
    to("gntalloc ALLOC_GREF", GONE, |h, dom| {
        let mut request = [0; 24];
        let flags = gntalloc::AllocFlags::empty();
        gntalloc::AllocGref::encode(&mut request, dom, flags, 1).ok_or(Errno::EINVAL)?;
        let request: *mut [u8; 24] = &mut request;
        raw(&h.pages, gntalloc::ALLOC_GREF.number(), request.cast())
    }),
    at("gntalloc DEALLOC_GREF", GONE, |h, _| {
        let mut free = gntalloc::DeallocGref {
            index: 1 << 40,
            count: 1,
            ..Default::default()
        };
        ioctl(&h.pages, gntalloc::DEALLOC_GREF, &mut free)
    }),
    at("gntalloc SET_UNMAP_NOTIFY", GONE, |h, _| {
        ioctl(
            &h.pages,
            gntalloc::SET_UNMAP_NOTIFY,
            &mut Default::default(),
        )
    }),
];

fn ioctl<T>(fd: &impl AsFd, request: Request<T>, argument: &mut T) -> Result<i32, Errno> {
    raw(fd, request.number(), ptr::from_mut(argument).cast())
}

fn no_argument(fd: &impl AsFd, number: u32) -> Result<i32, Errno> {
    raw(fd, number, ptr::null_mut())
}

fn raw(fd: &impl AsFd, number: u32, argument: *mut u8) -> Result<i32, Errno> {
    let number = libc::Ioctl::from(number);
    // SAFETY: each attempt passes its request's own argument, whose addresses
    // are live or null; the kernel checks null ones.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number, argument) })
}
