// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this Linux has of what came over the years.

use std::io;

use nix::errno::Errno;

use super::{
    host::{Host, in_thread},
    report::Finding,
};
use crate::confine::{
    load::load_with_listener,
    no_new_privs,
    xen_requests::{self, Mapping},
};

/// The oldest that has been tested.
const TESTED: (u32, u32) = (5, 10);
/// privcmd's and evtchn's.
const RESTRICT: (u32, u32) = (4, 11);
/// That a call can be let through after a look at it.
const CONTINUE: (u32, u32) = (5, 5);

pub(super) fn linux(host: &Host) -> Finding {
    match host.version {
        Some(version) if version >= TESTED => Finding::offered(&host.release),
        Some(_) => Finding::partly(
            format!("{}, older than any that was tested", host.release),
            "use Linux 5.10 or later",
        ),
        None => host.since(TESTED, ""),
    }
}

pub(super) fn restrict_requests(host: &Host) -> Finding {
    host.since(RESTRICT, "privcmd and evtchn cannot be restricted")
}

/// A program that does not seal itself is asked about what it may do until then.
pub(super) fn user_notification(host: &Host) -> Finding {
    let since = host.since(CONTINUE, "a supervisor cannot let a call through");
    if since.state != super::State::Offered {
        return since;
    }
    let trial = || -> io::Result<()> {
        no_new_privs::set().map_err(io::Error::other)?;
        let program = xen_requests::notifying(Mapping::Always).map_err(io::Error::other)?;
        load_with_listener(&program).map(drop)
    };
    match in_thread(trial) {
        Some(Ok(())) => since,
        Some(Err(error)) if error.raw_os_error() == Some(libc::EBUSY) => Finding::missing(
            "a sandbox around this process has it already, and one can have it",
            "start it outside of that container; or use `run --seal-after 0`",
        ),
        Some(Err(error)) => Finding::not(
            host.refused(),
            error.to_string(),
            "use a kernel with CONFIG_SECCOMP_FILTER; or use `run --seal-after 0`",
        ),
        None => Finding::unknown(
            "the trial did not end well",
            "report this, with the kernel's version",
        ),
    }
}

/// Answers to a call that can do nothing, on a descriptor that is not open.
pub(super) fn syscall(number: libc::c_long) -> Errno {
    // SAFETY: -1 is no descriptor, and null pointers of no length are not followed.
    let result = unsafe { libc::syscall(number, -1, 0_usize, 0_usize, 0_usize, 0_usize) };
    Errno::result(result).err().unwrap_or(Errno::UnknownErrno)
}

pub(super) fn mount_setattr(_: &Host) -> Finding {
    match syscall(libc::SYS_mount_setattr) {
        Errno::ENOSYS => Finding::partly(
            "what is mounted below a path of --bind-ro is left out of the program's root",
            "use Linux 5.12 or later, or name each of these paths",
        ),
        _ => Finding::offered("since Linux 5.12"),
    }
}

pub(super) fn pidfd_getfd(_: &Host) -> Finding {
    match syscall(libc::SYS_pidfd_getfd) {
        Errno::ENOSYS => Finding::missing(
            "no descriptor of another process can be looked at",
            "use Linux 5.6 or later",
        ),
        _ => Finding::offered("since Linux 5.6"),
    }
}
