// SPDX-License-Identifier: MIT OR Apache-2.0
//! What QEMU gets as a descriptor: what libxl hands over, by its new number, and what QEMU
//! could not make itself where it is.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{IntoRawFd as _, RawFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use xen_restrict::launch::NamedFd;

use super::{
    call::{self, Disk, Value, options},
    read_only,
    sockets::Bound,
    tap,
};
use crate::say;

/// What is said of a tap device by name, and not by descriptor.
const OF_A_NAME: &[&str] = &["br", "downscript", "helper", "ifname", "script", "vnet_hdr"];

/// Sets of descriptors, in QEMU's words, from this number on.
const FIRST_SET: usize = 1000;

/// QEMU's arguments, and the descriptors that they name by their numbers from 3 on.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    pub(super) arguments: Vec<OsString>,
    pub(super) fds: Vec<NamedFd>,
    /// Sockets that were bound, to be removed at the end.
    pub(super) sockets: Vec<Bound>,
    /// Those that QEMU wants to bind itself, and the names of their descriptors.
    pub(super) listeners: Vec<(PathBuf, String)>,
    /// Files that QEMU writes to.
    pub(super) outputs: Vec<PathBuf>,
    /// Disks that it need not open by their paths.
    pub(super) disks: Vec<Disk>,
}

