// SPDX-License-Identifier: MIT OR Apache-2.0
//! The grant broker as a part of the launch: what it keeps, and what the program gets.

use std::os::fd::OwnedFd;

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, socketpair},
        utsname::uname,
    },
};

use super::error::LaunchError;
use crate::{
    GuestId,
    broker::{Broker, Devices, Shared},
    handover::{GRANT_BROKER_NAME, GRANT_COPY_NAME},
};

/// The first kernel where an open gntdev is not bound to the memory of who opened it.
const LINUX: (u32, u32) = (5, 5);

/// A broker, and the program's descriptors but for the device itself.
pub(super) fn prepare(
    gntdev: OwnedFd,
    events: Option<OwnedFd>,
    guest: GuestId,
    quota: u32,
) -> Result<(Broker, [(String, OwnedFd); 2]), LaunchError> {
    let system = |what| {
        move |errno: Errno| LaunchError::System {
            what,
            source: errno.into(),
        }
    };
    is_new_enough().map_err(system(
        "share a gntdev handle; that takes Linux 5.5 or later",
    ))?;
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(system("make the grant broker's socket"))?;
    let copies = Shared::new().map_err(system("make the grant broker's memory"))?;
    let memory = copies
        .map()
        .map_err(system("map the grant broker's memory"))?;
    let devices = Devices::new(gntdev, events, guest)?;
    let broker = Broker::new(devices, guest, quota, ours, memory);
    let theirs = [
        (GRANT_BROKER_NAME.to_owned(), theirs),
        (GRANT_COPY_NAME.to_owned(), copies.into_fd()),
    ];
    Ok((broker, theirs))
}

fn is_new_enough() -> Result<(), Errno> {
    let system = uname()?;
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= LINUX => Ok(()),
        _ => Err(Errno::ENOSYS),
    }
}
