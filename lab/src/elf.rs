// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which libraries a program needs, so that dom0 gets these and no others.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{self, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use crate::root::Root;

/// What an ELF file asks the dynamic loader for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    interpreter: Option<String>,
    libraries: Vec<String>,
}

/// Paths of all that `programs` load, the loader included, and of the libraries `others`
/// with theirs.
///
/// # Errors
/// A file is no ELF file, or a library is in none of the usual folders.
pub(crate) fn libraries(
    root: &Root,
    programs: &[String],
    others: &[&str],
) -> Result<BTreeSet<String>> {
    let folders = library_folders(root);
    let locate = |library: &str, user: &str| {
        folders
            .iter()
            .map(|folder| format!("{folder}/{library}"))
            .find(|path| root.find(path).is_some())
            .with_context(|| format!("no package of the suite has {library}, which {user} needs"))
    };
    let mut found = BTreeSet::new();
    for library in others {
        found.insert(locate(library, "dom0")?);
    }
    let mut todo: Vec<String> = programs.iter().chain(&found).cloned().collect();
    while let Some(path) = todo.pop() {
        let needs =
            needs(&root.read(&path)?).with_context(|| format!("{path} is not as expected"))?;
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

/// The folders the loader looks into, plus those of Xen's and systemd's own libraries.
fn library_folders(root: &Root) -> Vec<String> {
    let xen = root
        .list("usr/lib")
        .into_iter()
        .filter(|name| name.starts_with("xen-"))
        .map(|name| format!("usr/lib/{name}/lib/x86_64-linux-gnu"));
    [
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/systemd",
        "lib/systemd",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(xen)
    .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_a_libc() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
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
