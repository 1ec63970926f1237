// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where dom0's processes and Xen's files are mounted. By `/proc/PID/root` one who is root, and
//! can take any uid, would come to where other processes have their roots, and these mounts are
//! not read-only.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

const PROC: &str = "/proc";
const KINDS: [&str; 2] = ["proc", "xenfs"];

/// What is to be hidden, of the text of `mountinfo`; `/proc` in any case.
pub(super) fn of(mounts: &str) -> Vec<PathBuf> {
    let elsewhere = mounts.lines().filter_map(point);
    // What is mounted below is hidden with it.
    let elsewhere = elsewhere.filter(|point| !point.starts_with(PROC));
    std::iter::once(Path::new(PROC).into())
        .chain(elsewhere)
        .collect()
}

/// Where a line says that one of them is.
fn point(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let kind = after.split(' ').next()?;
    let point = before.split(' ').nth(4)?;
    KINDS.contains(&kind).then(|| unescaped(point))
}

/// The kernel writes what would end a field in octal.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let octal = (*byte == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(octal) => {
                bytes.push(octal);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_found_and_their_names_are_read() {
        let text = "22 1 0:20 / /proc rw,relatime shared:9 - proc proc rw\n\
                    23 22 0:21 / /proc/xen rw - xenfs xenfs rw\n\
                    24 1 0:20 / /srv/a\\040b\\134/proc rw - proc proc rw\n\
                    25 1 0:22 / /x\\9 rw - xenfs xenfs rw\n\
                    26 1 0:5 / /dev rw - devtmpfs udev rw\n";
        let expected = ["/proc", "/srv/a b\\/proc", "/x\\9"];
        assert_eq!(of(text), expected.map(PathBuf::from));
        assert_eq!(of(""), [PathBuf::from("/proc")]);
    }
}
