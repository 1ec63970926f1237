// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program is linked with, read from its headers and those of its libraries.
//!
//! The loader would know better, and would execute what the program names: its
//! interpreter, and audit libraries. Nothing of the program runs before it is confined.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::FileTypeExt},
    path::{Path, PathBuf},
};

use object::{
    LittleEndian, ReadCache, ReadRef,
    elf::{self, FileHeader64},
    read::elf::{Dyn as _, FileHeader, ProgramHeader},
};

type Elf = FileHeader64<LittleEndian>;

/// Where the loader looks last, and the file that names more, as ld.so(8) and ldconfig(8)
/// say. The cache is made of these.
const DEFAULT: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
const CONFIGURED: &str = "/etc/ld.so.conf";
/// More than any program has; what is larger is no library.
const MOST: usize = 512;
const LARGEST: u64 = 1 << 20;

/// What one file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// Its loader; a library has none.
    pub(crate) interpreter: Option<PathBuf>,
    needed: Vec<OsString>,
    /// Its own places to look in, separated by colons.
    search: Vec<OsString>,
    machine: u16,
}

/// Reads them. `None`: it is not an ELF file of 64 bits, but a script for example.
pub(crate) fn links(path: &Path) -> io::Result<Option<Links>> {
    let file = File::open(path)?;
    let data = ReadCache::new(file);
    match (&data).read_bytes_at(0, 4) {
        Ok(magic) if magic == elf::ELFMAG => {}
        _ => return Ok(None),
    }
    let links = read(&data).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Some(links))
}

fn read<'data>(data: impl ReadRef<'data>) -> object::read::Result<Links> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let mut links = Links {
        machine: header.e_machine.get(endian),
        ..Links::default()
    };
    let segments = header.program_headers(endian, data)?;
    let mut dynamic = None;
    for segment in segments {
        if let Some(name) = segment.interpreter(endian, data)? {
            links.interpreter = Some(PathBuf::from(OsStr::from_bytes(name)));
        }
        dynamic = dynamic.or(segment.dynamic(endian, data)?);
    }
    let entries = dynamic.unwrap_or_default();
    let value = |tag: u32| {
        entries
            .iter()
            .find(|entry| entry.tag32(endian) == Some(tag))
            .map(|entry| entry.d_val(endian))
    };
    let (Some(strings), Some(size)) = (value(elf::DT_STRTAB), value(elf::DT_STRSZ)) else {
        return Ok(links);
    };
    // An address in memory; the segments say where that is in the file. Only the names are
    // read: a segment of a large library is mostly code.
    let mut table: &[u8] = &[];
    for segment in segments {
        let into = strings.checked_sub(segment.p_vaddr(endian));
        let Some(into) = into.filter(|into| *into < segment.p_filesz(endian)) else {
            continue;
        };
        let rest = segment.p_filesz(endian) - into;
        let at = segment.p_offset(endian).checked_add(into);
        let found = at.and_then(|at| data.read_bytes_at(at, size.min(rest).min(LARGEST)).ok());
        table = found.unwrap_or(table);
    }
    for entry in entries {
        let to = match entry.tag32(endian) {
            Some(elf::DT_NEEDED) => &mut links.needed,
            Some(elf::DT_RUNPATH | elf::DT_RPATH) => &mut links.search,
            _ => continue,
        };
        let start = usize::try_from(entry.d_val(endian)).unwrap_or(usize::MAX);
        let text = table.get(start..).unwrap_or_default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        to.push(OsStr::from_bytes(text).to_owned());
    }
    Ok(links)
}

