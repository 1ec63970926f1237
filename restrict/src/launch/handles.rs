// SPDX-License-Identifier: MIT OR Apache-2.0
//! The descriptors that a program gets: Xen handles, opened, restricted and verified
//! here, and those that the launcher names.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{UnixAddr, getpeername},
        stat::{SFlag, fstat, major, minor},
        statfs::{FsType, fstatfs},
    },
};

use super::{
    broker,
    error::LaunchError,
    options::{Grants, Launch, NamedFd, XenDevice},
};
use crate::{
    Device, EventChannel, GrantDevice, GuestId, PrivCmd,
    broker::Broker,
    confine::fds::{inherited, kept_across_exec, null},
    device,
    error::Cause,
};

/// `XENFS_SUPER_MAGIC` of Linux's `linux/magic.h`.
const XENFS: FsType = FsType(0xabba_1974);
/// How the names of devices begin that are meant to be handed over whole.
const BLOCK: &str = "block-";
const CHARACTER: &str = "char-";
/// Major numbers, and the first and last minor, of character devices that are harmless
/// (Linux's `admin-guide/devices.txt`): null, zero, full, random, urandom; terminals.
const HARMLESS: [(u64, u64, u64); 6] = [
    (1, 3, 3),
    (1, 5, 5),
    (1, 7, 9),
    (4, 0, 255),
    (5, 0, 255),
    (136, 0, u64::MAX),
];
const MISC_MAJOR: u64 = 10;

/// The program's handles, and who makes the requests on one of them.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) fds: Vec<(String, OwnedFd)>,
    pub(crate) broker: Option<Broker>,
}

impl Opened {
    pub(crate) fn get(&self, name: &str) -> Option<&OwnedFd> {
        let mut fds = self.fds.iter();
        fds.find_map(|(other, fd)| (other == name).then_some(fd))
    }
}

/// Opens and restricts them; none is left if one fails.
pub(crate) fn open(launch: &Launch, guest: GuestId) -> Result<Opened, LaunchError> {
    let mut opened = Opened::default();
    for device in &launch.devices {
        let fd = match device {
            XenDevice::PrivCmd => {
                let handle = PrivCmd::open()?.restrict(guest)?;
                exists(&handle.guest())?;
                duplicate(&handle)?
            }
            XenDevice::EventChannel => duplicate(EventChannel::open()?.restrict(guest)?)?,
            XenDevice::GrantDevice if launch.is_brokered() => duplicate(GrantDevice::open()?)?,
            XenDevice::GrantDevice => {
                GrantDevice::open()?.restrict(guest)?;
                null().map_err(LaunchError::system("open /dev/null"))?
            }
        };
        opened.fds.push((device.fd_name().to_owned(), fd));
    }
    if let Grants::Brokered { quota } = launch.grants
        && let Some(gntdev) = opened.get(XenDevice::GrantDevice.fd_name())
    {
        let events = opened.get(XenDevice::EventChannel.fd_name());
        let events = events.map(duplicate).transpose()?;
        let (broker, fds) = broker::prepare(duplicate(gntdev)?, events, guest, quota)?;
        opened.broker = Some(broker);
        opened.fds.extend(fds);
    }
    Ok(opened)
}

/// The open file description is what is restricted: the duplicate is too.
fn duplicate(handle: impl AsFd) -> Result<OwnedFd, LaunchError> {
    handle
        .as_fd()
        .try_clone_to_owned()
        .map_err(LaunchError::system("duplicate a handle"))
}

fn exists(guest: &crate::Guest) -> Result<(), LaunchError> {
    match guest.exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(LaunchError::NoDomain(guest.id())),
        Err(error) => Err(error.into()),
    }
}

/// Takes what the launcher inherited, and refuses what would be a power over dom0.
pub(crate) fn named(launch: &Launch) -> Result<Vec<(NamedFd, OwnedFd)>, LaunchError> {
    let mut taken = Vec::new();
    for fd in &launch.fds {
        let refused = |reason: String| LaunchError::Fd {
            name: fd.name.clone(),
            number: fd.number,
            reason,
        };
        let owned = inherited(fd.number).map_err(|error| match error.raw_os_error() {
            Some(libc::EBADF) => refused("it is not open in the launcher".into()),
            _ => refused(error.to_string()),
        })?;
        harmless(&fd.name, &owned, launch.guest).map_err(refused)?;
        taken.push((fd.clone(), owned));
    }
    Ok(taken)
}

