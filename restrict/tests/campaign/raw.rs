// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any request number of the devices' types, with anything for an argument, on handles that
//! are restricted to one guest: no filter is in the way.
//!
//! Left out is what is known to damage dom0 (`docs/kernel-holes.md`) or to kill Xen, and
//! nothing else: the operations of `DM_OP` that Xen has are the other generator's.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    ptr,
};

use nix::errno::Errno;
use xen_restrict::{
    GuestId,
    confine::xen_requests::{POLICY, Row, TYPES},
};
use xen_sys::{domid, evtchn, privcmd};

use crate::random::Random;

const PAGE: usize = 4096;
/// Pages that arguments may point to; the drivers write here.
const ARENA: usize = 32;
/// Nothing is there. No request writes more than that.
const GUARD: usize = 1 << 20;
/// As many as a request's argument has, and more.
const WORDS: usize = 8;

pub(crate) struct Raw {
    privcmd: OwnedFd,
    events: OwnedFd,
    grants: OwnedFd,
    pages: OwnedFd,
    own: GuestId,
    other: GuestId,
    arena: *mut u8,
    /// Of each answer, how often.
    pub(crate) answers: BTreeMap<(&'static str, String), u64>,
    pub(crate) last: String,
}

/// What is done, and on which device.
struct Request {
    device: &'static str,
    fd: RawFd,
    number: u32,
    row: Option<&'static Row>,
}

impl Raw {
    /// Of a privcmd handle that is restricted to `own` already.
    pub(crate) fn new(privcmd: &OwnedFd, own: GuestId, other: GuestId) -> Self {
        let open = |name: &str| {
            let path = format!("/dev/xen/{name}");
            let file = File::options().read(true).write(true).open(&path);
            OwnedFd::from(file.unwrap_or_else(|e| panic!("{path}: {e}")))
        };
        let events = open("evtchn");
        let mut to = evtchn::RestrictDomid { domid: own.get() };
        let number = evtchn::RESTRICT_DOMID.number();
        // SAFETY: number and argument belong together.
        let restricted = unsafe { ioctl(events.as_raw_fd(), number, (&raw mut to).cast()) };
        assert_eq!(restricted, Ok(0));
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let (length, none) = (ARENA * PAGE + GUARD, libc::PROT_NONE);
        // SAFETY: the kernel chooses a free range.
        let arena = unsafe { libc::mmap(ptr::null_mut(), length, none, flags, -1, 0) };
        assert_ne!(arena, libc::MAP_FAILED);
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the first pages of what was just mapped.
        let made = unsafe { libc::mprotect(arena, ARENA * PAGE, prot) };
        assert_eq!(made, 0);
        Self {
            privcmd: privcmd.try_clone().unwrap(),
            events,
            grants: open("gntdev"),
            pages: open("gntalloc"),
            own,
            other,
            arena: arena.cast(),
            answers: BTreeMap::new(),
            last: String::new(),
        }
    }

    pub(crate) fn once(&mut self, random: &mut Random) {
        let mut words = self.argument(random);
        let request = self.request(random);
        let (device, number, row) = (request.device, request.number, request.row);
        self.aim(row, &mut words, random);
        if is_known_to_harm(row, device, &mut words, self.own) {
            return;
        }
        self.last = format!("{device} {number:#x} {words:x?}");
        let pointer = match random.below(16) {
            0 => ptr::null_mut(),
            1 => ptr::without_provenance_mut(self.nowhere(random)),
            _ => words.as_mut_ptr(),
        };
        let aimed = pointer == words.as_mut_ptr();
        // SAFETY: a driver writes to the argument, or to the arena; all other addresses are
        // none that this process has.
        let answer = unsafe { ioctl(request.fd, number, pointer.cast()) };
        // Nobody's number is nobody's, and another's guest stays another's.
        let unknown = match device {
            "evtchn" => Errno::ENOSYS,
            _ => Errno::ENOTTY,
        };
        match row.filter(|row| row.request.contains(device)) {
            None => assert_eq!(answer, Err(unknown), "{}", self.last),
            Some(_) if aimed && self.names_another(row, &words) => {
                let refused = [Errno::EPERM, Errno::EACCES, Errno::ENOSYS, Errno::EFAULT];
                let refused = answer.is_err_and(|errno| refused.contains(&errno));
                assert!(refused, "{}: {answer:?}", self.last);
            }
            Some(_) => {}
        }
        let name = row.map_or("none that there is", |row| row.request);
        let answer = answer.map_or_else(|errno| format!("{errno:?}"), |_| "done".to_owned());
        *self.answers.entry((name, answer)).or_default() += 1;
    }

    fn request(&self, random: &mut Random) -> Request {
        let known = random.below(4) != 0;
        let row = known.then(|| random.one_of(&POLICY.iter().collect::<Vec<_>>()));
        let number = match row {
            Some(row) => row.number,
            None => {
                let size = random.one_of(&[0, 2, 4, 8, 16, 20, 24, 32, 40, 48, 0x3fff]);
                let group = u32::from(random.one_of(&TYPES));
                let direction = u32::try_from(random.below(4)).unwrap();
                let nr = u32::try_from(random.below(256)).unwrap();
                direction << 30 | size << 16 | group << 8 | nr
            }
        };
        let row = POLICY.iter().find(|row| row.number == number);
        // gntdev and gntalloc have no restriction: what they know is theirs to do.
        let theirs = row.is_some_and(|row| row.request.starts_with("gnt"));
        let handles = [
            ("privcmd", &self.privcmd),
            ("evtchn", &self.events),
            ("gntdev", &self.grants),
            ("gntalloc", &self.pages),
        ];
        let of = if theirs { 2 } else { 4 };
        let right = handles
            .iter()
            .position(|(name, _)| row.is_some_and(|row| row.request.starts_with(name)) && !theirs);
        let any = usize::try_from(random.below(of)).unwrap();
        let at = right.filter(|_| random.below(8) != 0).unwrap_or(any);
        let (device, fd) = handles[at];
        Request {
            device,
            fd: fd.as_raw_fd(),
            number,
            row,
        }
    }

