// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes cpio archives in the "newc" format, as the kernel's initramfs takes them.
//!
//! The kernel unpacks one archive after the other from the same file, so small additions
//! are simply appended.

use std::collections::HashSet;
use std::io::{self, Write};

/// An archive being written.
pub(crate) struct Archive<W: Write> {
    out: W,
    position: usize,
    inode: u32,
    folders: HashSet<String>,
}

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            position: 0,
            inode: 0,
            folders: HashSet::new(),
        }
    }

    /// Adds a file, and the folders above it that the archive does not have yet. `path` is
    /// relative to the root.
    pub(crate) fn file(&mut self, path: &str, mode: u32, contents: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, FILE | mode, (0, 0), contents)
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes())
    }

    pub(crate) fn folder(&mut self, path: &str) -> io::Result<()> {
        self.parents(path)?;
        if self.folders.insert(path.to_owned()) {
            self.entry(path, FOLDER | 0o755, (0, 0), &[])?;
        }
        Ok(())
    }

    pub(crate) fn character_device(
        &mut self,
        path: &str,
        mode: u32,
        number: (u32, u32),
    ) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, CHARACTER_DEVICE | mode, number, &[])
    }

    /// Ends the archive. What follows in the same file may be another one.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        // The kernel skips zeros between archives; a block's worth keeps both aligned.
        self.pad(512)?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.folder(parent),
            None => Ok(()),
        }
    }

    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        device: (u32, u32),
        contents: &[u8],
    ) -> io::Result<()> {
        let size = u32::try_from(contents.len())
            .map_err(|_| io::Error::other(format!("{name} is too large for a cpio archive")))?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        self.inode += 1;
        let fields = [
            self.inode, mode, 0, // uid
            0, // gid
            1, // links
            0, // time: a fixed one, so that equal inputs give equal archives
            size, 0, 0, device.0, device.1, name_size, 0, // checksum, unused in this format
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.write(header.as_bytes())?;
        self.write(name.as_bytes())?;
        self.write(&[0])?;
        self.pad(4)?;
        self.write(contents)?;
        self.pad(4)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len();
        self.out.write_all(bytes)
    }

    fn pad(&mut self, alignment: usize) -> io::Result<()> {
        let missing = self.position.next_multiple_of(alignment) - self.position;
        self.write(&[0; 512][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/b/hello", 0o755, b"hi!").unwrap();
        archive.file("a/b/other", 0o644, b"").unwrap();
        archive.symlink("link", "a/b/hello").unwrap();
        archive
            .character_device("dev/console", 0o600, (5, 1))
            .unwrap();
        archive.finish().unwrap()
    }

    /// Reads names, modes and contents back.
    fn list(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |i: usize| {
                let text = std::str::from_utf8(&bytes[6 + i * 8..14 + i * 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = std::str::from_utf8(&bytes[110..110 + name_size - 1]).unwrap();
            if name == "TRAILER!!!" {
                return entries;
            }
            let data = (110 + name_size).next_multiple_of(4);
            let contents = bytes[data..data + size].to_vec();
            entries.push((name.to_owned(), u32::try_from(mode).unwrap(), contents));
            bytes = &bytes[(data + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn entries_come_back_with_their_folders_first_and_once() {
        let entries = list(&sample());
        let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "a",
                "a/b",
                "a/b/hello",
                "a/b/other",
                "link",
                "dev",
                "dev/console"
            ]
        );
        assert_eq!(entries[2].1, 0o100_755);
        assert_eq!(entries[2].2, b"hi!");
        assert_eq!(entries[4].2, b"a/b/hello");
    }

    #[test]
    fn archives_can_be_appended_to_each_other() {
        assert_eq!(sample().len() % 512, 0);
    }
}
