// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xl starts for HVM guests, and what could be in its place.

use std::path::Path;

use nix::errno::Errno;

use super::{
    host::Host,
    kernel::syscall,
    report::{Finding, State},
};
use crate::confine::cgroup::has_scopes;
use crate::launch::{QEMU_OVERRIDE, QEMU_PROGRAMS};

/// That a call is answered with a descriptor, at once (`SECCOMP_ADDFD_FLAG_SEND`).
const ANSWERED_WITH_FD: (u32, u32) = (5, 14);

pub(super) fn override_of_xl(host: &Host) -> Finding {
    let there = |path: &&str| Path::new(path).is_file();
    let Some(program) = QEMU_PROGRAMS.iter().find(|path| there(path)) else {
        return Finding::missing(
            "no QEMU for Xen where distributions have it",
            "for HVM guests: Debian's package qemu-system-xen, or its path in /etc/dm-restrict/qemu.conf",
        );
    };
    let since = host.since(
        ANSWERED_WITH_FD,
        "QEMU cannot be given what it needs while it is root",
    );
    if since.state != State::Offered {
        return since;
    }
    if syscall(libc::SYS_kcmp) == Errno::ENOSYS {
        return Finding::missing(
            "whose files QEMU's threads have cannot be asked, so it is not proved to have given up root",
            "use a kernel with CONFIG_KCMP and CONFIG_CHECKPOINT_RESTORE",
        );
    }
    if !there(&QEMU_OVERRIDE) {
        return Finding::partly(
            format!("{program}, and nothing at {QEMU_OVERRIDE}"),
            format!("ln -s \"$(command -v dm-restrict)\" {QEMU_OVERRIDE}"),
        );
    }
    let group = match has_scopes() {
        Ok(true) => "; systemd makes its control group",
        Ok(false) => "",
        Err(error) => return Finding::partly(error.reason, error.remedy),
    };
    Finding::offered(format!(
        "{program}{group}; in a guest's config: dm_restrict=1 device_model_version=\"qemu-xen\" \
         device_model_override=\"{QEMU_OVERRIDE}\""
    ))
}
