// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of dom0, by the handle that is there as long as it is root.

use std::{
    fs::{File, OpenOptions},
    io, iter,
    os::fd::AsRawFd as _,
    ptr::{null_mut, read_volatile, write_volatile},
};

use nix::errno::Errno;
use xen_sys::{domid, privcmd};

const PAGE: usize = 4096;
/// Of its own; each eighth byte is known.
const OWN: usize = 4096 * PAGE;
const MARK: u64 = 0x6d79_6f77_0000_0000;
/// Frames at a time.
const FRAMES: usize = 512;

/// Whether a page of its own is found among the frames of the machine, below a number, and
/// changed there.
pub(crate) fn change(frames: u64) -> io::Result<()> {
    let own: Vec<u64> = (0..).map(|at| MARK + at).take(OWN / 8).collect();
    let mut options = OpenOptions::new();
    let handle = options.read(true).write(true).open("/dev/xen/privcmd")?;
    for first in (0x1000..frames).step_by(FRAMES) {
        for page in mapped(&handle, first) {
            // SAFETY: it is mapped.
            let at = unsafe { read_volatile(page) }.wrapping_sub(MARK);
            let Some(place) = usize::try_from(at).ok().and_then(|at| own.get(at)) else {
                continue;
            };
            // SAFETY: the same.
            unsafe { write_volatile(page, 0) };
            // SAFETY: it is a reference's.
            if unsafe { read_volatile(place) } == 0 {
                return Ok(());
            }
        }
    }
    Err(io::Error::other("it is not found"))
}

/// Pages that stay mapped.
fn mapped(handle: &File, first: u64) -> impl Iterator<Item = *mut u64> {
    let (prot, number) = (libc::PROT_READ | libc::PROT_WRITE, handle.as_raw_fd());
    let length = FRAMES * PAGE;
    // SAFETY: at a free place.
    let base = unsafe { libc::mmap(null_mut(), length, prot, libc::MAP_SHARED, number, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    let frames: Vec<u64> = (first..).take(FRAMES).collect();
    let mut errors = [1_i32; FRAMES];
    let mut batch = privcmd::MmapBatchV2 {
        num: FRAMES.try_into().unwrap(),
        dom: domid::SELF,
        addr: base.addr() as u64,
        arr: frames.as_ptr().addr() as u64,
        err: errors.as_mut_ptr().addr() as u64,
        ..privcmd::MmapBatchV2::default()
    };
    let request = libc::Ioctl::from(privcmd::MMAPBATCH_V2.number());
    // SAFETY: arrays that live, of so many elements, and a mapping of so many pages.
    let result = unsafe { libc::ioctl(number, request, &raw mut batch) };
    let all = Errno::result(result).is_ok();
    let pages = iter::successors(Some(base), |page| Some(page.wrapping_byte_add(PAGE)));
    let pages = pages
        .zip(errors)
        .filter(move |(_, error)| all && *error == 0);
    pages.map(|(page, _)| page.cast())
}
