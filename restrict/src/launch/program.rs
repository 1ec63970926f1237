// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which file the program is, and what it is linked with.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use super::{error::LaunchError, linked};
use crate::confine::root::absolute;

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
pub(crate) fn interpreter(program: &Path) -> Option<PathBuf> {
    linked::links(program).ok()??.interpreter
}

/// The files that it needs before its `main`.
pub(crate) fn linked(program: &Path) -> Result<Vec<PathBuf>, LaunchError> {
    linked::closure(program).map_err(|reason| LaunchError::Linked {
        program: program.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_and_its_loader() {
        let shell = find(Path::new("sh")).unwrap();
        let loader = interpreter(&shell).unwrap();
        let linked = linked(&shell).unwrap();
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
