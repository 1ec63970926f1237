// SPDX-License-Identifier: MIT OR Apache-2.0
//! What sealing does: it looks, takes, and looks again. What is felt most comes last.

use std::io;

use nix::sys::prctl;
use seccompiler::BpfProgram;

use super::{
    Seal, Sealed,
    checks::{Landlock, not_root, others_have_none, proved, seen},
    supervisor::Supervisor,
    threads::Threads,
};
use crate::confine::{
    bpf::FilterError,
    capabilities, landlock,
    load::load_with_no_new_privs,
    mechanism::{
        Mechanism::{self, Capabilities, Identity, NoNewPrivs, Rlimits, Seccomp, XenRequests},
        MechanismError, Profile,
    },
    no_new_privs, rlimits, seccomp,
    xen_requests::{self, Mapping},
};

/// Of the limits, those that a program does not notice.
const LIMITS: [&str; 4] = ["core", "locks", "memlock", "msgqueue"];

pub(super) fn apply(seal: &Seal) -> Result<Sealed, MechanismError> {
    let threads = seen(Threads::of_this_process())?;
    if seal.has(Identity) {
        not_root(threads.as_ref())?;
    }
    if seal.has(Capabilities) {
        others_have_none(threads.as_ref())?;
    }
    let landlock = match seal.has(Mechanism::Landlock) {
        true => Landlock::reaching(threads.as_ref())?,
        false => Landlock::LeftOut,
    };
    let filter = Filter::of(seal)?;
    let supervisor = Supervisor::of_this_process();

    let mut applied = Vec::new();
    let taken = take(seal, &landlock, filter.as_ref(), &mut applied);
    let outcome = taken.and_then(|()| proved(threads, &applied));
    outcome.map_err(|error| after(error, &applied))?;
    if seal.has(Identity) {
        applied.push(Identity);
    }
    applied.sort_unstable();
    let told = supervisor.is_some_and(|supervisor| supervisor.tell_sealed());
    let absent = landlock.absent();
    Ok(Sealed {
        applied,
        absent,
        told,
    })
}

/// Each step that succeeds is in `applied`.
fn take(
    seal: &Seal,
    landlock: &Landlock,
    filter: Option<&Filter>,
    applied: &mut Vec<Mechanism>,
) -> Result<(), MechanismError> {
    if seal.has(Rlimits) {
        let mut limits = rlimits::of_profile(Profile::Strict, &[]);
        limits.retain(|limit| LIMITS.contains(&limit.name()));
        rlimits::lower(&limits)?;
        applied.push(Rlimits);
    }
    if seal.has(Capabilities) {
        capabilities::empty()?;
        applied.push(Capabilities);
    }
    // Is nobody's mechanism, as exec undoes it: after the capabilities, because
    // their change does so, too.
    prctl::set_dumpable(false).map_err(|errno| {
        let reason = format!("clear the dumpable flag: {}", io::Error::from(errno));
        MechanismError::new(Capabilities, reason, "report this kernel")
    })?;
    if seal.has(NoNewPrivs) {
        no_new_privs::set()?;
        applied.push(NoNewPrivs);
    }
    if matches!(landlock, Landlock::Reaches) {
        landlock::restrict(&seal.read_only, &seal.read_write)?;
        applied.push(Mechanism::Landlock);
    }
    if let Some(filter) = filter {
        load_with_no_new_privs(&filter.program).map_err(|error| filter.refused(&error))?;
        applied.extend(filter.mechanisms);
    }
    Ok(())
}

/// One program, so that all of it is loaded or nothing.
struct Filter {
    mechanisms: &'static [Mechanism],
    program: BpfProgram,
}

impl Filter {
    fn of(seal: &Seal) -> Result<Option<Self>, MechanismError> {
        type Make = fn(Mapping) -> Result<BpfProgram, FilterError>;
        let (mechanisms, make): (&'static [Mechanism], Make) =
            match (seal.has(XenRequests), seal.has(Seccomp)) {
                (true, true) => (&[XenRequests, Seccomp], seccomp::sealed),
                (false, true) => (&[Seccomp], |mapping| {
                    seccomp::program(seccomp::Denied::Errno, mapping)
                }),
                (true, false) => (&[XenRequests], xen_requests::sealed),
                (false, false) => return Ok(None),
            };
        if !seal.has(NoNewPrivs) {
            let reason = "a filter for all threads turns no-new-privs on";
            let remedy = "leave all three out: seccomp, xen-requests and no-new-privs";
            return Err(MechanismError::new(mechanisms[0], reason, remedy));
        }
        let program = make(seal.mapping).map_err(|error| {
            MechanismError::new(
                mechanisms[0],
                error.to_string(),
                "leave it out by `without`",
            )
        })?;
        Ok(Some(Self {
            mechanisms,
            program,
        }))
    }

    fn refused(&self, error: &FilterError) -> MechanismError {
        let reason = match error {
            FilterError::Refused(cause) => format!("{error}: {cause}"),
            _ => error.to_string(),
        };
        MechanismError::new(self.mechanisms[0], reason, "or leave it out by `without`")
    }
}

fn after(mut error: MechanismError, applied: &[Mechanism]) -> MechanismError {
    if !applied.is_empty() {
        let names: Vec<_> = applied.iter().map(|mechanism| mechanism.name()).collect();
        error.reason += &format!(" (in force before it, for good: {})", names.join(", "));
    }
    error
}
