// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mappings, and buffers: what the driver does not compare.

use std::{ptr, slice};

use nix::errno::Errno;
use xen_sys::{dm_op, memory, privcmd};
use zerocopy::IntoBytes as _;

use crate::{Given, raw, say, tell};

const PAGE: usize = 4096;
/// Guest frames that are there.
const FRAME: u64 = 0x200;

/// Pages that this process has reserved; they go with the process.
struct Pages {
    at: *mut libc::c_void,
    pages: usize,
}

impl Pages {
    /// Memory of its own.
    fn anonymous(pages: usize) -> Self {
        Self::map(ptr::null_mut(), pages, libc::MAP_ANONYMOUS, None)
    }

    /// What the driver maps into; nothing is mapped yet.
    fn of_privcmd(given: &Given, pages: usize) -> Self {
        Self::map(ptr::null_mut(), pages, 0, Some(given))
    }

    fn map(at: *mut libc::c_void, pages: usize, flags: i32, given: Option<&Given>) -> Self {
        use std::os::fd::{AsFd as _, AsRawFd as _};
        let fd = given.map_or(-1, |given| given.privcmd.as_fd().as_raw_fd());
        let (prot, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let shared = if given.is_some() {
            shared
        } else {
            libc::MAP_PRIVATE
        };
        // SAFETY: at a free place, or over pages of `Pages` that are not used any more.
        let at = unsafe { libc::mmap(at, pages * PAGE, prot, flags | shared, fd, 0) };
        assert_ne!(at, libc::MAP_FAILED, "{}", Errno::last());
        Self { at, pages }
    }

    fn address(&self) -> u64 {
        self.at.expose_provenance() as u64
    }

    fn page(&self, page: usize) -> *mut libc::c_void {
        self.at.wrapping_byte_add(page * PAGE)
    }

    fn unmap(self) -> Result<i32, Errno> {
        // SAFETY: all of it, and nothing refers to it.
        Errno::result(unsafe { libc::munmap(self.at, self.pages * PAGE) })
    }
}

/// `pages` of a privcmd mapping with memory of this process right behind.
fn with_neighbours(given: &Given, pages: usize, neighbours: usize) -> Pages {
    let all = Pages::anonymous(pages + neighbours);
    for page in pages..pages + neighbours {
        // SAFETY: memory of this process's own.
        unsafe { all.page(page).cast::<u8>().write_volatile(0x5a) };
    }
    Pages::map(all.at, pages, libc::MAP_FIXED, Some(given))
}

fn grant_table(given: &Given, at: u64, pages: u64) -> Result<i32, Errno> {
    let mut resource = privcmd::MmapResource {
        dom: given.domid(),
        type_: memory::RESOURCE_GRANT_TABLE,
        num: pages,
        addr: at,
        ..Default::default()
    };
    raw(&given.privcmd, privcmd::MMAP_RESOURCE, &mut resource)
}

/// Four frames into a mapping of one page: the others go over what is behind.
pub(crate) fn more_than_the_mapping_has(given: &Given, _: &[u32]) {
    let pages = with_neighbours(given, 1, 3);
    tell(
        "MMAP_RESOURCE of 4 into 1",
        grant_table(given, pages.address(), 4),
    );
    let behind = pages.page(1).cast::<u8>();
    // SAFETY: memory of this process's own, or a frame in its place.
    let byte = unsafe { behind.read_volatile() };
    say(&format!("the page behind reads {byte:#x}"));
}

/// One frame into a mapping of many: the driver's list of pages has one entry, too.
pub(crate) fn fewer_than_the_mapping_has(given: &Given, _: &[u32]) {
    let pages = Pages::of_privcmd(given, 512);
    tell(
        "MMAP_RESOURCE of 1 into 512",
        grant_table(given, pages.address(), 1),
    );
    tell("munmap", pages.unmap());
}

pub(crate) fn a_resource_twice(given: &Given, _: &[u32]) {
    let pages = Pages::of_privcmd(given, 1);
    tell("MMAP_RESOURCE", grant_table(given, pages.address(), 1));
    tell(
        "MMAP_RESOURCE again",
        grant_table(given, pages.address(), 1),
    );
}

/// MMAP looks for a mapping at the address, whoever's it is.
pub(crate) fn a_mapping_that_is_not_privcmds(given: &Given, _: &[u32]) {
    let pages = Pages::anonymous(1);
    let entry = privcmd::MmapEntry {
        va: pages.address(),
        mfn: 1,
        npages: 1,
    };
    let mut mmap = privcmd::Mmap {
        num: 1,
        dom: given.domid(),
        entry: ptr::from_ref(&entry).expose_provenance() as u64,
        ..Default::default()
    };
    tell("MMAP", raw(&given.privcmd, privcmd::MMAP, &mut mmap));
}

fn batch(given: &Given, at: u64, frames: &[u64], errors: &mut [i32]) -> Result<i32, Errno> {
    let mut batch = privcmd::MmapBatchV2 {
        num: u32::try_from(frames.len()).unwrap_or(u32::MAX),
        dom: given.domid(),
        addr: at,
        arr: frames.as_ptr().expose_provenance() as u64,
        err: errors.as_mut_ptr().expose_provenance() as u64,
        ..Default::default()
    };
    raw(&given.privcmd, privcmd::MMAPBATCH_V2, &mut batch)
}

/// Moves a mapping of guest memory elsewhere, and unmaps it there.
pub(crate) fn a_mapping_that_is_moved(given: &Given, _: &[u32]) {
    const COUNT: usize = 8;
    let (pages, to) = (Pages::of_privcmd(given, COUNT), Pages::anonymous(COUNT));
    let frames: Vec<u64> = (0..COUNT as u64).map(|page| FRAME + page).collect();
    let answer = batch(given, pages.address(), &frames, &mut [0; COUNT]);
    tell("MMAPBATCH_V2", answer);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    let length = COUNT * PAGE;
    // SAFETY: both are of this length, and nothing refers to them.
    let at = unsafe { libc::mremap(pages.at, length, length, flags, to.at) };
    if at == libc::MAP_FAILED {
        tell("mremap", Err(Errno::last()));
        return;
    }
    tell("mremap", Ok(0));
    // SAFETY: a page of the mapping, wherever it is now.
    let word = unsafe { to.page(0).cast::<u64>().wrapping_add(1).read_volatile() };
    say(&format!("the moved page says domain {word}"));
    tell("munmap", to.unmap());
}

/// The driver copies the array first: here, one of zeros that takes no memory.
pub(crate) fn an_array_without_memory(given: &Given, numbers: &[u32]) {
    let mib = numbers.first().map_or(64, |mib| *mib as usize);
    let array = Pages::anonymous(mib << 8);
    let (count, at) = ((mib << 20) / size_of::<u64>(), array.at.cast::<u64>());
    // SAFETY: anonymous memory reads zeros, and nobody writes it.
    let frames = unsafe { slice::from_raw_parts(at.cast_const(), count) };
    let errors = Pages::anonymous(mib << 7);
    // SAFETY: as long, and only the kernel writes it.
    let errors = unsafe { slice::from_raw_parts_mut(errors.at.cast::<i32>(), count) };
    // No mapping is there: the driver finds that out after it has copied.
    tell("MMAPBATCH_V2", batch(given, 0, frames, errors));
}

/// The second buffer is empty, and at the start of a page with many writable ones behind.
pub(crate) fn an_empty_buffer(given: &Given, numbers: &[u32]) {
    let pages = numbers.first().map_or(300, |pages| *pages as usize);
    // Behind them is one that cannot be pinned.
    let memory = Pages::anonymous(pages + 1);
    let last = memory.page(pages);
    // SAFETY: a page of this function's own.
    assert_eq!(unsafe { libc::mprotect(last, PAGE, libc::PROT_NONE) }, 0);
    for page in 0..pages {
        // SAFETY: memory of this process's own.
        unsafe { memory.page(page).cast::<u8>().write_volatile(1) };
    }
    let mut frame = dm_op::Frame::new(&dm_op::NrVcpus::default());
    let bytes = frame.as_mut_bytes();
    let buffer = |uptr: u64, size: usize| privcmd::DmOpBuf {
        uptr,
        size: size as u64,
    };
    // Not reached. With these the driver's list is 5 pages long, of the 8 that fit into what
    // the kernel allocates for it.
    let room = buffer(last.expose_provenance() as u64, PAGE);
    let frame = buffer(bytes.as_mut_ptr().expose_provenance() as u64, bytes.len());
    let empty = buffer(memory.address(), 0);
    let buffers = [frame, empty, room, room, room, room];
    let harmless = pages < 8;
    let mut op = privcmd::DmOp {
        dom: given.domid(),
        num: if harmless { 6 } else { 2 },
        ubufs: buffers.as_bytes().as_ptr().expose_provenance() as u64,
        ..Default::default()
    };
    tell("DM_OP", raw(&given.privcmd, privcmd::DM_OP, &mut op));
}
