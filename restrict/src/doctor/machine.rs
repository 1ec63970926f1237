// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who asks, and what of the machine stands in the way.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use nix::{
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, faccessat},
};

use super::{
    host::{Host, with_causes},
    report::{Finding, State},
};
use crate::{confine::sees_all, launch::RUN_DIR};

/// What a launcher uses, by the numbers of `linux/capability.h`.
const CAPABILITIES: [(u32, &str); 8] = [
    (2, "CAP_DAC_READ_SEARCH"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (8, "CAP_SETPCAP"),
    (18, "CAP_SYS_CHROOT"),
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
];
const PTRACE_SCOPE: &str = "/proc/sys/kernel/yama/ptrace_scope";
const LSM: &str = "/sys/kernel/security/lsm";

pub(super) fn privileges(host: &Host) -> Finding {
    if !host.root {
        return Finding::missing("this is not root", "run it as root");
    }
    let lacks = |(number, _): &(u32, _)| host.capabilities & (1 << number) == 0;
    let names: Vec<_> = CAPABILITIES
        .into_iter()
        .filter(lacks)
        .map(|(_, name)| name)
        .collect();
    match names.as_slice() {
        [] => Finding::offered("root, with the capabilities that a launcher uses"),
        names => Finding::missing(
            format!("root without {}", names.join(", ")),
            "start it outside of containers, and of units with CapabilityBoundingSet=",
        ),
    }
}

/// What `reap` looks through, before a start and after the end.
pub(super) fn all_processes(host: &Host) -> Finding {
    match sees_all() {
        Ok(()) => Finding::offered("/proc shows all processes of the machine"),
        Err(error) => Finding::told(host.refused(), &with_causes(&error)),
    }
}

pub(super) fn run_directory(_: &Host) -> Finding {
    let made = fs::symlink_metadata(RUN_DIR);
    if let Ok(metadata) = &made
        && (!metadata.is_dir() || metadata.uid() != 0 || metadata.mode() & 0o022 != 0)
    {
        return Finding::missing(
            format!("others than root can write to {RUN_DIR}, or it is no directory"),
            format!("chown root {RUN_DIR}; chmod 755 {RUN_DIR}"),
        );
    }
    let directory = if made.is_ok() { RUN_DIR } else { "/run" };
    match faccessat(AT_FDCWD, directory, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
        Ok(()) => Finding::offered(format!("{directory} can be written")),
        Err(errno) => Finding::missing(
            format!("write to {directory}: {}", io::Error::from(errno)),
            "run it as root, where /run is a file system that can be written",
        ),
    }
}

/// Looking at another process's descriptors is tracing, to the kernel.
pub(super) fn yama(_: &Host) -> Finding {
    match fs::read_to_string(PTRACE_SCOPE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::offered("not in this kernel")
        }
        Ok(scope) if matches!(scope.trim(), "0" | "1" | "2") => Finding::offered(format!(
            "{PTRACE_SCOPE} is {}: root may trace",
            scope.trim()
        )),
        Ok(scope) => Finding::missing(
            format!("{PTRACE_SCOPE} is {:?}: nobody may trace", scope.trim()),
            "boot with kernel.yama.ptrace_scope of 2 at most: it cannot be lowered",
        ),
        Err(error) => Finding::unknown(format!("{PTRACE_SCOPE}: {error}"), "run it as root"),
    }
}

pub(super) fn lsm(_: &Host) -> Finding {
    let list = match fs::read_to_string(LSM) {
        Ok(list) => list.trim().escape_debug().to_string(),
        Err(error) if Path::new("/sys/kernel/security").exists() => {
            return Finding::unknown(
                format!("{LSM}: {error}"),
                "mount -t securityfs securityfs /sys/kernel/security",
            );
        }
        Err(_) => return Finding::offered("none: the kernel has no security modules"),
    };
    let labels = |name: &&str| matches!(*name, "selinux" | "apparmor" | "smack" | "tomoyo");
    match list.split(',').find(labels) {
        None => Finding::offered(list),
        Some(name) => Finding::not(
            State::Partly,
            format!(
                "{name} runs: with no-new-privs, exec does not change to the program's own domain"
            ),
            "nothing, if the launcher's domain will do; else load the program's policy for that",
        ),
    }
}
