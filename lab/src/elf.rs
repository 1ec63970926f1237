// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which libraries a program needs, so that dom0 gets these and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

/// What an ELF file asks the dynamic loader for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
}

/// Paths, relative to `root`, of all that `programs` load, the loader included, and of the
/// libraries `others` with theirs.
///
/// # Errors
/// A file is no ELF file, or a library is in none of the usual folders.
pub(crate) fn libraries(
    root: &Path,
    programs: &[String],
    others: &[&str],
) -> Result<BTreeSet<String>> {
    let folders = library_folders(root)?;
    let locate = |library: &str, user: &str| {
        folders
            .iter()
            .map(|folder| format!("{folder}/{library}"))
            .find(|path| root.join(path).exists())
            .with_context(|| format!("no package of the suite has {library}, which {user} needs"))
    };
    let mut found = BTreeSet::new();
    for library in others {
        found.insert(locate(library, "dom0")?);
    }
    let mut todo: Vec<String> = programs.iter().chain(&found).cloned().collect();
    while let Some(path) = todo.pop() {
        let file = root.join(&path);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let needs =
            needs(&bytes).with_context(|| format!("{} is not as expected", file.display()))?;
        for library in needs.libraries {
            let path = locate(&library, &path)?;
            if found.insert(path.clone()) {
                todo.push(path);
            }
        }
        if let Some(interpreter) = needs.interpreter {
            found.insert(interpreter.trim_start_matches('/').to_owned());
        }
    }
    Ok(found)
}

/// The folders the loader looks into, plus the one of Xen's own libraries.
fn library_folders(root: &Path) -> Result<Vec<String>> {
    let mut folders: Vec<String> = ["lib", "usr/lib"]
        .map(|base| format!("{base}/x86_64-linux-gnu"))
        .to_vec();
    for entry in fs::read_dir(root.join("usr/lib"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("xen-") {
            folders.push(format!("usr/lib/{name}/lib/x86_64-linux-gnu"));
        }
    }
    Ok(folders)
}

fn needs(bytes: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let mut needs = Needs::default();
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, bytes)? {
            needs.interpreter = Some(String::from_utf8(interpreter.to_vec())?);
        }
        let Some(entries) = segment.dynamic(endian, bytes)? else {
            continue;
        };
        let value = |tag: u32| {
            entries
                .iter()
                .find(|entry| entry.tag32(endian) == Some(tag))
                .map(|entry| entry.d_val(endian))
        };
        let (Some(address), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
            continue;
        };
        let strings = segments
            .iter()
            .find_map(|s| s.data_range(endian, bytes, address, size).ok().flatten())
            .context("its string table is in no segment")?;
        for entry in entries {
            if entry.tag32(endian) == Some(elf::DT_NEEDED) {
                let start = usize::try_from(entry.d_val(endian))?;
                let name = strings
                    .get(start..)
                    .and_then(|rest| rest.split(|&b| b == 0).next())
                    .context("a library's name is outside of the string table")?;
                needs.libraries.push(String::from_utf8(name.to_vec())?);
            }
        }
    }
    Ok(needs)
}

/// The one file below `folder` that has this name.
///
/// # Errors
/// There is none.
pub(crate) fn find_file(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut todo = vec![folder.to_path_buf()];
    while let Some(folder) = todo.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            } else if entry.file_name() == name {
                return Ok(entry.path());
            }
        }
    }
    bail!("there is no {name} below {}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_a_libc() {
        let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&bytes).unwrap();
        assert!(needs.libraries.contains(&"libc.so.6".to_owned()));
        assert_eq!(
            needs.interpreter.as_deref(),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(needs(b"#!/bin/sh\n").is_err());
    }
}