/// With `fds` left out, what the launcher left open comes along: not a power over dom0.
pub(crate) fn left_open_is_harmless(launch: &Launch) -> Result<(), LaunchError> {
    let listed = fs::read_dir("/proc/self/fd").map_err(LaunchError::system("list descriptors"))?;
    let numbers: Vec<i32> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    for number in numbers {
        let refused = |reason| LaunchError::Fd {
            name: "(left open)".into(),
            number,
            reason,
        };
        match kept_across_exec(number) {
            Ok(Some(fd)) => harmless("", &fd, launch.guest).map_err(refused)?,
            Ok(None) => {}
            Err(error) => return Err(refused(error.to_string())),
        }
    }
    Ok(())
}

fn harmless(name: &str, fd: &OwnedFd, guest: Option<GuestId>) -> Result<(), String> {
    let kernel = |errno: Errno| format!("cannot look at it: {errno}");
    let stat = fstat(fd).map_err(kernel)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if fstatfs(fd).map_err(kernel)?.filesystem_type() == XENFS {
        return Err("it is a file of xenfs, a power over all domains".into());
    }
    match kind {
        SFlag::S_IFDIR => {
            Err("it is a directory, and with it all that is above: bind it by --bind-ro".into())
        }
        SFlag::S_IFBLK if name.starts_with(BLOCK) => Ok(()),
        SFlag::S_IFBLK => Err(format!(
            "it is a block device: if the whole disk is meant for the guest, name it {BLOCK}..."
        )),
        SFlag::S_IFSOCK => not_to_xenstored(fd),
        SFlag::S_IFCHR => character_device(name, fd, stat.st_rdev, guest),
        _ => Ok(()),
    }
}

fn character_device(
    name: &str,
    fd: &OwnedFd,
    number: u64,
    guest: Option<GuestId>,
) -> Result<(), String> {
    let (major, minor) = (major(number), minor(number));
    let within =
        |(of, first, last): &(u64, u64, u64)| major == *of && (*first..=*last).contains(&minor);
    if HARMLESS.iter().any(within) || is_restricted(fd, guest)? {
        return Ok(());
    }
    if major == MISC_MAJOR && is_xens(minor)? {
        return Err("it is a device of Xen's that nothing restricts".into());
    }
    if name.starts_with(CHARACTER) {
        return Ok(());
    }
    Err(format!(
        "it is a device: if all that it can do is meant for the program, name it {CHARACTER}..."
    ))
}

/// The kernel's list has lines of a minor number and a name.
fn is_xens(minor: u64) -> Result<bool, String> {
    let list =
        fs::read_to_string("/proc/misc").map_err(|error| format!("read /proc/misc: {error}"))?;
    Ok(list.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next().and_then(|number| number.parse().ok()) == Some(minor)
            && words.next().is_some_and(|name| name.starts_with("xen/"))
    }))
}

/// Whether it is a Xen handle, and restricted to the guest.
fn is_restricted(fd: &OwnedFd, guest: Option<GuestId>) -> Result<bool, String> {
    for kind in [
        Device::PrivCmd,
        Device::EventChannel,
        Device::GrantDevice,
        Device::GrantAllocator,
    ] {
        match device::identify(kind, fd.as_fd()) {
            Err(Cause::WrongDevice { .. }) => continue,
            Err(other) => return Err(format!("cannot tell what it is: {other}")),
            Ok(()) => {}
        }
        let copy = || fd.try_clone().map_err(|error| error.to_string());
        let adopted = match (kind, guest) {
            (Device::PrivCmd, Some(guest)) => PrivCmd::from_fd(copy()?, guest).map(drop),
            (Device::EventChannel, Some(guest)) => EventChannel::from_fd(copy()?, guest).map(drop),
            _ => return Err(format!("it is a handle of {kind}, which nothing restricts")),
        };
        return match adopted {
            Ok(()) => Ok(true),
            Err(error) => Err(format!("it is a handle of {kind}: {error:#}")),
        };
    }
    Ok(false)
}

fn not_to_xenstored(fd: &OwnedFd) -> Result<(), String> {
    use std::os::fd::AsRawFd as _;
    let peer = getpeername::<UnixAddr>(fd.as_raw_fd());
    let path = peer
        .ok()
        .and_then(|address| address.path().map(ToOwned::to_owned));
    if path.is_some_and(|path| path.to_string_lossy().contains("xenstored")) {
        return Err("it is a connection to xenstored, which obeys dom0 in everything".into());
    }
    Ok(())
}
