// SPDX-License-Identifier: MIT OR Apache-2.0
//! How libxl calls QEMU: what its command line says of guest, user and files.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::PathBuf,
};

use xen_restrict::GuestId;

/// What a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// What can it do? (Since Xen 4.18.)
    Probe,
    DeviceModel(DeviceModel),
}

/// The device model of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceModel {
    pub(super) guest: GuestId,
    /// None: it is to run as root, without `dm_restrict`.
    pub(super) restricted: Option<Restricted>,
    pub(super) disks: Vec<Disk>,
    /// A kernel, an initrd, firmware.
    pub(super) reads: Vec<PathBuf>,
    /// What takes dom0's network, in QEMU's words.
    pub(super) network: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Restricted {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) chroot: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

/// Not as libxl calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misunderstood(&'static str);

impl fmt::Display for Misunderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: this is not how xl starts QEMU for a guest with dm_restrict=1",
            self.0
        )
    }
}

impl std::error::Error for Misunderstood {}

/// Options whose value may look like an option: a guest's name, a kernel's command line.
const ANY_VALUE: [&[u8]; 2] = [b"-name", b"-append"];

/// Options whose value is a path that QEMU reads.
const READ: [&str; 6] = ["-kernel", "-initrd", "-dtb", "-bios", "-pflash", "-L"];

/// An option with its value.
pub(super) type Option_<'a> = (&'a OsStr, Option<&'a OsStr>);

/// The options of a command line, each with the place of its value. `--x` is `-x` to QEMU.
pub(super) fn options(arguments: &[OsString]) -> Vec<(&OsStr, Option<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(name) = arguments.get(at) {
        let name = name.as_bytes();
        let one = name
            .strip_prefix(b"-")
            .filter(|rest| rest.starts_with(b"-"));
        let name = one.unwrap_or(name);
        let next = arguments.get(at + 1).map(|next| next.as_bytes());
        let has_value = next.is_some_and(|next| ANY_VALUE.contains(&name) || !is_option(next));
        found.push((OsStr::from_bytes(name), has_value.then_some(at + 1)));
        at += if has_value { 2 } else { 1 };
    }
    found
}

fn is_option(word: &[u8]) -> bool {
    matches!(word, [b'-', first, ..] if *first == b'-' || first.is_ascii_alphabetic())
}

impl Call {
    pub(super) fn of(arguments: &[OsString]) -> Result<Self, Misunderstood> {
        let options: Vec<Option_<'_>> = options(arguments)
            .into_iter()
            .map(|(name, value)| (name, value.map(|at| arguments[at].as_os_str())))
            .collect();
        let values = |wanted: &'static str| {
            let of = options.iter().filter(move |(name, _)| *name == wanted);
            of.filter_map(|(_, value)| *value)
        };
        let none = values("-machine").any(|machine| Value::of(machine).first() == b"none");
        let domid = one(values("-xen-domid"), "-xen-domid")?;
        let Some(domid) = domid else {
            return match none {
                true => Ok(Self::Probe),
                false => Err(Misunderstood("no -xen-domid")),
            };
        };
        let guest = domid.to_str().and_then(|domid| domid.parse().ok());
        let guest = guest.ok_or(Misunderstood("-xen-domid is no guest's"))?;

        let restricts = options
            .iter()
            .any(|(name, _)| *name == "-xen-domid-restrict");
        let restricted = match restricts {
            true => Some(restricted(
                values("-runas").collect(),
                values("-chroot").collect(),
                values("-run-with").map(Value::of).collect(),
            )?),
            false => None,
        };
        Ok(Self::DeviceModel(DeviceModel {
            guest,
            restricted,
            disks: values("-drive")
                .filter_map(|v| disk(&Value::of(v)))
                .collect(),
            reads: READ
                .iter()
                .copied()
                .flat_map(values)
                .map(PathBuf::from)
                .collect(),
            network: network(&options),
        }))
    }
}

/// At most one: of two, QEMU and this could take another.
fn one<'a>(
    mut values: impl Iterator<Item = &'a OsStr>,
    what: &'static str,
) -> Result<Option<&'a OsStr>, Misunderstood> {
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(Misunderstood(what)),
    }
}

