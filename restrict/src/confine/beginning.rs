// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a file of /proc begins, for who looks at every process of the machine: by three system
//! calls, where reading all of one takes some ten.

use std::{fs::File, io, io::Read as _};

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
