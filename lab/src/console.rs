// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first serial port: what Xen and dom0's kernel say. Kept in a file, and searched for
//! the sentences they die with.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// How bad a sentence on the console is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trouble {
    /// Dom0's kernel goes on, but something is broken: the run cannot be a success.
    Oops,
    /// Dom0's kernel is dead.
    Dom0,
    /// Xen is dead.
    Xen,
}

const MARKERS: &[(&str, Trouble)] = &[
    ("Panic on CPU", Trouble::Xen),
    ("FATAL TRAP", Trouble::Xen),
    ("FATAL PAGE FAULT", Trouble::Xen),
    ("Xen BUG at", Trouble::Xen),
    ("Assertion '", Trouble::Xen),
    ("Kernel panic - not syncing", Trouble::Dom0),
    ("Hardware Dom0 crashed", Trouble::Dom0),
    ("Domain 0 crashed", Trouble::Dom0),
    ("BUG: ", Trouble::Oops),
    ("Oops: ", Trouble::Oops),
    ("kernel BUG at", Trouble::Oops),
    ("general protection fault", Trouble::Oops),
    ("INFO: task ", Trouble::Oops),
];

/// What a line of the console says about the machine's health.
pub(crate) fn trouble(line: &str) -> Option<Trouble> {
    MARKERS
        .iter()
        .find(|(marker, _)| line.contains(marker))
        .map(|&(_, trouble)| trouble)
}

/// The console's log file, and its lines for the error messages.
pub(crate) struct Console {
    file: File,
    path: PathBuf,
    line: Vec<u8>,
    lines: Vec<String>,
    /// How many of them there were when the rest came to be for the file only.
    told: Option<usize>,
    worst: Option<(Trouble, String)>,
}

impl Console {
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: File::create(&path)?,
            path,
            line: Vec::new(),
            lines: Vec::new(),
            told: None,
            worst: None,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what arrived.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&self.line)
                .trim_end_matches('\r')
                .to_owned();
            self.line.clear();
            if let Some(trouble) = trouble(&line)
                && self.worst().is_none_or(|(worst, _)| worst < trouble)
            {
                self.worst = Some((trouble, line.clone()));
            }
            self.lines.push(line);
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.line.is_empty()
    }

    /// The first line of the worst trouble so far.
    pub(crate) fn worst(&self) -> Option<(Trouble, &str)> {
        let (trouble, line) = self.worst.as_ref()?;
        Some((*trouble, line))
    }

    /// Is this in a line?
    pub(crate) fn says(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// Did init say its last line?
    pub(crate) fn has_ended(&self) -> bool {
        self.lines.iter().rev().take(20).any(|l| l == "lab: end")
    }

    /// Will nothing but last words come?
    pub(crate) fn is_dead(&self) -> bool {
        self.worst().is_some_and(|(worst, _)| worst > Trouble::Oops)
    }

    /// What comes from now on is not for an error message.
    pub(crate) fn end_of_tail(&mut self) {
        self.told = Some(self.lines.len());
    }

    /// The last lines, for an error message.
    pub(crate) fn tail(&self, count: usize) -> String {
        let partial = String::from_utf8_lossy(&self.line);
        let told = self.told.unwrap_or(self.lines.len());
        let lines = self.lines.iter().take(told);
        let mut lines: Vec<&str> = lines.map(String::as_str).collect();
        if !partial.is_empty() && self.told.is_none() {
            lines.push(&partial);
        }
        let from = lines.len().saturating_sub(count);
        lines[from..].iter().map(|l| format!("  | {l}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_recognised() {
        assert_eq!(trouble("(XEN) Panic on CPU 0:"), Some(Trouble::Xen));
        assert_eq!(
            trouble("[    1.2] Kernel panic - not syncing: Attempted to kill init!"),
            Some(Trouble::Dom0)
        );
        assert_eq!(
            trouble("(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds."),
            Some(Trouble::Dom0)
        );
        assert_eq!(
            trouble("[    9.1] BUG: kernel NULL pointer dereference, address: 0"),
            Some(Trouble::Oops)
        );
        assert_eq!(trouble("(XEN) Brought up 2 CPUs"), None);
    }

    #[test]
    fn the_tail_has_the_unfinished_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut console = Console::create(dir.path().join("log")).unwrap();
        console.feed(b"one\r\ntwo\r\nthr").unwrap();
        assert_eq!(console.tail(2), "  | two\n  | thr\n");
    }

    #[test]
    fn the_worst_trouble_is_kept_with_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut console = Console::create(dir.path().join("log")).unwrap();
        assert!(console.is_empty());
        console.feed(b"BUG: one\nBUG: two\n").unwrap();
        assert_eq!(console.worst(), Some((Trouble::Oops, "BUG: one")));
        assert!(!console.is_dead());
        console
            .feed(b"(XEN) Panic on CPU 1:\r\nBUG: three\n")
            .unwrap();
        assert_eq!(
            console.worst(),
            Some((Trouble::Xen, "(XEN) Panic on CPU 1:"))
        );
        assert!(console.is_dead());
    }
}
