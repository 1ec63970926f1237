// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the kernel of a PVH dom0 answers otherwise than that of a PV dom0
//! (`docs/kernel-facts.md`), without this crate in between.

use std::{
    fs,
    io::{Read, pipe},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr,
};

use nix::errno::Errno;
use xen_restrict::{Access, GrantDevice, GrantRef, PAGE_SIZE};
use xen_sys::privcmd;

use crate::support::{Field, LabGuest, STATUS, a, alone, open, raw};

fn is_pvh() -> bool {
    let kind = fs::read_to_string("/sys/hypervisor/guest_type").unwrap();
    match kind.trim() {
        "PV" => false,
        "PVH" => true,
        other => panic!("a dom0 of type {other}"),
    }
}

/// Maps pages of privcmd, with nothing in them yet.
fn empty_mapping(fd: &OwnedFd, pages: usize) -> *mut libc::c_void {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let (length, number) = (pages * PAGE_SIZE, fd.as_raw_fd());
    // SAFETY: the kernel chooses a free range.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, prot, libc::MAP_SHARED, number, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    at
}

/// Maps frames of guest A at an address; returns the error of each, too.
fn fill(fd: &OwnedFd, address: usize, gfns: &[u64]) -> (Result<i32, Errno>, Vec<i32>) {
    let mut errors = vec![0; gfns.len()];
    let mut batch = privcmd::MmapBatchV2 {
        num: gfns.len().try_into().unwrap(),
        dom: a().get(),
        addr: address as u64,
        arr: gfns.as_ptr().expose_provenance() as u64,
        err: errors.as_mut_ptr().expose_provenance() as u64,
        ..Default::default()
    };
    (raw(fd, privcmd::MMAPBATCH_V2, &mut batch), errors)
}

/// Has the kernel read eight bytes, so that a fault is an answer.
fn word(address: usize) -> Result<u64, Errno> {
    let (mut reader, writer) = pipe().unwrap();
    let from = ptr::with_exposed_provenance(address);
    // SAFETY: the kernel checks the address.
    Errno::result(unsafe { libc::write(writer.as_raw_fd(), from, 8) })?;
    let mut word = [0; 8];
    reader.read_exact(&mut word).unwrap();
    Ok(u64::from_ne_bytes(word))
}

fn is_mapped(address: usize) -> Result<i32, Errno> {
    let at = ptr::with_exposed_provenance_mut(address);
    // SAFETY: the kernel checks the address, and changes nothing there.
    Errno::result(unsafe { libc::msync(at, PAGE_SIZE, libc::MS_ASYNC) })
}

#[test]
fn a_page_that_is_not_there_faults_or_reads_as_ones() {
    let fd = open("/dev/xen/privcmd");
    let at = empty_mapping(&fd, 2);
    let (first, second) = (at.expose_provenance(), at.expose_provenance() + PAGE_SIZE);
    let (result, errors) = fill(&fd, first, &[STATUS.get(), 0x00ff_ffff]);
    assert_eq!((result, errors[0]), (Ok(0), 0));
    assert_ne!(errors[1], 0);
    let magic = word(first).unwrap();
    let (missing, retry) = if is_pvh() {
        (Ok(u64::MAX), Err(Errno::EINVAL))
    } else {
        (Err(Errno::EFAULT), Ok(0))
    };
    assert_eq!(word(second), missing);
    assert_eq!(fill(&fd, second, &[STATUS.get()]).0, retry);
    assert_eq!(word(second), retry.map(|_| magic).or(missing));
    assert_eq!(word(first), Ok(magic));
    // SAFETY: the whole mapping, which nothing refers to.
    assert_eq!(unsafe { libc::munmap(at, 2 * PAGE_SIZE) }, 0);
}

/// Half of a mapping with pages in it must never be unmapped in a PVH dom0: a
/// kernel that allows it frees them twice. One without pages only tells.
#[test]
fn a_mapping_is_not_split() {
    let fd = open("/dev/xen/privcmd");
    let at = empty_mapping(&fd, 2);
    // SAFETY: nothing is in these pages.
    let split = Errno::result(unsafe { libc::mprotect(at, PAGE_SIZE, libc::PROT_READ) });
    assert_eq!(
        split,
        Err(Errno::EINVAL),
        "a kernel without the fix of CVE-2026-31787"
    );
    // SAFETY: the whole mapping, which nothing refers to.
    assert_eq!(unsafe { libc::munmap(at, 2 * PAGE_SIZE) }, 0);
}

#[test]
fn the_first_mmap_request_is_for_pv_only() {
    let nothing = &mut privcmd::Mmap {
        dom: a().get(),
        ..Default::default()
    };
    let expected = if is_pvh() { Err(Errno::ENOSYS) } else { Ok(0) };
    assert_eq!(
        raw(&open("/dev/xen/privcmd"), privcmd::MMAP, nothing),
        expected
    );
}

alone! {
    fn mapped_grants_are_not_inherited() {
        let guest = LabGuest::new(a());
        let reference = GrantRef::new(guest.get(Field::FirstWritable).try_into().unwrap());
        let grants = GrantDevice::open().unwrap();
        let _mapped = grants.map(a(), &[reference], Access::Read).unwrap();
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.ends_with("gntdev")).unwrap();
        let start = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        // A PVH dom0's kernel alone would hand them on.
        let expected = Err(Errno::ENOMEM);
        let mut child = Command::new("/bin/true");
        let check = move || match is_mapped(start) == expected {
            true => Ok(()),
            false => Err(Errno::EPROTO.into()),
        };
        // SAFETY: the closure only makes a system call.
        unsafe { child.pre_exec(check) };
        assert!(child.status().unwrap().success());
    }
}

/// The lab has Xen switch vector registers at once: late, under emulation, dom0's programs
/// lose them, and with them what they copy.
#[test]
fn vector_registers_are_switched_at_once() {
    let said = Command::new("xl").arg("dmesg").output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout);
    let line = said
        .lines()
        .find(|line| line.contains("Support for PV VMs"));
    assert!(line.is_some_and(|l| l.contains("EAGER_FPU")), "{said}");
}
