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
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use xen_restrict::launch::NamedFd;

use super::{
    call::{self, Disk, Value, options},
    read_only, tap,
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
    pub(super) sockets: Vec<PathBuf>,
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
        let listener = listen(&path).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("listen at {}: {error}", path.display()),
            )
        })?;
        self.sockets.push(path);
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
                && is_empty_drive(value, error)
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

/// A drive for CDs without one that can be read. QEMU alone would open it nonetheless, and start.
fn is_empty_drive(value: &Value, error: &io::Error) -> bool {
    let none = [libc::ENOMEDIUM, libc::EMEDIUMTYPE];
    let is_cd = value.get("media").is_some_and(|media| media == "cdrom");
    is_cd
        && error
            .raw_os_error()
            .is_some_and(|errno| none.contains(&errno))
}

/// The same drive with nothing in it, as libxl says that.
fn emptied(drive: &Value) -> OsString {
    drive.with(&["file", "format", "media"], "media=cdrom")
}

/// As QEMU does: what was left there is removed, if it is a socket.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        _ => {}
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(Into::into).collect()
    }

    #[test]
    fn descriptors_get_their_new_numbers() {
        let all = HandedOver::of(words(
            "-S -chardev socket,id=libxl-cmd,fd=14,server=on,wait=off -name -chardev \
             -netdev tap,id=a,fd=9 -incoming fd:20",
        ))
        .unwrap();
        assert_eq!(
            all.arguments,
            words(
                "-S -chardev socket,id=libxl-cmd,server=on,wait=off,fd=3 -name -chardev \
                 -netdev tap,id=a,fd=4 -incoming fd:5"
            )
        );
        let fds: Vec<NamedFd> = ["qemu-0=14", "qemu-1=9", "qemu-2=20"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(all.fds, fds);
        HandedOver::of(words("-incoming fd:x")).unwrap_err();
    }

    #[test]
    fn a_tap_device_is_made_by_its_name_or_not_at_all() {
        for name in ["", "a-name-that-is-too-long", "tap%d"] {
            let text = format!("-netdev type=tap,id=net0,ifname={name},script=no");
            let error = HandedOver::of(words(&text)).unwrap_err();
            assert!(error.to_string().contains("make the tap device"), "{error}");
        }
        let user = words("-netdev user,id=a");
        assert_eq!(HandedOver::of(user.clone()).unwrap().arguments, user);
    }

    #[test]
    fn a_serial_port_that_goes_to_a_file_goes_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("serial");
        let text = path.to_string_lossy();
        let all = HandedOver::of(words(&format!("-serial file:{text} -serial pty"))).unwrap();
        let expected = "-serial file:/dev/fdset/1003 -serial pty -add-fd fd=3,set=1003";
        assert_eq!(all.arguments, words(expected));
        assert_eq!((all.fds.len(), path.is_file()), (1, true));
        assert_eq!(all.outputs, std::slice::from_ref(&path));
        HandedOver::of(words(&format!("-serial file:{text}/x"))).unwrap_err();
    }

    #[test]
    fn a_disk_is_opened_for_reading_and_for_both() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a,b");
        fs::write(&path, "").unwrap();
        let text = path.to_string_lossy().replace(',', ",,");
        let all = HandedOver::of(words(&format!(
            "-drive file={text},if=none,format=raw -drive file={text},readonly=on,format=raw"
        )))
        .unwrap();
        assert_eq!(
            all.arguments,
            words(
                "-drive if=none,format=raw,file=/dev/fdset/1003 -drive \
                 readonly=on,format=raw,file=/dev/fdset/1005 -add-fd fd=3,set=1003 \
                 -add-fd fd=4,set=1003 -add-fd fd=5,set=1005"
            )
        );
        assert_eq!((all.fds.len(), all.disks.len()), (3, 2));
        for disk in [
            format!("-drive file={text},format=qcow2"),
            format!("-drive file={text}.not-there,format=raw"),
            "-drive file=nbd:localhost:9,format=raw".into(),
            "-drive file=/dev/null,format=raw".into(),
        ] {
            let all = HandedOver::of(words(&disk)).unwrap();
            assert_eq!((all.arguments, all.fds.len()), (words(&disk), 0));
        }
    }

    #[test]
    fn a_set_of_others_is_none_of_these() {
        for set in ["0", "999", "0777"] {
            let text = format!("-add-fd fd=9,set={set}");
            let expected = format!("-add-fd set={set},fd=3");
            let all = HandedOver::of(words(&text)).unwrap();
            assert_eq!(all.arguments, words(&expected));
        }
        // To QEMU the second of two counts, and all but one of these are 1003.
        for set in ["1003", "1,set=1003", "0x3eb", "01753", "-1", ""] {
            let text = format!("--add-fd fd=9,set={set}");
            let error = HandedOver::of(words(&text)).unwrap_err();
            assert!(error.to_string().contains("below 1000"), "{set}: {error}");
        }
    }

    #[test]
    fn a_drive_without_a_disc_is_an_empty_one() {
        let value = |text: &str| Value::of(OsStr::new(text));
        let libxls = "if=ide,index=2,readonly=on,media=cdrom,id=ide-5632";
        let cd = value(&format!("{libxls},file=/dev/sr0,format=raw"));
        for (errno, is) in [
            (libc::ENOMEDIUM, true),
            (libc::EMEDIUMTYPE, true),
            (libc::ENOENT, false),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(is_empty_drive(&cd, &error), is, "{error}");
            let disk = value("file=/dev/sda,if=ide,format=raw");
            assert!(!is_empty_drive(&disk, &error), "{error}");
        }
        // What libxl says of one.
        let empty = Value::of(&emptied(&cd));
        for key in ["if", "index", "readonly", "media", "id"] {
            assert_eq!(empty.get(key), value(libxls).get(key), "{key}");
        }
        assert_eq!((empty.get("file"), empty.get("format")), (None, None));
    }

    #[test]
    fn a_socket_is_bound_before_and_a_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a,b");
        let text = path.to_string_lossy().replace(',', ",,");
        for _ in 0..2 {
            let all = HandedOver::of(words(&format!(
                "-chardev socket,id=x,path={text},server,nowait"
            )))
            .unwrap();
            assert_eq!(all.sockets, std::slice::from_ref(&path));
            assert_eq!(
                all.arguments,
                words("-chardev socket,id=x,server,nowait,fd=3")
            );
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        HandedOver::of(words(&format!("-chardev socket,path={text},server=on"))).unwrap_err();
        // A client is QEMU's to connect.
        let client = words(&format!("-chardev socket,path={text}"));
        assert_eq!(HandedOver::of(client.clone()).unwrap().arguments, client);
    }
}
