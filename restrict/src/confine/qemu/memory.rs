// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory of a graphics card. QEMU has Xen give it to its guest, by a hypercall, and who may
//! issue one may issue any. So the supervisor issues this one in its place: of what QEMU has
//! asked for it takes a list of frames, and nothing else.

use std::{fs::File, io, mem::offset_of, os::unix::fs::FileExt as _};

use nix::errno::Errno;
use xen_sys::{
    hypercall::{MEMORY_OP, MULTICALL},
    memory,
    memory::Reservation,
    multicall::Entry,
    privcmd,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    GuestId, PrivCmd,
    confine::{notify::low_half, syscalls::by_number},
};

/// As many pages as 256 MiB have: more than any of QEMU's cards.
const MOST: u64 = 1 << 16;
const FRAME: usize = size_of::<u64>();
const POPULATE: u64 = memory::POPULATE_PHYSMAP as u64;
const RESULT: u64 = offset_of!(Entry, result) as u64;

/// Whether a call issues a hypercall.
pub(in crate::confine) fn is_hypercall(call: &libc::seccomp_data) -> bool {
    by_number(call.nr).1 == Some("ioctl") && low_half(call.args[1]) == privcmd::HYPERCALL.number()
}

/// Does what a request for a hypercall at `address` asks for, and gives that one's result, if it
/// is `XENMEM_populate_physmap` for the guest. All else is refused (`EACCES`).
pub(in crate::confine) fn populate(caller: &File, address: u64, guest: GuestId) -> io::Result<i64> {
    let request: privcmd::Hypercall = read(caller, address)?;
    let [first, count, ..] = request.arg;
    match (request.op, count) {
        (MEMORY_OP, _) => operation(caller, request.arg[..2].as_array(), guest),
        // In this wrapping Xen's library sees a result of 64 bits.
        (MULTICALL, 1) => {
            let entry: Entry = read(caller, first)?;
            if entry.op != MEMORY_OP {
                return Err(Errno::EACCES.into());
            }
            let result = operation(caller, entry.args[..2].as_array(), guest)?;
            let place = first.checked_add(RESULT).ok_or(Errno::EFAULT)?;
            caller.write_all_at(result.as_bytes(), place)?;
            Ok(0)
        }
        _ => Err(Errno::EACCES.into()),
    }
}

fn operation(caller: &File, arguments: Option<&[u64; 2]>, guest: GuestId) -> io::Result<i64> {
    let Some([POPULATE, address]) = arguments else {
        return Err(Errno::EACCES.into());
    };
    let asked: Reservation = read(caller, *address)?;
    let count = pages(&asked, guest).ok_or(Errno::EACCES)?;
    let mut frames = vec![0; count * FRAME];
    caller.read_exact_at(&mut frames, asked.extent_start)?;
    give(guest, &frames)
}

/// How many it asks for, for its guest: single pages, anywhere.
fn pages(asked: &Reservation, guest: GuestId) -> Option<usize> {
    let plain = asked.extent_order == 0 && asked.mem_flags == 0 && asked.domid == guest.get();
    let some = (1..=MOST).contains(&asked.nr_extents);
    (plain && some).then(|| usize::try_from(asked.nr_extents).ok())?
}

fn give(guest: GuestId, frames: &[u8]) -> io::Result<i64> {
    let privcmd = PrivCmd::open().map_err(io::Error::other)?;
    let buffer = |bytes| privcmd.hypercall_buffer(bytes).map_err(io::Error::other);
    let (list, reservation) = (buffer(frames.len())?, buffer(size_of::<Reservation>())?);
    let asked = Reservation {
        extent_start: list.address(),
        nr_extents: (frames.len() / FRAME) as u64,
        domid: guest.get(),
        ..Reservation::default()
    };
    list.memory().write(0, frames).map_err(io::Error::other)?;
    let set = reservation.memory().set(0, &asked);
    set.map_err(io::Error::other)?;
    let arguments = [
        memory::POPULATE_PHYSMAP.into(),
        reservation.address(),
        0,
        0,
        0,
    ];
    // SAFETY: the operation takes a reservation, and as many frames as that says; both buffers
    // are as large. It gives memory to a guest, and touches nobody else's.
    unsafe { privcmd.hypercall(MEMORY_OP, arguments) }.map_err(io::Error::other)
}

fn read<T: FromBytes + IntoBytes>(caller: &File, address: u64) -> io::Result<T> {
    let mut value = T::new_zeroed();
    caller.read_exact_at(value.as_mut_bytes(), address)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_pages_for_its_guest_are_given() {
        let guest = GuestId::new(7).unwrap();
        let good = Reservation {
            nr_extents: 4096,
            domid: 7,
            ..Reservation::default()
        };
        assert_eq!(pages(&good, guest), Some(4096));
        for bad in [
            Reservation { domid: 8, ..good },
            Reservation { domid: 0, ..good },
            Reservation {
                nr_extents: 0,
                ..good
            },
            Reservation {
                nr_extents: MOST + 1,
                ..good
            },
            Reservation {
                extent_order: 9,
                ..good
            },
            Reservation {
                mem_flags: 1,
                ..good
            },
        ] {
            assert_eq!(pages(&bad, guest), None, "{bad:?}");
        }
    }

    #[test]
    fn only_that_operation_is_looked_at() {
        let mut own = File::options();
        let own = own.read(true).write(true).open("/proc/self/mem").unwrap();
        let address = |of: &dyn std::any::Any| std::ptr::from_ref(of).addr() as u64;
        let ask = |op, first, second| {
            let request = privcmd::Hypercall {
                op,
                arg: [first, second, 0, 0, 0],
            };
            let given = populate(&own, address(&request), GuestId::new(7).unwrap());
            given.unwrap_err().raw_os_error()
        };
        for (op, first, second) in [
            (MEMORY_OP, POPULATE | 1 << 6, 8),
            (MEMORY_OP, memory::ADD_TO_PHYSMAP.into(), 8),
            (MEMORY_OP | 1 << 32, POPULATE, 8),
            (36, POPULATE, 8),
            (MULTICALL, 8, 0),
            (MULTICALL, 8, 2),
        ] {
            assert_eq!(ask(op, first, second), Some(libc::EACCES), "{op} {first}");
        }
        // No page is there.
        assert_eq!(ask(MEMORY_OP, POPULATE, 8), Some(libc::EIO));
        assert_eq!(ask(MULTICALL, 8, 1), Some(libc::EIO));
        let others = Reservation {
            nr_extents: 1,
            domid: 8,
            ..Reservation::default()
        };
        let at = address(&others);
        assert_eq!(ask(MEMORY_OP, POPULATE, at), Some(libc::EACCES));
        for op in [MEMORY_OP, MULTICALL, 36] {
            let entry = Entry {
                op,
                args: [POPULATE, at, 0, 0, 0, 0],
                ..Entry::default()
            };
            assert_eq!(ask(MULTICALL, address(&entry), 1), Some(libc::EACCES));
            assert_eq!(entry.result, 0);
        }
    }
}
