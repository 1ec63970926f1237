// SPDX-License-Identifier: MIT OR Apache-2.0
//! A Debian beside this machine's, made by mmdebstrap and kept in the cache.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::host;
use crate::packages;
use crate::paths;
use crate::process;
use crate::progress::say;
use crate::suite::SUITES;

/// What it is made of.
pub(crate) struct Debian {
    pub(crate) suite: &'static str,
    /// Its name in the cache, where it is made if there is none of this name: an archive, if
    /// it ends in `.tar`, or else a folder.
    pub(crate) name: &'static str,
    /// Of the disk, in MiB.
    pub(crate) room: u64,
    /// mmdebstrap's.
    pub(crate) options: &'static [&'static str],
}

impl Debian {
    /// Its path.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn get(&self) -> Result<PathBuf> {
        host::need(&[host::PACKAGING])?;
        let Self { suite, name, .. } = self;
        let cache = paths::cache(suite)?;
        let _lock = paths::lock(&cache)?;
        let made = cache.join(name);
        if made.exists() {
            return Ok(made);
        }
        paths::need_room(&cache, self.room)?;
        say(&format!("fetching {name} of {suite}"));
        let known = SUITES.iter().find(|known| known.name == *suite);
        let folder = tempfile::tempdir_in(&cache)?;
        let sources = folder.path().join("sources.list");
        let known = known.with_context(|| format!("there is no suite {suite}"))?;
        fs::write(&sources, packages::sources(known)?)?;
        let unfinished = folder.path().join(name);
        process::run(
            Command::new("mmdebstrap")
                .arg("--mode=root")
                .args(self.options)
                .arg(suite)
                .arg(&unfinished)
                .arg(&sources),
        )?;
        fs::rename(&unfinished, &made)
            .with_context(|| format!("cannot make {}", made.display()))?;
        Ok(made)
    }
}
