// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests that a kernel offers on a restricted handle without a check, and
//! that no filter refuses. How
//! each is told apart: by an answer that has no effect.

use std::{fmt, os::fd::BorrowedFd};

use nix::errno::Errno;
use xen_sys::{evtchn, privcmd};

use crate::{
    device::{Device, null_argument},
    ioctl,
};

/// A request that the kernel does not check against the restriction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelHole {
    /// evtchn `BIND_STATIC` (Linux 6.6): takes any port of the local domain.
    BindStatic,
    /// privcmd `IRQFD` (Linux 6.6, where configured).
    Irqfd,
    /// privcmd `IOEVENTFD` (Linux 6.7, where configured): takes any local port.
    Ioeventfd,
    /// privcmd `PCIDEV_GET_GSI` (Linux 6.12): tells the interrupt of any PCI
    /// device.
    PcidevGetGsi,
}

impl fmt::Display for KernelHole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BindStatic => "IOCTL_EVTCHN_BIND_STATIC",
            Self::Irqfd => "IOCTL_PRIVCMD_IRQFD",
            Self::Ioeventfd => "IOCTL_PRIVCMD_IOEVENTFD",
            Self::PcidevGetGsi => "IOCTL_PRIVCMD_PCIDEV_GET_GSI",
        })
    }
}

pub(crate) fn of(device: Device, fd: BorrowedFd<'_>) -> Vec<KernelHole> {
    let mut holes = Vec::new();
    match device {
        Device::PrivCmd => {
            let requests = [
                (privcmd::IRQFD.number(), KernelHole::Irqfd),
                (privcmd::IOEVENTFD.number(), KernelHole::Ioeventfd),
                (privcmd::PCIDEV_GET_GSI.number(), KernelHole::PcidevGetGsi),
            ];
            // One that is there misses its argument first of all.
            let there = |(number, _): &(u32, _)| null_argument(fd, *number) == Errno::EFAULT;
            holes.extend(requests.into_iter().filter(there).map(|(_, hole)| hole));
        }
        Device::EventChannel => {
            // A port that cannot be: ENOMEM where the request is there.
            let mut impossible = evtchn::BindStatic { port: u32::MAX };
            match ioctl::plain(fd, evtchn::BIND_STATIC, &mut impossible) {
                // EPERM: a filter refuses it.
                Err(Errno::ENOSYS | Errno::EPERM | Errno::EBADF | Errno::ENOTTY) => {}
                _ => holes.push(KernelHole::BindStatic),
            }
        }
        Device::GrantDevice | Device::GrantAllocator => {}
    }
    holes
}
