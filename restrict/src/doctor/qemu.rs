// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xl starts for HVM guests, and what could be in its place.

use std::path::Path;

use super::{host::Host, report::Finding};
use crate::launch::{QEMU_OVERRIDE, QEMU_PROGRAMS};

pub(super) fn override_of_xl(_: &Host) -> Finding {
    let there = |path: &&str| Path::new(path).is_file();
    let Some(program) = QEMU_PROGRAMS.iter().find(|path| there(path)) else {
        return Finding::missing(
            "no QEMU for Xen where distributions have it",
            "for HVM guests: Debian's package qemu-system-xen, or its path in /etc/dm-restrict/qemu.conf",
        );
    };
    if !there(&QEMU_OVERRIDE) {
        return Finding::partly(
            format!("{program}, and nothing at {QEMU_OVERRIDE}"),
            format!("ln -s \"$(command -v dm-restrict)\" {QEMU_OVERRIDE}"),
        );
    }
    Finding::offered(format!(
        "{program}; in a guest's config: dm_restrict=1 device_model_version=\"qemu-xen\" \
         device_model_override=\"{QEMU_OVERRIDE}\""
    ))
}
