// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of /proc, by few system calls: they have no length that could be asked for first, so
//! `std::fs::read` takes some ten.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Most files fit.
const ROOM: usize = 4096;

/// All of one.
pub(crate) fn whole(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    rest(File::open(path)?)
}

/// The same, of one that is open.
pub(crate) fn rest(file: impl Read) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(ROOM);
    file.take(u64::MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// How one begins, for who looks at every process of the machine: by three system calls.
///
/// What there is room for, and of that whole lines only. The kernel makes such a text as a whole,
/// and writes as much of it.
pub(crate) fn beginning<'r>(path: &str, room: &'r mut [u8]) -> io::Result<&'r [u8]> {
    let length = File::open(path)?.read(room)?;
    let text = room.get(..length).unwrap_or_default();
    let end = text.iter().rposition(|byte| *byte == b'\n');
    Ok(text.get(..end.map_or(0, |end| end + 1)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_one_is_as_it_is_also_where_it_is_long() {
        for path in [
            "/proc/self/cmdline",
            "/proc/filesystems",
            "/proc/self/smaps",
        ] {
            let (own, expected) = (whole(path).unwrap(), std::fs::read(path).unwrap());
            // Its own memory is not the same twice.
            let same = own == expected || path.ends_with("smaps");
            assert!(same && own.len() >= expected.len() / 2, "{path}");
        }
        whole("/proc/self/none").unwrap_err();
    }

    #[test]
    fn a_line_that_is_cut_is_none() {
        let text = std::fs::read("/proc/self/status").unwrap();
        let first = text.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for (room, length) in [(0, 0), (first - 1, 0), (first, first), (first + 1, first)] {
            let mut room = vec![0; room];
            let read = beginning("/proc/self/status", &mut room).unwrap();
            assert_eq!(read, &text[..length]);
        }
        let mut room = vec![0; 65536];
        let read = beginning("/proc/self/status", &mut room).unwrap();
        assert!(read.ends_with(b"\n") && read.len() + 20 > text.len());
        beginning("/proc/self/none", &mut room).unwrap_err();
    }
}
