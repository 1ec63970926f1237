// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run does in dom0, and the small archive that carries it there.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::dom0::Dom0;
use crate::suite::{MODULES, Suite};

const INIT: &str = include_str!("init.sh");
const GUEST_CONFIG: &str = include_str!("guest.cfg");

/// A program that runs in dom0, with its arguments.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<Argument>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Argument {
    Text(String),
    /// The domid of guest A, known only in dom0.
    GuestA,
    GuestB,
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
    pub(crate) cpus: u8,
    pub(crate) nonce: &'a str,
    pub(crate) guest: PathBuf,
    pub(crate) jobs: &'a [Job],
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
        archive.file("guest/guest.cfg", 0o644, GUEST_CONFIG.as_bytes())?;
        archive.file("guest/kernel", 0o644, &read(&self.guest)?)?;
        archive.file("lab/config", 0o644, self.config().as_bytes())?;
        archive.file("etc/profile", 0o644, self.profile().as_bytes())?;
        for (i, job) in self.jobs.iter().enumerate() {
            let program = format!("lab/bin/{}", job.name);
            archive.file(&program, 0o755, &read(&job.executable)?)?;
            archive.file(
                &format!("lab/jobs/{i:03}-{}", job.name),
                0o644,
                script(job).as_bytes(),
            )?;
        }
        archive.finish().map_err(|e: io::Error| e.into())
    }

    /// Variables for init.sh.
    fn config(&self) -> String {
        let mut text = self.profile();
        text += &format!("LAB_NONCE={}\n", quote(self.nonce));
        text += &format!("LAB_MODULES={}\n", quote(&MODULES.join(" ")));
        if let Some(Terminal { rows, columns }) = self.shell {
            text += &format!("LAB_SHELL=1 LAB_ROWS={rows} LAB_COLUMNS={columns}\n");
        }
        text
    }

    /// The environment of all that runs in dom0.
    fn profile(&self) -> String {
        format!(
            "export PATH=/lab/bin:{}:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp\n\
             export RUST_BACKTRACE=1 RUST_TEST_THREADS=1\n\
             export PS1='dom0# '\n",
            self.suite.xen_bin()
        )
    }
}

fn script(job: &Job) -> String {
    let mut text = format!("exec /lab/bin/{}", quote(&job.name));
    for argument in &job.arguments {
        text.push(' ');
        match argument {
            Argument::Text(word) => text += &quote(word),
            Argument::GuestA => text += "\"$XEN_LAB_A\"",
            Argument::GuestB => text += "\"$XEN_LAB_B\"",
        }
    }
    text.push('\n');
    text
}

/// For a shell: one word, whatever is in it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_program_as_they_are() {
        let job = Job {
            name: "xen".to_owned(),
            executable: PathBuf::new(),
            arguments: vec![
                Argument::GuestA,
                Argument::Text("it's $HOME".to_owned()),
                Argument::Text(String::new()),
            ],
        };
        assert_eq!(
            script(&job),
            "exec /lab/bin/'xen' \"$XEN_LAB_A\" 'it'\\''s $HOME' ''\n"
        );
    }
}
