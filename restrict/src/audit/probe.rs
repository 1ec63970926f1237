// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a handle on a Xen device may act on, asked of a duplicate: the driver answers
//! for the open file, which the process shares.
//!
//! Nothing is changed by that, for the process or a guest. A restriction is never
//! requested: it would be granted.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use xen_sys::{evtchn, privcmd};

use super::report::HandleState;
use crate::{
    device::Device,
    holes::{self, KernelHole},
    ioctl,
};

/// What a handle turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Probed {
    pub(super) state: HandleState,
    /// Requests that the kernel does not check against a restriction.
    pub(super) holes: Vec<KernelHole>,
    /// Why the state is unknown.
    pub(super) error: Option<Errno>,
}

/// Domids that are tried before all others.
#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<u16>);

impl Candidates {
    pub(super) fn add(&mut self, domid: u16) {
        if !self.0.contains(&domid) {
            self.0.push(domid);
        }
    }
}

/// Asks a handle that is privcmd by its device number.
pub(super) fn privcmd(fd: BorrowedFd<'_>, candidates: &mut Candidates) -> Probed {
    // A reserved number can be restricted to as well, and 0.
    let state = find(0..=u16::MAX, candidates, |domid| may_dm_op(fd, domid));
    with_holes(state, Device::PrivCmd, fd)
}

/// Asks a handle that is evtchn by its device number.
pub(super) fn evtchn(fd: BorrowedFd<'_>, candidates: &mut Candidates) -> Probed {
    // The kernel restricts to guests only.
    let state = find(1..=0x7FEF, candidates, |domid| may_bind(fd, domid));
    with_holes(state, Device::EventChannel, fd)
}

/// A handle that Linux cannot restrict.
pub(super) fn unrestrictable() -> Probed {
    Probed {
        state: HandleState::Unrestricted,
        holes: Vec::new(),
        error: None,
    }
}

/// A handle that cannot be asked.
pub(super) fn unknown(error: Errno) -> Probed {
    Probed {
        state: HandleState::Unknown,
        holes: Vec::new(),
        error: Some(error),
    }
}

fn with_holes(state: Result<HandleState, Errno>, device: Device, fd: BorrowedFd<'_>) -> Probed {
    match state {
        Ok(state) => Probed {
            state,
            holes: holes::of(
                device,
                fd,
                match state {
                    HandleState::Restricted { domid } => domid,
                    _ => 1,
                },
            ),
            error: None,
        },
        Err(error) => unknown(error),
    }
}

/// Which of `all` domids is allowed. Not the first alone: it could be one of many.
fn find(
    all: std::ops::RangeInclusive<u16>,
    candidates: &mut Candidates,
    allowed: impl Fn(u16) -> Result<bool, Errno>,
) -> Result<HandleState, Errno> {
    // No handle is restricted to two.
    if allowed(1)? && allowed(0x7FEF)? {
        return Ok(HandleState::Unrestricted);
    }
    for domid in candidates
        .0
        .iter()
        .copied()
        .filter(|domid| all.contains(domid))
        .chain(all.clone())
    {
        if allowed(domid)? {
            candidates.add(domid);
            return Ok(HandleState::Restricted { domid });
        }
    }
    // Restricted to a number that is no domid at all, or the kernel lies.
    Err(Errno::EPERM)
}

/// Without buffers the driver compares the domid, and is done.
fn may_dm_op(fd: BorrowedFd<'_>, domid: u16) -> Result<bool, Errno> {
    let mut nothing = privcmd::DmOp {
        dom: domid,
        ..privcmd::DmOp::default()
    };
    // SAFETY: `num` is 0, so the driver reads no buffer list at `ubufs`.
    match unsafe { ioctl::raw(fd, privcmd::DM_OP, &mut nothing) } {
        Ok(_) => Ok(true),
        Err(Errno::EPERM) => Ok(false),
        Err(other) => Err(other),
    }
}

/// A remote port that cannot be: refused by the driver for the domid's sake, or by Xen.
fn may_bind(fd: BorrowedFd<'_>, domid: u16) -> Result<bool, Errno> {
    let mut impossible = evtchn::BindInterdomain {
        remote_domain: domid.into(),
        remote_port: u32::MAX,
    };
    match ioctl::plain(fd, evtchn::BIND_INTERDOMAIN, &mut impossible) {
        Err(Errno::EACCES) => Ok(false),
        Err(Errno::EINVAL | Errno::ESRCH) => Ok(true),
        Err(other) => Err(other),
        // Not one that cannot be, after all.
        Ok(_) => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unrestricted_handle_is_told_by_two_questions() {
        let state = find(0..=u16::MAX, &mut Candidates::default(), |_| Ok(true));
        assert_eq!(state, Ok(HandleState::Unrestricted));
    }

    #[test]
    fn the_domid_is_found_wherever_it_is() {
        for domid in [0, 1, 7, 0x7FEF, 0x7FF0, 0x7FF4, u16::MAX] {
            let mut candidates = Candidates::default();
            candidates.add(7);
            let state = find(0..=u16::MAX, &mut candidates, |other| Ok(other == domid));
            assert_eq!(state, Ok(HandleState::Restricted { domid }));
            assert!(candidates.0.contains(&domid));
        }
    }

    #[test]
    fn what_no_domid_is_allowed_to_is_not_called_restricted() {
        let state = find(1..=0x7FEF, &mut Candidates::default(), |_| Ok(false));
        assert_eq!(state, Err(Errno::EPERM));
        let state = find(1..=9, &mut Candidates::default(), |_| Err(Errno::ENOTTY));
        assert_eq!(state, Err(Errno::ENOTTY));
    }
}
