// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that a QEMU has mapped: by that it has them for good, also where it has closed them.

use super::{Process, Role, View};
use crate::audit::{process::MappedFile, sys, text};

/// Where dom0 has what programs are made of.
const PROGRAMS: [&str; 4] = ["/usr/", "/lib/", "/lib32/", "/lib64/"];
/// What the kernel says of a path where another file is by now, or none.
const DELETED: &[u8] = b" (deleted)";

impl View<'_> {
    /// Those of which it could have read what is nobody's business. An init runs nothing of
    /// the program's.
    pub(super) fn mapped_files(&self, process: &Process) -> Vec<String> {
        if self.of_qemu().is_none() || process.role == Role::Init {
            return Vec::new();
        }
        let wrong = process.mapped_files.iter().filter(|file| {
            !process.has_mount(file.stat.mount)
                // Most are, and there are some hundred.
                && !self.is_of_a_program(process, file)
                && !self.is_given(&file.stat, file.writes)
        });
        let say = |file: &MappedFile| {
            let path = text::quoted(&file.link);
            format!("process {} maps a file of dom0, {path}", process.pid)
        };
        wrong.map(say).collect()
    }

    /// Everybody may read it, and it is where the kernel says that it is.
    fn is_of_a_program(&self, process: &Process, file: &MappedFile) -> bool {
        // Once it is sealed it maps nothing new, and an upgrade replaces what it has.
        let sealed = self.of_qemu().is_some_and(|record| record.sealed);
        let replaced = file.link.strip_suffix(DELETED).filter(|_| sealed);
        let Ok(path) = str::from_utf8(replaced.unwrap_or(&file.link)) else {
            return false;
        };
        let is_its_own = process.exe() == Some(&file.link);
        let of_programs =
            |path: &str| is_its_own || PROGRAMS.iter().any(|place| path.starts_with(place));
        let is_there = |path: &str| {
            of_programs(path) && sys::stat_at(path).is_some_and(|at| at.is_same(&file.stat))
        };
        let found = match replaced {
            Some(_) => of_programs(path),
            // Of a mount that is taken away the path begins there; /usr can be one.
            None => is_there(path) || is_there(&format!("/usr{path}")),
        };
        found && !file.writes && file.stat.mode & libc::S_IROTH != 0
    }
}