impl HandedOver {
    /// Of the arguments that libxl gives. Binds sockets.
    pub(super) fn of(arguments: Vec<OsString>) -> io::Result<Self> {
        let places: Vec<_> = options(&arguments)
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), at?)))
            .collect();
        let mut all = Self {
            arguments,
            ..Self::default()
        };
        for (name, at) in places {
            all.replace(&name.to_string_lossy(), at)?;
        }
        Ok(all)
    }

    fn replace(&mut self, option: &str, at: usize) -> io::Result<()> {
        let value = Value::of(&self.arguments[at]);
        if option == "-add-fd" {
            is_of_others(&value)?;
        }
        let new = match option {
            "-chardev" | "-netdev" | "-add-fd" => match value.get("fd") {
                Some(number) => {
                    let number = self.inherited(&number.to_string_lossy())?;
                    Some(value.with(&["fd"], &format!("fd={number}")))
                }
                None if option == "-chardev" => self.server(&value)?,
                None if option == "-netdev" => self.tap(&value)?,
                None => None,
            },
            "-incoming" => match value.first().strip_prefix(b"fd:") {
                Some(number) => {
                    let number = self.inherited(&String::from_utf8_lossy(number))?;
                    Some(format!("fd:{number}").into())
                }
                None => None,
            },
            "-vnc" => self.display(&value)?,
            "-serial" => self.output(&value)?,
            "-drive" => self.disk(&value)?,
            _ => None,
        };
        if let Some(new) = new {
            self.arguments[at] = new;
        }
        Ok(())
    }

    /// A socket at which QEMU would listen, and cannot: its /run is not dom0's.
    fn server(&mut self, value: &Value) -> io::Result<Option<OsString>> {
        let is_server =
            value.has_flag("server") || value.get("server").is_some_and(|server| server == "on");
        let (b"socket", true, Some(path)) = (value.first(), is_server, value.get("path")) else {
            return Ok(None);
        };
        let number = self.bound("qemu", path.into())?;
        Ok(Some(value.with(&["path"], &format!("fd={number}"))))
    }

    /// A display at a socket, for which QEMU takes no descriptor.
    fn display(&mut self, value: &Value) -> io::Result<Option<OsString>> {
        if let Some(path) = value.first().strip_prefix(b"unix:") {
            let path = PathBuf::from(OsStr::from_bytes(path));
            let at = self.fds.len();
            self.bound("vnc", path.clone())?;
            self.listeners.push((path, format!("vnc-{at}")));
        }
        Ok(None)
    }

    fn bound(&mut self, kind: &str, path: PathBuf) -> io::Result<usize> {
        let (bound, listener) = Bound::new(path)?;
        self.sockets.push(bound);
        self.add_as(kind, listener.into_raw_fd())
    }

    /// A device of dom0's network, of which QEMU needs no more than this.
    fn tap(&mut self, value: &Value) -> io::Result<Option<OsString>> {
        let is_tap = value.first() == b"tap" || value.get("type").is_some_and(|kind| kind == "tap");
        let (true, Some(name)) = (is_tap, value.get("ifname")) else {
            return Ok(None);
        };
        let tap = tap::open(&name).map_err(|error| {
            let text = format!("make the tap device {}: {error}", name.display());
            io::Error::new(error.kind(), text)
        })?;
        let number = self.add_as("char-tap", tap.into_raw_fd())?;
        Ok(Some(value.with(OF_A_NAME, &format!("fd={number}"))))
    }

    /// A file that QEMU would make, in what it cannot write to.
    fn output(&mut self, value: &Value) -> io::Result<Option<OsString>> {
        let Some(path) = value.first().strip_prefix(b"file:") else {
            return Ok(None);
        };
        let path = Path::new(OsStr::from_bytes(path));
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| {
                io::Error::new(error.kind(), format!("open {}: {error}", path.display()))
            })?;
        let number = self.add(file.into_raw_fd())?;
        self.outputs.push(path.to_owned());
        let set = FIRST_SET + number;
        let add = format!("fd={number},set={set}");
        self.arguments.extend(["-add-fd".into(), add.into()]);
        Ok(Some(format!("file:/dev/fdset/{set}").into()))
    }

    /// A disk that is one file or device, and tells of no others by their paths. QEMU opens it
    /// again, for reading or for both, when it has restored a guest: then it has no files.
    fn disk(&mut self, value: &Value) -> io::Result<Option<OsString>> {
        let raw = value.get("format").is_some_and(|format| format == "raw");
        let Some(disk) = call::disk(value).filter(|_| raw) else {
            return Ok(None);
        };
        // By a device's name QEMU would know that it is one.
        let (kind, driver) = match fs::metadata(&disk.path) {
            Ok(found) if found.is_file() => ("qemu", ""),
            Ok(found) if found.file_type().is_block_device() => ("block", "host_device:"),
            // QEMU says what is wrong.
            _ => return Ok(None),
        };
        let set = FIRST_SET + 3 + self.fds.len();
        for writes in [false, true]
            .into_iter()
            .take(2 - usize::from(disk.read_only))
        {
            let opened = match disk.read_only {
                true => read_only::open(&disk.path),
                false => fs::OpenOptions::new()
                    .read(true)
                    .write(writes)
                    .open(&disk.path),
            };
            if let Err(error) = &opened
                && has_no_disc(error)
                && self.is_cd(value)
            {
                say(&format!(
                    "{} has no disc: the guest's drive is empty; for one that is in it later, \
                     `xl cd-insert`",
                    disk.path.display()
                ));
                self.disks.push(disk);
                return Ok(Some(emptied(value)));
            }
            let file = opened.map_err(|error| {
                let text = format!("open {}: {error}", disk.path.display());
                io::Error::new(error.kind(), text)
            })?;
            let number = self.add_as(kind, file.into_raw_fd())?;
            let add = format!("fd={number},set={set}");
            self.arguments.extend(["-add-fd".into(), add.into()]);
        }
        self.disks.push(disk);
        Ok(Some(value.with(
            &["file"],
            &format!("file={driver}/dev/fdset/{set}"),
        )))
    }

    /// Whether a drive is one for CDs, by itself or by the device that has it.
    fn is_cd(&self, drive: &Value) -> bool {
        let id = drive.get("id");
        let mut devices = options(&self.arguments)
            .into_iter()
            .filter(|(name, _)| *name == "-device")
            .filter_map(|(_, at)| Some(Value::of(&self.arguments[at?])));
        drive.get("media").is_some_and(|media| media == "cdrom")
            || devices.any(|device| {
                let is_cd = matches!(device.first(), b"ide-cd" | b"scsi-cd");
                is_cd && id.is_some() && device.get("drive") == id
            })
    }

    fn inherited(&mut self, number: &str) -> io::Result<usize> {
        let wrong = || io::Error::other(format!("{number:?} is no descriptor"));
        self.add(number.parse().map_err(|_| wrong())?)
    }

    /// The number that it will have.
    fn add(&mut self, number: RawFd) -> io::Result<usize> {
        self.add_as("qemu", number)
    }

    fn add_as(&mut self, kind: &str, number: RawFd) -> io::Result<usize> {
        let at = self.fds.len();
        let name = format!("{kind}-{at}={number}");
        self.fds.push(name.parse().map_err(io::Error::other)?);
        Ok(3 + at)
    }
}

/// That a set is none of those made here: QEMU would take a file of the one for the other's.
fn is_of_others(value: &Value) -> io::Result<()> {
    let set = value.get("set").unwrap_or_else(|| "0".into());
    match set.to_str().and_then(|set| set.parse::<usize>().ok()) {
        // A number that is octal to QEMU is smaller than it looks.
        Some(number) if number < FIRST_SET => Ok(()),
        _ => Err(io::Error::other(format!(
            "-add-fd with set={}: take a number below {FIRST_SET}, the others are for disks and \
             serial ports",
            set.display()
        ))),
    }
}

/// Of a drive for CDs. QEMU alone would open it nonetheless, and start.
fn has_no_disc(error: &io::Error) -> bool {
    let none = [Some(libc::ENOMEDIUM), Some(libc::EMEDIUMTYPE)];
    none.contains(&error.raw_os_error())
}

/// The same drive with nothing in it, as libxl says that.
fn emptied(drive: &Value) -> OsString {
    drive.without(&["file", "format"])
}

#[cfg(test)]
mod tests;