/// The loader, and every library that is needed, directly or not, by the path by which
/// the loader finds it. Empty for a static program.
pub(crate) fn closure(program: &Path) -> Result<Vec<PathBuf>, String> {
    let of = |path: &Path, error: io::Error| format!("{}: {error}", shown(path));
    let Some(links) = links(program).map_err(|error| of(program, error))? else {
        return Err("it is not an ELF file: name what a script needs by --bind-ro".into());
    };
    let Some(interpreter) = links.interpreter.clone() else {
        return Ok(Vec::new());
    };
    let machine = links.machine;
    let places = places();
    let mut found =
        BTreeSet::from([regular(&interpreter).map_err(|error| of(&interpreter, error))?]);
    let mut names: BTreeSet<OsString> = interpreter
        .file_name()
        .map(ToOwned::to_owned)
        .into_iter()
        .collect();
    let mut todo = vec![(program.to_owned(), links)];
    while let Some((path, links)) = todo.pop() {
        let own = search(&path, &links.search);
        for name in links.needed {
            if !names.insert(name.clone()) {
                continue;
            }
            let mut candidates = own.iter().chain(&places).map(|place| place.join(&name));
            let library = candidates
                .find_map(|candidate| {
                    let links = self::links(&candidate).ok()??;
                    (links.machine == machine).then_some((candidate, links))
                })
                .ok_or_else(|| {
                    format!(
                        "{} needs {}, which is not found",
                        shown(&path),
                        shown(Path::new(&name))
                    )
                })?;
            found.insert(regular(&library.0).map_err(|error| of(&library.0, error))?);
            todo.push(library);
            if found.len() > MOST {
                return Err(format!("it needs more than {MOST} libraries"));
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// A file, by an absolute path.
fn regular(path: &Path) -> io::Result<PathBuf> {
    let kind = fs::metadata(path)?.file_type();
    if path.is_absolute() && kind.is_file() && !kind.is_fifo() {
        return Ok(path.to_owned());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "not a file by an absolute path",
    ))
}

/// The places that a file names itself; `$ORIGIN` is its own.
fn search(path: &Path, texts: &[OsString]) -> Vec<PathBuf> {
    let origin = path
        .parent()
        .unwrap_or(Path::new("/"))
        .as_os_str()
        .as_bytes();
    let mut places = Vec::new();
    for place in texts
        .iter()
        .flat_map(|text| text.as_bytes().split(|byte| *byte == b':'))
    {
        let rest = place
            .strip_prefix(b"$ORIGIN")
            .or(place.strip_prefix(b"${ORIGIN}"));
        let place = rest.map_or(place.to_vec(), |rest| [origin, rest].concat());
        let place = PathBuf::from(OsStr::from_bytes(&place));
        if place.is_absolute() {
            places.push(clean(&place));
        }
    }
    places
}

/// Without `..`, which a root that is made of names cannot have.
fn clean(path: &Path) -> PathBuf {
    let up = path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    match fs::canonicalize(path) {
        Ok(real) if up => real,
        _ => path.to_owned(),
    }
}

/// Where libraries are on this machine.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    configured(Path::new(CONFIGURED), &mut places, 0);
    places.extend(DEFAULT.map(PathBuf::from));
    places
}

/// A line is a directory, or `include` and a pattern, of which the last part may have a `*`.
fn configured(file: &Path, places: &mut Vec<PathBuf>, depth: u32) {
    let text = fs::read_to_string(file).unwrap_or_default();
    for line in text.lines().map(str::trim) {
        if let Some(pattern) = line.strip_prefix("include ") {
            for file in included(pattern.trim()).into_iter().filter(|_| depth < 4) {
                configured(&file, places, depth + 1);
            }
        } else if line.starts_with('/') {
            places.push(line.into());
        }
    }
}

fn included(pattern: &str) -> Vec<PathBuf> {
    let pattern = Path::new("/etc").join(pattern);
    let (Some(directory), Some(name)) = (
        pattern.parent(),
        pattern.file_name().and_then(OsStr::to_str),
    ) else {
        return Vec::new();
    };
    let Some((start, end)) = name.split_once('*') else {
        return vec![pattern];
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        })
        .collect();
    files.sort();
    files
}

fn shown(path: &Path) -> String {
    crate::confine::root::Shown(path).to_string()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The loader's word for it.
    fn by_the_loader(program: &Path) -> Vec<PathBuf> {
        let output = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text.split_whitespace().filter(|word| word.starts_with('/'));
        words.map(|word| fs::canonicalize(word).unwrap()).collect()
    }

    #[test]
    fn programs_of_this_machine_are_linked_with_what_the_loader_says() {
        let this = std::env::current_exe().unwrap();
        for program in [
            "/bin/sh",
            "/bin/bash",
            "/bin/ls",
            "/usr/bin/apt",
            this.to_str().unwrap(),
        ] {
            let program = Path::new(program);
            let found = closure(program).unwrap();
            let real: BTreeSet<_> = found
                .iter()
                .map(|path| fs::canonicalize(path).unwrap())
                .collect();
            let expected: BTreeSet<_> = by_the_loader(program).into_iter().collect();
            assert!(!expected.is_empty());
            assert_eq!(real, expected, "{}", program.display());
        }
    }

    #[test]
    fn what_is_no_program_is_told() {
        assert!(
            closure(Path::new("/etc/passwd"))
                .unwrap_err()
                .contains("not an ELF")
        );
        assert!(
            closure(Path::new("/nonexistent"))
                .unwrap_err()
                .contains("No such file")
        );
        let directory = tempfile::tempdir().unwrap();
        let broken = directory.path().join("broken");
        let mut bytes = fs::read("/bin/sh").unwrap();
        for cut in [4, 16, 63, 64, 200, 1000, 5000] {
            fs::write(&broken, &bytes[..cut]).unwrap();
            let _ = closure(&broken);
        }
        for at in (0..2048).step_by(7) {
            bytes[at + 4] ^= 0xff;
            fs::write(&broken, &bytes).unwrap();
            let _ = closure(&broken);
        }
    }

    #[test]
    fn places_of_its_own() {
        let places = search(
            Path::new("/opt/dm/bin/dm"),
            &["$ORIGIN/../lib:rel:/x".into()],
        );
        assert_eq!(places, [Path::new("/opt/dm/bin/../lib"), Path::new("/x")]);
    }
}
