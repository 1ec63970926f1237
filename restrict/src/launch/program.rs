// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file the program is, and what it is linked with.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use object::{
    LittleEndian, elf,
    read::elf::{FileHeader, ProgramHeader},
};

use super::error::LaunchError;
use crate::confine::root::{Shown, absolute};

/// Finds it as a shell does, and looks whether it can be executed.
pub(crate) fn find(program: &Path) -> Result<PathBuf, LaunchError> {
    let found = if program.as_os_str().as_bytes().contains(&b'/') {
        program.to_owned()
    } else {
        let path =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        // An empty entry means the current directory to a shell: not here.
        let mut candidates = std::env::split_paths(&path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(program));
        candidates
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| LaunchError::NotFound {
                program: program.to_owned(),
            })?
    };
    let found = absolute(&found).map_err(|error| not_executable(program, &error.to_string()))?;
    let metadata = fs::metadata(&found).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LaunchError::NotFound {
            program: program.to_owned(),
        },
        _ => not_executable(program, &error.to_string()),
    })?;
    if !metadata.is_file() {
        return Err(not_executable(program, "it is not a file"));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(not_executable(program, "nobody may execute it (chmod +x)"));
    }
    Ok(found)
}

fn not_executable(program: &Path, reason: &str) -> LaunchError {
    LaunchError::NotExecutable {
        program: program.to_owned(),
        reason: reason.to_owned(),
    }
}

/// The loader that it names, if it is linked dynamically.
pub(crate) fn interpreter(program: &Path) -> Result<Option<PathBuf>, LaunchError> {
    let data = fs::read(program).map_err(|error| not_executable(program, &error.to_string()))?;
    if data.starts_with(b"#!") {
        return Ok(None);
    }
    let found =
        interpreter_of(&data).map_err(|error| not_executable(program, &error.to_string()))?;
    Ok(found.map(|name| PathBuf::from(OsStr::from_bytes(name))))
}

fn interpreter_of(data: &[u8]) -> object::read::Result<Option<&[u8]>> {
    let header = elf::FileHeader64::<LittleEndian>::parse(data)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, data)? {
        if let Some(name) = segment.interpreter(endian, data)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The files that a dynamically linked program needs before its `main`: its loader, and
/// what the loader says it would load. The loader runs as `uid` and executes nothing of
/// the program.
pub(crate) fn linked(program: &Path, uid: u32, gid: u32) -> Result<Vec<PathBuf>, LaunchError> {
    let Some(loader) = interpreter(program)? else {
        return Ok(Vec::new());
    };
    let failed = |reason: String| LaunchError::Linked {
        program: program.to_owned(),
        reason,
    };
    let mut command = Command::new(&loader);
    command
        .arg("--list")
        .arg(program)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(uid).gid(gid);
    }
    let output = super::signals::children_leave_a_status()
        .and_then(|()| command.output())
        .map_err(|error| failed(format!("cannot run its loader {}: {error}", Shown(&loader))))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("its loader says {:?}", message.trim())));
    }
    let mut files = vec![loader];
    for line in output.stdout.split(|byte| *byte == b'\n') {
        if let Some(path) = listed(line).map_err(&failed)? {
            files.push(path);
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// A line is `NAME => PATH (ADDRESS)` or `PATH (ADDRESS)`; the kernel's own has no path.
fn listed(line: &[u8]) -> Result<Option<PathBuf>, String> {
    let line = line.trim_ascii();
    let line = match line.windows(4).position(|part| part == b" => ") {
        Some(at) => &line[at + 4..],
        None => line,
    };
    if line == b"not found" {
        return Err("a library that it is linked with is not found".into());
    }
    let end = line.windows(2).rposition(|part| part == b" (");
    let path = &line[..end.unwrap_or(line.len())];
    Ok(path
        .starts_with(b"/")
        .then(|| PathBuf::from(OsStr::from_bytes(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_loader() {
        let path = |text| Ok(Some(PathBuf::from(text)));
        assert_eq!(listed(b"\tlinux-vdso.so.1 (0x00007ffd)"), Ok(None));
        assert_eq!(
            listed(b"\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)"),
            path("/lib/x/libc.so.6")
        );
        assert_eq!(
            listed(b"\t/lib64/ld-linux-x86-64.so.2 (0x7f)"),
            path("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(
            listed(b"\tlibx => /odd (name)/libx (0x7f)"),
            path("/odd (name)/libx")
        );
        assert_eq!(listed(b""), Ok(None));
        assert!(listed(b"\tlibx.so => not found").is_err());
    }

    #[test]
    fn a_program_and_its_loader() {
        let shell = find(Path::new("sh")).unwrap();
        let loader = interpreter(&shell).unwrap().unwrap();
        let linked = linked(&shell, 65534, 65534).unwrap();
        assert!(linked.contains(&loader), "{linked:?}");
        assert!(
            linked.len() > 1 && linked.iter().all(|path| path.is_file()),
            "{linked:?}"
        );
    }

    #[test]
    fn what_is_no_program_is_told_apart() {
        let missing = find(Path::new("/nonexistent/x")).unwrap_err();
        assert!(matches!(missing, LaunchError::NotFound { .. }), "{missing}");
        let missing = find(Path::new("no-such-program-here")).unwrap_err();
        assert!(matches!(missing, LaunchError::NotFound { .. }), "{missing}");
        for path in ["/etc/passwd", "/etc"] {
            let error = find(Path::new(path)).unwrap_err();
            assert!(
                matches!(error, LaunchError::NotExecutable { .. }),
                "{error}"
            );
        }
    }
}
