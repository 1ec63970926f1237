// SPDX-License-Identifier: MIT OR Apache-2.0
//! The requests, raw, and the mappings they fill.

use std::{
    collections::VecDeque,
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
};

use nix::errno::Errno;
use xen_restrict::GuestId;
use xen_sys::{Request, dm_op, memory, privcmd};

use crate::{attack::What, attempt::Attempt};

const PAGE_SIZE: usize = 4096;

pub(crate) type Answer = Result<i32, Errno>;

pub(crate) fn restricted(to: GuestId) -> OwnedFd {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/xen/privcmd");
    let fd = file.unwrap().into();
    assert_eq!(raw(&fd, privcmd::RESTRICT, &mut to.get()), Ok(0));
    fd
}

fn raw<T>(fd: &OwnedFd, request: Request<T>, argument: &mut T) -> Answer {
    let number = libc::Ioctl::from(request.number());
    // SAFETY: the addresses in arguments of this file are of live buffers of the sizes
    // that go with them, or of a mapping made for the request alone.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), number, argument) })
}

pub(crate) fn perform(
    fd: &OwnedFd,
    dom: u16,
    what: &mut What,
    kept: &mut VecDeque<Mapping>,
    other: GuestId,
) -> Answer {
    match what {
        What::Operation(attempt) => {
            let answer = operate(fd, dom, attempt)?;
            if let Some(id) = attempt.created() {
                give_pages(fd, dom, id)?;
            }
            Ok(answer)
        }
        What::Frames(gfns) => {
            let mut errors = vec![0_i32; gfns.len()];
            let mapping = Mapping::new(fd, gfns.len())?;
            let mut batch = privcmd::MmapBatchV2 {
                num: gfns.len().try_into().unwrap(),
                dom,
                addr: mapping.address(),
                arr: gfns.as_ptr().expose_provenance() as u64,
                err: errors.as_mut_ptr().expose_provenance() as u64,
                ..Default::default()
            };
            let answer = raw(fd, privcmd::MMAPBATCH_V2, &mut batch)?;
            for (page, _) in errors.iter().enumerate().filter(|(_, error)| **error == 0) {
                // Most of a guest's pages say whose they are, and which byte it is.
                let others = u64::from(other.get()) << 48 | 8;
                let word = mapping.word(page) & (0xffff << 48 | 0xffff_ffff);
                assert_ne!(word, others, "{:#x} is another's", gfns[page]);
            }
            kept.push_front(mapping);
            if errors.iter().all(|error| *error == -libc::ESRCH) {
                return Err(Errno::ESRCH);
            }
            Ok(answer)
        }
        What::Resource {
            type_,
            id,
            first,
            pages,
        } => {
            kept.push_front(resource(fd, dom, *type_, (*id, *first, *pages))?);
            Ok(0)
        }
    }
}

/// `which` of the type: its id, the first frame, and how many.
fn resource(fd: &OwnedFd, dom: u16, type_: u32, which: (u32, u32, u32)) -> Result<Mapping, Errno> {
    let (id, idx, pages) = which;
    let mapping = Mapping::new(fd, pages as usize)?;
    let mut request = privcmd::MmapResource {
        dom,
        type_,
        id,
        idx,
        num: pages.into(),
        addr: mapping.address(),
        ..Default::default()
    };
    raw(fd, privcmd::MMAP_RESOURCE, &mut request)?;
    Ok(mapping)
}

fn operate(fd: &OwnedFd, dom: u16, attempt: &mut Attempt) -> Answer {
    let mut data = attempt.data.clone();
    let of = |bytes: &mut [u8]| privcmd::DmOpBuf {
        uptr: bytes.as_mut_ptr().expose_provenance() as u64,
        size: bytes.len() as u64,
    };
    let buffers = [of(attempt.bytes()), of(&mut data)];
    // The driver pins from the address of an empty buffer on: there is none.
    let num = if data.is_empty() { 1 } else { 2 };
    let ubufs = buffers.as_ptr().expose_provenance() as u64;
    raw(
        fd,
        privcmd::DM_OP,
        &mut privcmd::DmOp {
            dom,
            num,
            ubufs,
            ..Default::default()
        },
    )
}

/// No server has such a number, in no guest that is there.
pub(crate) fn is_gone(fd: &OwnedFd, dom: u16) -> bool {
    let (id, flags) = (u16::MAX, dm_op::NO_GFNS);
    let info = dm_op::GetIoreqServerInfo {
        id,
        flags,
        ..Default::default()
    };
    operate(fd, dom, &mut Attempt::of(info)) == Err(Errno::ESRCH)
}

/// Xen dies where a server is enabled that has no pages, and the guest does something
/// (docs/campaign.md): each gets them at once, or is not there.
fn give_pages(fd: &OwnedFd, dom: u16, id: u16) -> Result<(), Errno> {
    let of_server = (u32::from(id), 1, 1);
    let pages = resource(fd, dom, memory::RESOURCE_IOREQ_SERVER, of_server);
    if pages.is_err() {
        operate(
            fd,
            dom,
            &mut Attempt::of(dm_op::DestroyIoreqServer { id, pad: 0 }),
        )?;
    }
    pages.map(drop)
}

/// Pages of the driver's, each mapped once.
pub(crate) struct Mapping {
    at: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    fn new(fd: &OwnedFd, pages: usize) -> Result<Self, Errno> {
        let length = pages * PAGE_SIZE;
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel chooses a free range.
        let at = unsafe { libc::mmap(ptr::null_mut(), length, prot, flags, fd.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self { at, length })
    }

    fn address(&self) -> u64 {
        self.at.expose_provenance() as u64
    }

    fn word(&self, page: usize) -> u64 {
        let at = self.at.cast::<u64>().wrapping_add(page * PAGE_SIZE / 8 + 1);
        // SAFETY: a page of this mapping in which the driver has put one.
        unsafe { at.read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole mapping; nothing refers to it.
        unsafe { libc::munmap(self.at, self.length) };
    }
}
