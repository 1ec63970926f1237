// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `landlock`: what a process can name in the file system, and whom it
//! can reach by signals, TCP, UDP and sockets with a name, whatever its uid may do.
//!
//! The kernel's newest rights are all refused, then given back for the named paths.
//! What is open already stays open.

use std::{
    error::Error,
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
};

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus,
    Scope,
};
use nix::errno::Errno;

use super::mechanism::{Mechanism, MechanismError};

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: libc::c_ulong = 1;
/// The modules that the kernel runs, in order.
const RUNNING: &str = "/sys/kernel/security/lsm";

/// The version of Landlock that the kernel has, from 1 (Linux 5.13) on.
///
/// # Errors
/// The kernel does not offer it: why, and how to get it.
pub fn abi() -> Result<u32, MechanismError> {
    // SAFETY: with this flag the call reads nothing and returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0_usize, 0_usize, VERSION) };
    match Errno::result(version) {
        Ok(version) => u32::try_from(version).map_err(|_| refused("ask for its version", &version)),
        Err(Errno::EOPNOTSUPP) => Err(MechanismError::new(
            Mechanism::Landlock,
            "the kernel has it and does not run it",
            format!(
                "boot with lsm={}",
                with_landlock(fs::read_to_string(RUNNING).ok())
            ),
        )),
        Err(Errno::ENOSYS) => Err(MechanismError::new(
            Mechanism::Landlock,
            "the kernel does not have it",
            "use Linux 5.13 or later, built with CONFIG_SECURITY_LANDLOCK",
        )),
        Err(errno) => Err(refused("ask for its version", &errno)),
    }
}

/// The value that adds it to the modules that run.
fn with_landlock(running: Option<String>) -> String {
    let running = running.as_deref().map_or("", str::trim);
    match running {
        "" => "landlock,... (before the modules of today, as the kernel's log has them)".into(),
        _ => format!("landlock,{running}"),
    }
}

/// Refuses the calling process all that Landlock knows of, for good and for its
/// children too, and gives back: reading and executing beneath `read_only`, everything
/// but making devices beneath `read_write`.
///
/// A path is a directory or a file, as the process sees it now. Requests on a device
/// that is opened from here on are for a device that is named itself, not for one
/// somewhere beneath. TCP is refused from version 4 of Landlock on, signals and
/// abstract sockets that lead out from 6, sockets in the file system that others made
/// from 9 (but beneath `read_write`), UDP from 10.
///
/// It reaches all threads from version 8 on; before, the calling one and those that
/// it starts later: see [`reaches_all_threads`]. no-new-privs must be on, or the
/// process have CAP_SYS_ADMIN.
///
/// # Errors
/// The kernel does not offer it; a path cannot be opened; the kernel refuses. Then
/// nothing was changed.
pub fn restrict(read_only: &[PathBuf], read_write: &[PathBuf]) -> Result<(), MechanismError> {
    let rights = Rights::of(abi()?);
    let read_only = read_only.iter().map(|path| (path, rights.read()));
    let read_write = read_write.iter().map(|path| (path, rights.all()));
    let mut ruleset = made(rights.ruleset())?;
    for (path, allowed) in read_only.chain(read_write) {
        let found = opened(path).map_err(|error| not_named(path, &error))?;
        ruleset = with(ruleset, path, found, allowed)?;
    }
    enforce(ruleset, rights.reach_all_threads())
}

/// Refuses the calling thread, and what it starts, to read, write and execute files, and to list
/// directories, but beneath these paths, as [`restrict`] has it; and nothing else. Of a path that
/// is not there nothing is allowed.
pub(crate) fn restrict_files(
    read_only: &[PathBuf],
    read_write: &[PathBuf],
) -> Result<(), MechanismError> {
    let of_file = AccessFs::Execute | AccessFs::ReadFile;
    let read = [of_file, of_file | AccessFs::ReadDir];
    let all = read.map(|read| read | AccessFs::WriteFile);
    let read_only = read_only.iter().map(|path| (path, read));
    let read_write = read_write.iter().map(|path| (path, all));
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all[1]);
    let mut ruleset = made(ruleset)?;
    for (path, allowed) in read_only.chain(read_write) {
        match opened(path) {
            Ok(found) => ruleset = with(ruleset, path, found, allowed)?,
            Err(_) if !path.exists() => {}
            Err(error) => return Err(not_named(path, &error)),
        }
    }
    enforce(ruleset, false)
}

fn made(
    ruleset: Result<Ruleset, ::landlock::RulesetError>,
) -> Result<RulesetCreated, MechanismError> {
    ruleset
        .and_then(Ruleset::create)
        .map_err(|error| refused("make a ruleset", &error))
}

