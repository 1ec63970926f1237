// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen, and the devices that dom0's Linux has for it.

use std::{fs, io, os::fd::AsFd, os::unix::net::UnixStream, path::Path};

use super::{
    host::{Host, with_causes},
    report::{Finding, State},
};
use crate::{Device, GuestId, KernelHole, device::open_node, holes};

const TYPE: &str = "/sys/hypervisor/type";
const CAPABILITIES: &str = "/proc/xen/capabilities";
const XENSTORED: &str = "/run/xenstored/socket";

pub(super) fn hypervisor(_: &Host) -> Finding {
    match fs::read_to_string(TYPE) {
        Ok(kind) if kind.trim() == "xen" => Finding::offered(format!("{TYPE} says xen")),
        Ok(kind) => Finding::missing(
            format!("{TYPE} says {:?}", kind.trim()),
            "boot this system as dom0 under Xen, or use `run --no-xen`",
        ),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && Path::new("/sys/kernel").exists() =>
        {
            Finding::missing(
                format!("no {TYPE}: this kernel does not run on Xen"),
                "boot this system as dom0 under Xen, or use `run --no-xen`",
            )
        }
        Err(error) => Finding::unknown(format!("{TYPE}: {error}"), "mount -t sysfs sysfs /sys"),
    }
}

pub(super) fn dom0(host: &Host) -> Finding {
    match fs::read_to_string(CAPABILITIES) {
        Ok(text) if text.contains("control_d") => {
            Finding::offered(format!("{CAPABILITIES} says control_d"))
        }
        Ok(_) => Finding::missing(
            format!("{CAPABILITIES} does not say control_d: this is a guest"),
            "run device models in dom0",
        ),
        Err(_) if hypervisor(host).state == State::Missing => Finding::missing(
            "this kernel does not run on Xen",
            "boot this system as dom0 under Xen",
        ),
        Err(error) => Finding::unknown(
            format!("{CAPABILITIES}: {error}"),
            "modprobe xenfs; mount -t xenfs xenfs /proc/xen",
        ),
    }
}

pub(super) fn privcmd(host: &Host) -> Finding {
    device(host, Device::PrivCmd)
}

pub(super) fn evtchn(host: &Host) -> Finding {
    device(host, Device::EventChannel)
}

pub(super) fn gntdev(host: &Host) -> Finding {
    device(host, Device::GrantDevice)
}

pub(super) fn gntalloc(host: &Host) -> Finding {
    device(host, Device::GrantAllocator)
}

/// Opens it, which changes nothing, and closes it.
fn device(host: &Host, device: Device) -> Finding {
    let path = device.path();
    if !Path::new(path).exists() {
        return Finding::missing(
            format!("no {path}"),
            format!("modprobe {}", device.module()),
        );
    }
    match open_node(device) {
        Ok(_) => Finding::offered(format!("{path} opens, and answers as that device")),
        Err(error) => Finding::told(host.refused(), &with_causes(&error.cause)),
    }
}

/// Which holes a restricted handle has on this kernel: asked of the devices, else told by
/// the version.
pub(super) fn holes(host: &Host) -> Finding {
    let asked = [Device::PrivCmd, Device::EventChannel].map(|device| {
        let node = open_node(device).ok()?;
        Some(holes::of(device, node.as_fd(), GuestId::MAX.get()))
    });
    let (open, how) = match asked {
        [Some(privcmd), Some(evtchn)] => ([privcmd, evtchn].concat(), ""),
        _ => {
            let Some(version) = host.version else {
                return host.since((0, 0), "");
            };
            let since = |(_, first): &(KernelHole, (u32, u32))| version >= *first;
            let open = SINCE
                .into_iter()
                .filter(since)
                .map(|(hole, _)| hole)
                .collect();
            (open, ", by its version and where configured")
        }
    };
    if open.is_empty() {
        return Finding::offered(format!("none is known of this kernel{how}"));
    }
    let names = |refused: bool| {
        let holes = open.iter().filter(|h| h.is_refused_by_filter() == refused);
        let names: Vec<_> = holes.map(ToString::to_string).collect();
        names.join(", ")
    };
    Finding::partly(
        format!(
            "a restricted handle is not checked for {}; nor, with a filter, for what is in the \
             memory that {} name{how}",
            names(true),
            names(false),
        ),
        "keep xen-requests, which refuses the first: a program without that filter has them. A \
         kernel without the others is not known: docs/kernel-holes.md",
    )
}

/// The first Linux that has it.
const SINCE: [(KernelHole, (u32, u32)); 9] = [
    (KernelHole::MmapResource, (4, 18)),
    (KernelHole::Mmap, (2, 6)),
    (KernelHole::MovedMapping, (2, 6)),
    (KernelHole::MmapBatch, (3, 8)),
    (KernelHole::DmOp, (4, 11)),
    (KernelHole::BindStatic, (6, 6)),
    (KernelHole::Irqfd, (6, 6)),
    (KernelHole::Ioeventfd, (6, 7)),
    (KernelHole::PcidevGetGsi, (6, 12)),
];

/// Tells the supervisor, first of all, that a guest is gone.
pub(super) fn xenstored(_: &Host) -> Finding {
    match UnixStream::connect(XENSTORED) {
        Ok(_) => Finding::offered(format!("{XENSTORED} answers")),
        Err(error) => Finding::not(
            match error.kind() {
                io::ErrorKind::PermissionDenied => State::Unknown,
                _ => State::Missing,
            },
            format!("{XENSTORED}: {error}"),
            "start xenstored in dom0: without it, the end of a guest is noticed late",
        ),
    }
}
