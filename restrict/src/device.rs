// SPDX-License-Identifier: MIT OR Apache-2.0
//! The four devices: where they are, how to open them, and how to tell which
//! one a descriptor is.

use std::{
    fmt, fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        stat::{Mode, SFlag, fstat, major},
        statfs::{FsType, fstatfs},
    },
};
use xen_sys::{Request, gntalloc, gntdev, privcmd};

use crate::{
    error::{Cause, Error, Result},
    ids::GuestId,
    ioctl,
};

/// A device of Linux's Xen drivers (`drivers/xen/`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// `/dev/xen/privcmd`: hypercalls, `dm_op`, mapping of guest memory.
    PrivCmd,
    /// `/dev/xen/evtchn`: event channels.
    EventChannel,
    /// `/dev/xen/gntdev`: mapping of other domains' grants.
    GrantDevice,
    /// `/dev/xen/gntalloc`: granting own pages to other domains.
    GrantAllocator,
}

impl Device {
    /// The node's path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::PrivCmd => "/dev/xen/privcmd",
            Self::EventChannel => "/dev/xen/evtchn",
            Self::GrantDevice => "/dev/xen/gntdev",
            Self::GrantAllocator => "/dev/xen/gntalloc",
        }
    }

    /// The kernel module that makes the node.
    #[must_use]
    pub const fn module(self) -> &'static str {
        match self {
            Self::PrivCmd => "xen-privcmd",
            Self::EventChannel => "xen-evtchn",
            Self::GrantDevice => "xen-gntdev",
            Self::GrantAllocator => "xen-gntalloc",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// The major number of misc devices (Linux's `include/uapi/linux/major.h`).
const MISC_MAJOR: u64 = 10;
/// `XENFS_SUPER_MAGIC` of Linux's `include/uapi/linux/magic.h`.
const XENFS: FsType = FsType(0xabba_1974);

/// Opens the node and proves that it is the device.
pub(crate) fn open_node(device: Device) -> Result<OwnedFd> {
    let failed = |cause| Error::new("open", device, cause);
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let fd = open(device.path(), flags, Mode::empty()).map_err(|e| failed(why(device, e)))?;
    identify(device, fd.as_fd()).map_err(failed)?;
    if device == Device::PrivCmd {
        is_unrestricted(fd.as_fd()).map_err(failed)?;
    }
    Ok(fd)
}

fn why(device: Device, errno: Errno) -> Cause {
    match errno {
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ENOTDIR if !on_xen() => Cause::NotXen,
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO | Errno::ENOTDIR => Cause::NodeMissing {
            module: device.module(),
        },
        Errno::EACCES | Errno::EPERM => Cause::PermissionDenied,
        other => Cause::errno(other),
    }
}

fn on_xen() -> bool {
    fs::read_to_string("/sys/hypervisor/type").is_ok_and(|kind| kind.trim() == "xen")
}

/// Proves that a descriptor is `device`: a misc character device that answers
/// harmless requests as none of Xen's other drivers does.
pub(crate) fn identify(device: Device, fd: BorrowedFd<'_>) -> Result<(), Cause> {
    is_misc_device(fd)?;
    let ours = match device {
        Device::PrivCmd => is_privcmd(fd)?,
        // Xen's other drivers answer ENOTTY.
        Device::EventChannel => answers(fd, b'E', Errno::ENOSYS),
        Device::GrantDevice => is_gntdev(fd),
        Device::GrantAllocator => is_gntalloc(fd),
    };
    match ours {
        true => Ok(()),
        false => Err(Cause::WrongDevice {
            found: describe(fd, SFlag::S_IFCHR),
        }),
    }
}

/// All of Xen's are.
pub(crate) fn is_misc_device(fd: BorrowedFd<'_>) -> Result<(), Cause> {
    let stat = fstat(fd).map_err(|errno| match errno {
        Errno::EBADF => Cause::NotOpen,
        other => Cause::errno(other),
    })?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    match kind == SFlag::S_IFCHR && major(stat.st_rdev) == MISC_MAJOR {
        true => Ok(()),
        false => Err(Cause::WrongDevice {
            found: describe(fd, kind),
        }),
    }
}

/// Since XSA-482 the kernel itself restricts every handle outside dom0.
fn is_unrestricted(fd: BorrowedFd<'_>) -> Result<(), Cause> {
    // No handle can be restricted to both.
    for guest in [GuestId::MIN, GuestId::MAX] {
        probe_privcmd(fd, guest).map_err(|errno| match errno {
            Errno::EPERM => Cause::AlreadyRestricted,
            other => Cause::errno(other),
        })?;
    }
    Ok(())
}

fn is_privcmd(fd: BorrowedFd<'_>) -> Result<bool, Cause> {
    if !answers(fd, b'P', Errno::ENOTTY) {
        return Ok(false);
    }
    match probe_privcmd(fd, GuestId::MIN) {
        Ok(()) | Err(Errno::EPERM) => Ok(true),
        // A privcmd without DM_OP: only it looks for a hypercall at address 0.
        Err(Errno::ENOTTY) if null_argument(fd, privcmd::HYPERCALL.number()) == Errno::EFAULT => {
            Err(Cause::KernelTooOld)
        }
        Err(_) => Ok(false),
    }
}

/// Asks whether a privcmd handle may act on `guest`: without buffers the driver
/// compares the domid and never reaches Xen.
pub(crate) fn probe_privcmd(fd: BorrowedFd<'_>, guest: GuestId) -> Result<(), Errno> {
    let mut nothing = privcmd::DmOp {
        dom: guest.get(),
        ..privcmd::DmOp::default()
    };
    // SAFETY: `num` is 0, so the driver reads no buffer list at `ubufs`.
    unsafe { ioctl::raw(fd, privcmd::DM_OP, &mut nothing) }.map(drop)
}

fn is_gntdev(fd: BorrowedFd<'_>) -> bool {
    let mut no_map = gntdev::UnmapGrantRef {
        index: u64::MAX << 12,
        ..gntdev::UnmapGrantRef::default()
    };
    answers(fd, b'G', Errno::ENOTTY)
        && ioctl::plain(fd, gntdev::UNMAP_GRANT_REF, &mut no_map) == Err(Errno::ENOENT)
}

fn is_gntalloc(fd: BorrowedFd<'_>) -> bool {
    let mut no_page = gntalloc::DeallocGref {
        index: u64::MAX << 12,
        count: 1,
        ..gntalloc::DeallocGref::default()
    };
    answers(fd, b'G', Errno::ENOTTY)
        && ioctl::plain(fd, gntalloc::DEALLOC_GREF, &mut no_page) == Err(Errno::EINVAL)
}

/// Whether a request of the driver's type that does not exist is answered so.
///
/// EPERM is the answer of a filter (`confine::xen_requests`) and tells nothing;
/// what such a process adopts is told by the restriction's own answers.
fn answers(fd: BorrowedFd<'_>, group: u8, expected: Errno) -> bool {
    let answer = null_argument(fd, Request::<()>::new(group, 0x7f).number());
    answer == expected || answer == Errno::EPERM
}

/// What the driver answers to a request without an argument.
pub(crate) fn null_argument(fd: BorrowedFd<'_>, number: u32) -> Errno {
    // SAFETY: a driver that takes the argument for an address gets a null one.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), libc::Ioctl::from(number), 0) };
    Errno::result(answer).err().unwrap_or(Errno::UnknownErrno)
}

fn describe(fd: BorrowedFd<'_>, kind: SFlag) -> String {
    if fstatfs(fd).is_ok_and(|fs| fs.filesystem_type() == XENFS) {
        return "a file of xenfs, not of /dev/xen".into();
    }
    let kind = match kind {
        SFlag::S_IFREG => "a regular file",
        SFlag::S_IFDIR => "a directory",
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFSOCK => "a socket",
        SFlag::S_IFBLK => "a block device",
        SFlag::S_IFCHR => "another character device",
        _ => "not a device",
    };
    match fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        Ok(path) => format!("{kind} ({path:?})"),
        Err(_) => kind.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::fd::{FromRawFd, IntoRawFd},
        os::unix::net::UnixStream,
    };

    use super::*;

    const ALL: [Device; 4] = [
        Device::PrivCmd,
        Device::EventChannel,
        Device::GrantDevice,
        Device::GrantAllocator,
    ];

    fn found(device: Device, fd: BorrowedFd<'_>) -> String {
        match identify(device, fd) {
            Err(Cause::WrongDevice { found }) => found,
            other => panic!("{device}: {other:?}"),
        }
    }

    #[test]
    fn other_descriptors_are_named() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        let dir = File::open("/").unwrap();
        for device in ALL {
            assert!(found(device, socket.as_fd()).starts_with("a socket"));
            assert!(found(device, reader.as_fd()).starts_with("a pipe"));
            assert!(found(device, dir.as_fd()).starts_with("a directory"));
            assert!(found(device, file.as_fd()).starts_with("a regular file"));
            let null = found(device, null.as_fd());
            assert_eq!(null, "another character device (\"/dev/null\")");
        }
    }

    #[test]
    fn a_closed_descriptor_is_not_open() {
        let number = File::open("/dev/null").unwrap().into_raw_fd();
        // A number far above any that another test opens meanwhile.
        // SAFETY: dup2 of an open descriptor onto a free number.
        let high = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 900) };
        // SAFETY: both are owned here, and nobody else knows `high`.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        // SAFETY: as above.
        drop(unsafe { OwnedFd::from_raw_fd(high) });
        // SAFETY: deliberately closed; only borrowed, so nothing closes it again.
        let closed = unsafe { BorrowedFd::borrow_raw(high) };
        for device in ALL {
            assert!(matches!(identify(device, closed), Err(Cause::NotOpen)));
        }
    }
}
