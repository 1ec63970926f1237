// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of `xen-requests` and `seccomp` together: which, and in what order.

use std::{io, os::fd::OwnedFd};

use seccompiler::BpfProgram;

use crate::confine::{
    Mechanism, MechanismError,
    load::{load, load_with_listener},
    not_sent, qemu,
    seccomp::{self, Denied},
    xen_requests::{self, FilterError, Mapping, Phase},
};

/// Programs in the order of loading.
///
/// Compiled before the fork, loaded in the child. The kernel takes the most severe
/// of their answers. One at most has a listener, and it comes before those that refuse
/// to load another such.
pub(crate) struct Filters {
    list: Vec<(Mechanism, Filter)>,
    /// When the listener was sent, which this refuses.
    last: Option<BpfProgram>,
}

enum Filter {
    Plain(BpfProgram),
    /// A supervisor answers.
    Asks(BpfProgram),
}

use Filter::{Asks, Plain};

impl Filters {
    /// Of each mechanism if it is wanted, for a program that starts in `phase`, and
    /// maps its guest as `mapping` says. With `brokered` it has a descriptor that nobody else may get.
    pub(crate) fn new(
        xen_requests: bool,
        seccomp: bool,
        brokered: bool,
        phase: Phase,
        mapping: Mapping,
        denied: Denied,
    ) -> Result<Self, FilterError> {
        use Mechanism::{Seccomp, XenRequests};
        let last = brokered.then(not_sent::program).transpose()?;
        let mut filters = Vec::new();
        match (denied, phase) {
            // It says of Xen's requests what `notifying` says.
            (Denied::Notify, _) if seccomp => {
                let list = vec![(Seccomp, Asks(seccomp::program(denied, mapping)?))];
                return Ok(Self { list, last });
            }
            _ if !xen_requests => {}
            (Denied::Notify, _) => {
                filters.push((XenRequests, Asks(xen_requests::notifying(mapping)?)));
            }
            (Denied::Errno, Phase::Sealed) => {
                filters.push((XenRequests, Plain(xen_requests::sealed(mapping)?)));
            }
            (Denied::Errno, Phase::SetUp) => {
                let programs = xen_requests::supervised(mapping)?;
                let both = [Plain(programs.never), Asks(programs.until_sealed)];
                filters.extend(both.map(|filter| (XenRequests, filter)));
            }
        }
        if seccomp {
            filters.push((Seccomp, Plain(seccomp::program(denied, mapping)?)));
        }
        Ok(Self {
            list: filters,
            last,
        })
    }

    /// For a QEMU that gives root up itself, which one of them asks about.
    pub(crate) fn of_qemu(seccomp: bool, denied: Denied) -> Result<Self, FilterError> {
        use Mechanism::{Seccomp, XenRequests};
        let list = match denied {
            Denied::Notify => vec![(Seccomp, Asks(qemu::allowing(denied)?))],
            Denied::Errno => {
                // Those are asked about.
                let never = xen_requests::sealed_but(qemu::XENS)?;
                let mut list = vec![
                    (XenRequests, Plain(never)),
                    (XenRequests, Asks(qemu::asking()?)),
                ];
                if seccomp {
                    list.push((Seccomp, Plain(qemu::allowing(denied)?)));
                }
                list
            }
        };
        Ok(Self { list, last: None })
    }

    /// In the order of loading.
    pub(crate) fn programs(&self) -> Vec<BpfProgram> {
        let programs = self
            .list
            .iter()
            .map(|(_, Plain(program) | Asks(program))| program);
        programs.chain(&self.last).cloned().collect()
    }

    /// Of our init.
    pub(crate) fn for_init(seccomp: bool) -> Result<Self, FilterError> {
        let list = match seccomp {
            true => vec![(Mechanism::Seccomp, Plain(seccomp::init()?))],
            false => Vec::new(),
        };
        Ok(Self { list, last: None })
    }

    /// Loads them for the calling thread, in a forked child for example: system calls
    /// only. No-new-privs is on, or the thread has CAP_SYS_ADMIN.
    ///
    /// The descriptor is the supervisor's. A program that keeps it approves its own
    /// requests; it is close-on-exec.
    ///
    /// # Errors
    /// The kernel's, with the mechanism whose filter it refused.
    pub(crate) fn load(&self) -> Result<Option<OwnedFd>, MechanismError> {
        let mut listener = None;
        for (mechanism, filter) in &self.list {
            let loaded = match filter {
                Plain(program) => load(program).map(|()| None),
                Asks(program) => load_with_listener(program).map(Some),
            };
            let loaded = loaded.map_err(|error| refused(*mechanism, error))?;
            listener = loaded.or(listener);
        }
        Ok(listener)
    }

    /// Loads the one that is left. No-new-privs is on.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn load_last(&self) -> Result<(), MechanismError> {
        let loaded = self.last.as_ref().map(|program| load(program).map(drop));
        loaded
            .unwrap_or(Ok(()))
            .map_err(|error| refused(Mechanism::XenRequests, error))
    }
}

fn refused(mechanism: Mechanism, error: io::Error) -> MechanismError {
    let text = error.to_string();
    let reason = match FilterError::from(error) {
        refused @ FilterError::Refused(_) => format!("{refused}: {text}"),
        other => other.to_string(),
    };
    MechanismError::new(mechanism, reason, "see `dm-restrict doctor`")
}

#[cfg(test)]
mod tests;
