// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of `xen-requests` and `seccomp` together: which, and in what order.

use std::{io, os::fd::OwnedFd};

use seccompiler::BpfProgram;

use crate::confine::{
    load::{load, load_with_listener},
    seccomp::{self, Denied},
    xen_requests::{self, FilterError, Phase},
};

/// Programs in the order of loading.
///
/// Compiled before the fork, loaded in the child. The kernel takes the most severe
/// of their answers. One at most has a listener, and it comes before those that refuse
/// to load another such.
pub(crate) struct Filters(Vec<Filter>);

enum Filter {
    Plain(BpfProgram),
    /// A supervisor answers.
    Asks(BpfProgram),
}

use Filter::{Asks, Plain};

impl Filters {
    /// Of each mechanism if it is wanted, for a program that starts in `phase`.
    pub(crate) fn new(
        xen_requests: bool,
        seccomp: bool,
        phase: Phase,
        denied: Denied,
    ) -> Result<Self, FilterError> {
        let mut filters = Vec::new();
        match (denied, phase) {
            // It says of Xen's requests what `notifying` says.
            (Denied::Notify, _) if seccomp => {
                filters.push(Asks(seccomp::program(denied)?));
                return Ok(Self(filters));
            }
            _ if !xen_requests => {}
            (Denied::Notify, _) => filters.push(Asks(xen_requests::notifying()?)),
            (Denied::Errno, Phase::Sealed) => filters.push(Plain(xen_requests::sealed()?)),
            (Denied::Errno, Phase::SetUp) => {
                let programs = xen_requests::supervised()?;
                filters.extend([Plain(programs.never), Asks(programs.until_sealed)]);
            }
        }
        if seccomp {
            filters.push(Plain(seccomp::program(denied)?));
        }
        Ok(Self(filters))
    }

    /// Of a helper that needs nothing beyond the allowlist, if there is one.
    pub(crate) fn for_init(seccomp: bool) -> Result<Self, FilterError> {
        Self::new(false, seccomp, Phase::Sealed, Denied::Errno)
    }

    /// Whether [`load`](Self::load) gives a descriptor, for which a supervisor is needed.
    pub(crate) fn ask(&self) -> bool {
        self.0.iter().any(|filter| matches!(filter, Asks(_)))
    }

    /// Loads them for the calling thread, in a forked child for example: system calls
    /// only. No-new-privs is on, or the thread has CAP_SYS_ADMIN.
    ///
    /// The descriptor is the supervisor's. A program that keeps it approves its own
    /// requests; it is close-on-exec.
    ///
    /// # Errors
    /// The kernel's: [`FilterError`] knows what it means.
    pub(crate) fn load(&self) -> io::Result<Option<OwnedFd>> {
        let mut listener = None;
        for filter in &self.0 {
            match filter {
                Plain(program) => load(program)?,
                Asks(program) => listener = Some(load_with_listener(program)?),
            }
        }
        Ok(listener)
    }
}