fn with(
    ruleset: RulesetCreated,
    path: &Path,
    (fd, is_dir): (PathFd, bool),
    [of_file, of_directory]: [BitFlags<AccessFs>; 2],
) -> Result<RulesetCreated, MechanismError> {
    let rule = PathBeneath::new(fd, if is_dir { of_directory } else { of_file });
    ruleset
        .add_rule(rule)
        .map_err(|error| not_named(path, &error))
}

fn enforce(ruleset: RulesetCreated, all_threads: bool) -> Result<(), MechanismError> {
    let status = ruleset
        .no_new_privs(false)
        .all_threads(all_threads)
        .and_then(RulesetCreated::restrict_self)
        .map_err(|error| refused("restrict the process", &error))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        other => Err(refused("restrict the process", &format_args!("{other:?}"))),
    }
}

/// Whether [`restrict`] reaches the threads that exist already, where Landlock has
/// this version.
#[must_use]
pub fn reaches_all_threads(abi: u32) -> bool {
    Rights::of(abi).reach_all_threads()
}

/// What the kernel knows to refuse.
#[derive(Clone, Copy)]
struct Rights(ABI);

impl Rights {
    fn of(abi: u32) -> Self {
        Self(ABI::from(i32::try_from(abi).unwrap_or(i32::MAX)))
    }

    /// All of them, refused.
    fn ruleset(self) -> Result<Ruleset, ::landlock::RulesetError> {
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(self.0))?;
        // An empty set is an error to the crate.
        let (net, scope) = (AccessNet::from_all(self.0), Scope::from_all(self.0));
        if !net.is_empty() {
            ruleset = ruleset.handle_access(net)?;
        }
        if !scope.is_empty() {
            ruleset = ruleset.scope(scope)?;
        }
        Ok(ruleset)
    }

    /// For reading: of a file, and of a directory.
    fn read(self) -> [BitFlags<AccessFs>; 2] {
        let read = AccessFs::from_read(self.0);
        [read & AccessFs::from_file(self.0), read]
    }

    /// For everything: of a file, and of a directory.
    fn all(self) -> [BitFlags<AccessFs>; 2] {
        let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
        [
            AccessFs::from_file(self.0),
            AccessFs::from_all(self.0) & !devices,
        ]
    }

    fn reach_all_threads(self) -> bool {
        self.0 >= ABI::V8
    }
}

/// The path, opened for naming it only, and whether it is a directory.
fn opened(path: &Path) -> Result<(PathFd, bool), Box<dyn Error>> {
    let fd = PathFd::new(path).map_err(|error| match error {
        // Without the path, which the message has.
        ::landlock::PathFdError::OpenCall { source, .. } => Box::new(source) as Box<dyn Error>,
        other => Box::new(other),
    })?;
    let kind = nix::sys::stat::fstat(&fd).map_err(io::Error::from)?.st_mode & libc::S_IFMT;
    Ok((fd, kind == libc::S_IFDIR))
}

fn not_named(path: &Path, error: &dyn Display) -> MechanismError {
    MechanismError::new(
        Mechanism::Landlock,
        format!("allow {path:?}: {error}"),
        "name paths that exist in the new root and that its user may reach",
    )
}

fn refused(what: &str, error: &dyn Display) -> MechanismError {
    MechanismError::new(
        Mechanism::Landlock,
        format!("{what}: {error}"),
        "no-new-privs has to be on, at most 15 rulesets before this one, and no container's \
         filter in the way; or leave it out by `--without landlock`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_option_keeps_what_runs() {
        assert_eq!(
            with_landlock(Some("capability,yama\n".into())),
            "landlock,capability,yama"
        );
        assert!(with_landlock(None).starts_with("landlock,..."));
    }

    #[test]
    fn no_version_lets_devices_be_made_or_asked_beneath_a_directory() {
        for abi in 1..=20 {
            let [file, directory] = Rights::of(abi).all();
            let all = AccessFs::from_all(Rights::of(abi).0);
            let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
            assert_eq!(directory | (devices & all), all, "{abi}");
            assert!(
                !directory.intersects(devices) && all.contains(file),
                "{abi}"
            );
            let [file, directory] = Rights::of(abi).read();
            assert_eq!(file, AccessFs::Execute | AccessFs::ReadFile);
            assert_eq!(directory, file | AccessFs::ReadDir);
        }
    }

    #[test]
    fn an_unknown_newer_version_is_the_newest_known() {
        assert_eq!(Rights::of(u32::MAX).0, ABI::V10);
        assert!(reaches_all_threads(8) && !reaches_all_threads(7));
    }
}