    fn argument(&mut self, random: &mut Random) -> [u64; WORDS] {
        // What the drivers read behind a pointer.
        for _ in 0..16 {
            let at = usize::try_from(random.below((ARENA * PAGE / 8) as u64)).unwrap();
            let word = self.word(random);
            let at = self.arena.cast::<u64>().wrapping_add(at);
            // SAFETY: in the arena, aligned.
            unsafe { at.write_volatile(word) };
        }
        std::array::from_fn(|_| self.word(random))
    }

    fn word(&self, random: &mut Random) -> u64 {
        let whom = random.one_of(&[
            self.own.get(),
            self.own.get(),
            self.own.get(),
            self.other.get(),
            domid::DOM0,
            domid::INVALID,
        ]);
        let whom = u64::from(whom);
        match random.below(8) {
            0 => random.word(),
            1 => random.below(64),
            2 => whom,
            3 => whom << 32 | random.below(64),
            4 => random.below(1 << 16) << 16 | whom,
            _ => self.address(random),
        }
    }

    /// In the arena, or nowhere: nothing of this process is to be written over.
    fn address(&self, random: &mut Random) -> u64 {
        let inside = self.arena.expose_provenance() as u64 + random.below((ARENA * PAGE) as u64);
        match random.below(8) {
            0 | 1 => self.nowhere(random) as u64,
            2 => inside & !0xfff,
            _ => inside & !7,
        }
    }

    /// Where no process has anything.
    fn nowhere(&self, random: &mut Random) -> usize {
        let low = usize::try_from(random.below(1 << 20)).unwrap();
        match random.once_in(2) {
            true => 1 << 47 | low,
            false => usize::MAX - low,
        }
    }

    /// Whether the kernel has to refuse it for the restriction's sake.
    fn names_another(&self, row: Option<&Row>, words: &[u64; WORDS]) -> bool {
        let Some(row) = row else { return false };
        let never = [
            privcmd::HYPERCALL.number(),
            evtchn::BIND_VIRQ.number(),
            evtchn::BIND_UNBOUND_PORT.number(),
        ];
        never.contains(&row.number)
            || domain_in(row.number)
                .is_some_and(|(at, mask)| words[0] >> at & mask != u64::from(self.own.get()))
    }

    /// Half of all requests are to be about the guest: those get further.
    fn aim(&self, row: Option<&Row>, words: &mut [u64; WORDS], random: &mut Random) {
        if let Some((at, mask)) = row.and_then(|row| domain_in(row.number))
            && random.once_in(2)
        {
            words[0] = words[0] & !(mask << at) | u64::from(self.own.get()) << at;
        }
    }
}

/// Where in an argument's first word the domain is: from which bit on, and its mask.
fn domain_in(number: u32) -> Option<(u32, u64)> {
    match number {
        n if n == privcmd::DM_OP.number() || n == privcmd::MMAP_RESOURCE.number() => {
            Some((0, 0xffff))
        }
        n if n == privcmd::MMAPBATCH_V2.number()
            || n == privcmd::MMAPBATCH.number()
            || n == privcmd::MMAP.number() =>
        {
            Some((32, 0xffff))
        }
        n if n == evtchn::BIND_INTERDOMAIN.number() => Some((0, 0xffff_ffff)),
        _ => None,
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: nothing refers to it.
        unsafe { libc::munmap(self.arena.cast(), ARENA * PAGE + GUARD) };
    }
}

/// Whether it would; some arguments are made harmless instead.
fn is_known_to_harm(
    row: Option<&Row>,
    device: &str,
    words: &mut [u64; WORDS],
    own: GuestId,
) -> bool {
    let Some(row) = row.filter(|row| row.request.starts_with(device)) else {
        return false;
    };
    let own = u64::from(own.get());
    match row.number {
        n if n == evtchn::BIND_STATIC.number() => {
            words[0] |= 0xffff_ffff;
            false
        }
        // The driver takes any mapping for its own.
        n if n == privcmd::MMAP.number() => words[0] >> 32 & 0xffff == own,
        // It copies as much as that; a signed number.
        n if n == privcmd::MMAPBATCH_V2.number() || n == privcmd::MMAPBATCH.number() => {
            words[0] &= !0xffff_0000;
            false
        }
        // Xen's operations, and empty buffers, are in what the pointers name.
        n if n == privcmd::DM_OP.number() => {
            words[0] & 0xffff == own && (1..=16).contains(&(words[0] >> 16 & 0xffff))
        }
        // The next mapping is not to be one of privcmd's: of the campaign's own, and counted.
        n if n == privcmd::MMAP_RESOURCE.number() => words[3] != 0 && words[3] >> 47 == 0,
        _ => false,
    }
}

/// # Safety
///
/// What the driver writes to is nobody's.
unsafe fn ioctl(fd: RawFd, number: u32, argument: *mut u8) -> Result<i32, Errno> {
    let number = libc::Ioctl::from(number);
    // SAFETY: the caller's promise.
    Errno::result(unsafe { libc::ioctl(fd, number, argument) })
}