/// `-runas UID:GID -chroot PATH`, and in QEMU 9 `-run-with user=UID:GID,chroot=PATH`.
fn restricted(
    runas: Vec<&OsStr>,
    chroot: Vec<&OsStr>,
    run_with: Vec<Value>,
) -> Result<Restricted, Misunderstood> {
    let newer = |key| run_with.iter().filter_map(move |value| value.get(key));
    let users: Vec<OsString> = runas
        .into_iter()
        .map(OsStr::to_owned)
        .chain(newer("user"))
        .collect();
    let roots: Vec<OsString> = chroot
        .into_iter()
        .map(OsStr::to_owned)
        .chain(newer("chroot"))
        .collect();
    let ([user], [chroot]) = (users.as_slice(), roots.as_slice()) else {
        return Err(Misunderstood("not one user and one chroot directory"));
    };
    let ids = user.to_str().and_then(|user| user.split_once(':'));
    let ids = ids.and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    let (uid, gid) = ids.ok_or(Misunderstood("the user is not UID:GID"))?;
    let chroot = PathBuf::from(chroot);
    if !chroot.is_absolute() {
        return Err(Misunderstood("the chroot directory is not absolute"));
    }
    Ok(Restricted { uid, gid, chroot })
}

/// A file of dom0's. Others are opened by other means: `nbd:...` for example.
pub(super) fn disk(drive: &Value) -> Option<Disk> {
    let path = PathBuf::from(drive.get("file")?);
    let read_only = ["readonly", "read-only"]
        .into_iter()
        .any(|key| drive.get(key).is_some_and(|value| value == "on") || drive.has_flag(key));
    path.is_absolute().then_some(Disk { path, read_only })
}

/// Options that need dom0's network, as nothing was handed over for them.
fn network(options: &[Option_<'_>]) -> Vec<String> {
    let needs = |(name, value): &Option_<'_>| {
        let value = Value::of((*value)?);
        let local: &[&[u8]] = &[b"none", b"unix"];
        let is = match name.to_str()? {
            "-vnc" => {
                let first = value.first();
                let kind = first.split(|byte| *byte == b':').next().unwrap_or(first);
                !local.contains(&kind)
            }
            "-spice" => true,
            // A tap device by name is handed over as a descriptor.
            "-netdev" => ["fd", "ifname"].iter().all(|key| value.get(key).is_none()),
            "-net" => !matches!(value.first(), b"none" | b"nic"),
            "-serial" | "-monitor" | "-parallel" => ["tcp:", "udp:", "telnet:"]
                .iter()
                .any(|kind| value.first().starts_with(kind.as_bytes())),
            _ => false,
        };
        is.then(|| format!("{} {}", name.to_string_lossy(), value.shown()))
    };
    options.iter().filter_map(needs).collect()
}

/// What follows an option: parts between commas, where two commas are one that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(Vec<Vec<u8>>);

impl Value {
    pub(super) fn of(text: &OsStr) -> Self {
        let mut parts = vec![Vec::new()];
        let mut bytes = text.as_bytes().iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let doubled = byte == b',' && bytes.next_if_eq(&b',').is_some();
            match (byte, doubled, parts.last_mut()) {
                (b',', false, _) => parts.push(Vec::new()),
                (byte, _, Some(last)) => last.push(byte),
                _ => {}
            }
        }
        Self(parts)
    }

    pub(super) fn first(&self) -> &[u8] {
        self.0.first().map_or(&[], Vec::as_slice)
    }

    pub(super) fn get(&self, key: &str) -> Option<OsString> {
        let mut values = self.0.iter().filter_map(|part| {
            let rest = part.strip_prefix(key.as_bytes())?;
            rest.strip_prefix(b"=")
        });
        values
            .next_back()
            .map(|value| OsString::from_vec(value.to_vec()))
    }

    pub(super) fn has_flag(&self, key: &str) -> bool {
        self.0.iter().any(|part| part == key.as_bytes())
    }

    /// The same without some keys, and with one more part.
    pub(super) fn with(&self, without: &[&str], more: &str) -> OsString {
        joined(self.parts_but(without).chain([more.as_bytes()]))
    }

    /// The same without some keys.
    pub(super) fn without(&self, keys: &[&str]) -> OsString {
        joined(self.parts_but(keys))
    }

    fn parts_but(&self, keys: &[&str]) -> impl Iterator<Item = &[u8]> {
        let is_one = |part: &[u8]| {
            let key = part.split(|byte| *byte == b'=').next().unwrap_or(part);
            keys.iter().any(|name| name.as_bytes() == key)
        };
        let parts = self.0.iter().map(Vec::as_slice);
        parts.filter(move |part| !is_one(part))
    }

    fn shown(&self) -> String {
        let parts: Vec<_> = self
            .0
            .iter()
            .map(|part| part.escape_ascii().to_string())
            .collect();
        parts.join(",")
    }
}

fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>) -> OsString {
    let parts: Vec<Vec<u8>> = parts.map(doubled).collect();
    OsString::from_vec(parts.join(&b','))
}

fn doubled(part: &[u8]) -> Vec<u8> {
    let commas = |byte: &u8| match byte {
        b',' => vec![b','; 2],
        other => vec![*other],
    };
    part.iter().flat_map(commas).collect()
}

#[cfg(test)]
mod tests;
