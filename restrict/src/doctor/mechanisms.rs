// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each mechanism, tried where a thread can try it.

use std::{io, path::Path};

use super::{
    host::Host,
    report::{Finding, State},
    users,
};
use crate::confine::{
    Mechanism, MechanismError, capabilities, cgroup, keyring, landlock,
    load::load,
    namespaces, no_new_privs,
    root::{self, Change, Contents},
    seccomp::{self, Denied},
    xen_requests::{self, FilterError, Mapping},
};

pub(super) fn look(mechanism: Mechanism, host: &Host) -> Finding {
    match mechanism {
        Mechanism::Identity => users::identity(host),
        Mechanism::Capabilities => {
            host.tried(capabilities::give_up_for_good, "can be given up for good")
        }
        Mechanism::NoNewPrivs => host.tried(no_new_privs::set, "can be set"),
        Mechanism::XenRequests => filter(mechanism, host, || xen_requests::sealed(Mapping::Always)),
        Mechanism::Seccomp => filter(mechanism, host, || {
            seccomp::program(Denied::Errno, Mapping::Always)
        }),
        Mechanism::MountNs => namespace(mechanism, "mnt", host),
        Mechanism::IpcNs => namespace(mechanism, "ipc", host),
        Mechanism::NetNs => namespace(mechanism, "net", host),
        Mechanism::PidNs => namespace(mechanism, "pid", host),
        Mechanism::UtsNs => namespace(mechanism, "uts", host),
        Mechanism::CgroupNs => namespace(mechanism, "cgroup", host),
        Mechanism::Root => host.tried(new_root, "a new one can be built and entered"),
        Mechanism::Landlock => landlock(),
        Mechanism::Cgroup => match cgroup::probe() {
            Ok(parent) => Finding::offered(format!("beneath {:?}", parent.path())),
            Err(error) => Finding::missing(error.reason, error.remedy),
        },
        Mechanism::Fds => close_range(),
        Mechanism::Keyring => host.tried(keyring::join_new, "a new one can be had"),
        Mechanism::Rlimits
        | Mechanism::Env
        | Mechanism::ParentDeath
        | Mechanism::Umask
        | Mechanism::Session => Finding::offered("every Linux has it"),
    }
}

fn namespace(mechanism: Mechanism, file: &str, host: &Host) -> Finding {
    if host.root || !Path::new("/proc/self/ns").join(file).exists() {
        return host.tried(move || namespaces::own(mechanism), "a new one can be had");
    }
    Finding::offered("the kernel has it; only root can try it")
}

fn filter(
    mechanism: Mechanism,
    host: &Host,
    program: fn() -> Result<seccompiler::BpfProgram, FilterError>,
) -> Finding {
    let trial = move || {
        no_new_privs::set()?;
        let loaded = program().and_then(|program| Ok(load(&program)?));
        loaded.map_err(|error: FilterError| {
            MechanismError::new(
                mechanism,
                format!("load its filter: {}", super::host::with_causes(&error)),
                "use a kernel with CONFIG_SECCOMP_FILTER, and start it outside of containers",
            )
        })
    };
    host.tried(trial, "its filter can be loaded")
}

fn new_root() -> Result<(), MechanismError> {
    namespaces::own(Mechanism::MountNs)?;
    root::enter(&Contents::default(), &[], Change::Pivot).map(drop)
}

/// Not tried: from version 8 on, it would be for all threads.
fn landlock() -> Finding {
    const SCOPES: u32 = 6;
    match landlock::abi() {
        Ok(version @ SCOPES..) => Finding::offered(format!("version {version}")),
        Ok(version) => Finding::partly(
            format!("version {version}, which does not keep signals and abstract sockets in"),
            "use Linux 6.12 or later; the namespaces keep them in as well",
        ),
        Err(error) => Finding::missing(error.reason, error.remedy),
    }
}

fn close_range() -> Finding {
    // SAFETY: a range that ends before it begins closes nothing.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 1, 0, 0) };
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EINVAL) if result != 0 => Finding::offered("close_range is there"),
        Some(libc::ENOSYS) => {
            Finding::missing("the kernel has no close_range", "use Linux 5.9 or later")
        }
        other => Finding::not(
            State::Unknown,
            format!("close_range answers {other:?} to a range that makes no sense"),
            "start it outside of containers: their filter may stand in the way",
        ),
    }
}
