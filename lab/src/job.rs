// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run does in dom0, and the small archive that carries it there.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::artifacts::{TOOLS, Tool};
use crate::contents::{Contents, MODULES};
use crate::cpio::Archive;
use crate::dom0::Dom0;
use crate::qemu::Processors;
use crate::suite::Suite;

const INIT: &str = include_str!("init.sh");
const UNIT: &str = include_str!("lab.service");
const GUEST_CONFIG: &str = include_str!("guest.cfg");
const HVM_CONFIG: &str = include_str!("hvm.cfg");

/// Variables of whoever runs the lab that programs in dom0 get as well.
const FORWARDED: &[&str] = &[
    "BENCH_TRIAL",
    "XEN_LAB_SECONDS",
    "XEN_LAB_SEED",
    "XEN_LAB_SEQUENCES",
];

/// What a run does in dom0, and what it needs there besides the image.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) contents: &'static Contents,
    pub(crate) executables: Vec<Executable>,
    pub(crate) jobs: Vec<Job>,
}

impl Work {
    pub(crate) fn new(contents: &'static Contents, executables: Vec<Executable>) -> Self {
        Self {
            contents,
            executables,
            jobs: Vec::new(),
        }
    }

    /// One more job: runs an executable with these arguments, whatever is in them.
    pub(crate) fn start(&mut self, executable: Executable, arguments: &[String]) {
        let mut line = format!("exec {}", quote(&installed(&executable.name)));
        for word in arguments {
            line += " ";
            line += &quote(word);
        }
        self.jobs.push(Job {
            name: executable.name.clone(),
            line,
        });
        self.executables.push(executable);
    }
}

/// A program of this machine that dom0 has in `/lab/bin`.
#[derive(Debug, Clone)]
pub(crate) struct Executable {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// A command line of dom0's shell.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) line: String,
}

fn installed(name: &str) -> String {
    format!("/lab/bin/{name}")
}

/// The prompt's size, when there is to be one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// All that a run adds to the image.
pub(crate) struct Plan<'a> {
    pub(crate) suite: &'a Suite,
    pub(crate) dom0: &'a Dom0,
    pub(crate) processors: Processors,
    pub(crate) fixed_addresses: bool,
    pub(crate) nonce: &'a str,
    pub(crate) guest: PathBuf,
    pub(crate) work: &'a Work,
    pub(crate) shell: Option<Terminal>,
}

impl Plan<'_> {
    /// The archive to append to the image's root.
    ///
    /// # Errors
    /// A program cannot be read.
    pub(crate) fn archive(&self) -> Result<Vec<u8>> {
        let read = |path: &PathBuf| {
            fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut archive = Archive::new(Vec::new());
        archive.file("init", 0o755, INIT.as_bytes())?;
        archive.file("etc/systemd/system/lab.service", 0o644, UNIT.as_bytes())?;
        archive.file("guest/guest.cfg", 0o644, GUEST_CONFIG.as_bytes())?;
        archive.file("guest/hvm.cfg", 0o644, HVM_CONFIG.as_bytes())?;
        archive.file("guest/kernel", 0o644, &read(&self.guest)?)?;
        archive.file("lab/config", 0o644, self.config().as_bytes())?;
        archive.file("etc/profile", 0o644, self.profile().as_bytes())?;
        for Executable { name, path } in &self.work.executables {
            archive.file(installed(name).trim_start_matches('/'), 0o755, &read(path)?)?;
        }
        for (i, Job { name, line }) in self.work.jobs.iter().enumerate() {
            let path = format!("lab/jobs/{i:03}-{name}");
            archive.file(&path, 0o644, format!("{line}\n").as_bytes())?;
        }
        archive.finish().map_err(|e: io::Error| e.into())
    }

    /// Variables for init.sh.
    fn config(&self) -> String {
        let mut text = self.profile();
        text += &format!("LAB_NONCE={}\n", quote(self.nonce));
        text += &format!("LAB_MODULES={}\n", quote(&MODULES.join(" ")));
        if self.work.contents.boots_systemd {
            text += "LAB_SYSTEMD=1\n";
        }
        if let Some(Terminal { rows, columns }) = self.shell {
            text += &format!("LAB_SHELL=1 LAB_ROWS={rows} LAB_COLUMNS={columns}\n");
        }
        text
    }

    /// The environment of all that runs in dom0.
    fn profile(&self) -> String {
        let mut text = format!(
            "export PATH=/lab/bin:{}:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp\n\
             export RUST_BACKTRACE=1 RUST_TEST_THREADS=1\n\
             export XEN_LAB_GUEST=/guest XEN_LAB_SUITE={} XEN_LAB_DOM0={}\n\
             export PS1='dom0# '\n",
            self.suite.xen_bin(),
            self.suite.name,
            self.dom0.name
        );
        for variable in FORWARDED {
            if let Ok(value) = std::env::var(variable) {
                text += &format!("export {variable}={}\n", quote(&value));
            }
        }
        for Tool { variable, program } in TOOLS {
            text += &format!("export {variable}={}\n", quote(&installed(program.name)));
        }
        text
    }
}

/// For a shell: one word, whatever is in it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::TOOLSTACK;

    #[test]
    fn arguments_reach_the_program_as_they_are() {
        let executable = Executable {
            name: "xen".to_owned(),
            path: PathBuf::new(),
        };
        let mut work = Work::new(&TOOLSTACK, Vec::new());
        work.start(executable, &["it's $HOME".to_owned(), String::new()]);
        assert_eq!(work.jobs[0].line, "exec '/lab/bin/xen' 'it'\\''s $HOME' ''");
    }
}
