// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `capabilities`: none, in any of the five sets, and no way to get
//! one by exec of a file or by being uid 0.
//!
//! In two steps, as the change of the uid comes between: it takes the capability
//! that the first step needs.

use std::io;

use nix::errno::Errno;

use super::mechanism::{Mechanism, MechanismError};

/// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`.
const VERSION: u32 = 0x2008_0522;
/// The highest number that a set has room for.
const MOST: libc::c_ulong = 63;
/// Of `linux/securebits.h`: NOROOT and NO_CAP_AMBIENT_RAISE on, NO_SETUID_FIXUP and
/// KEEP_CAPS off (with either, leaving uid 0 would keep sets), each with its lock.
const SECUREBITS: libc::c_ulong = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7;

/// The same without NOROOT: exec as uid 0 gives what the bounding set has left.
const SECUREBITS_OF_ROOT: libc::c_ulong = SECUREBITS & !1;

/// A set of capabilities by number, bit by bit.
pub(crate) type Set = u64;

pub(crate) const fn bit(capability: u32) -> Set {
    1 << capability
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties the bounding and ambient sets and locks the secure bits. Needs CAP_SETPCAP.
pub(crate) fn give_up_for_good() -> Result<(), MechanismError> {
    bound(0, SECUREBITS)
}

/// Leaves a program that is executed as uid 0 with these, and nobody else with any. Needs
/// CAP_SETPCAP.
pub(crate) fn leave_root(set: Set) -> Result<(), MechanismError> {
    bound(set, SECUREBITS_OF_ROOT)?;
    keep(set)
}

fn bound(set: Set, securebits: libc::c_ulong) -> Result<(), MechanismError> {
    for capability in (0..=MOST).filter(|capability| set >> capability & 1 == 0) {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            // One more than the kernel knows.
            Err(error) if capability > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
            other => other.map_err(|error| failed("drop from the bounding set", &error))?,
        }
    }
    clear_ambient()?;
    prctl(libc::PR_SET_SECUREBITS, securebits).map_err(|error| failed("lock securebits", &error))
}

/// Empties the effective, permitted and inheritable sets, and looks.
pub(crate) fn empty() -> Result<(), MechanismError> {
    clear_ambient()?;
    keep(0)
}

/// Keeps these, effective and permitted; none is inheritable. Looks what came of it.
pub(crate) fn keep(set: Set) -> Result<(), MechanismError> {
    let low = u32::try_from(set & 0xffff_ffff).unwrap_or(0);
    let high = u32::try_from(set >> 32).unwrap_or(0);
    let data = [low, high].map(|half| Data {
        effective: half,
        permitted: half,
        inheritable: 0,
    });
    capset(&data).map_err(|error| failed("capset", &error))?;
    let now = capget().map_err(|error| failed("capget", &error))?;
    let held = |half: usize| now[half].effective | now[half].permitted;
    if held(0) != low || held(1) != high || now.iter().any(|half| half.inheritable != 0) {
        let reason = "capset succeeded, and the sets are not as asked";
        return Err(MechanismError::new(
            Mechanism::Capabilities,
            reason,
            "report this kernel",
        ));
    }
    Ok(())
}

/// That there is none after a change of the uid. (An ambient one would be permitted, too.)
pub(crate) fn are_empty() -> Result<(), MechanismError> {
    let now = capget().map_err(|error| failed("capget", &error))?;
    if now
        .iter()
        .any(|half| half.effective | half.permitted | half.inheritable != 0)
    {
        let reason = "the change of uid left some, as the launcher's secure bits say";
        let remedy = "leave `capabilities` in, or start it without SECBIT_NO_SETUID_FIXUP";
        return Err(MechanismError::new(Mechanism::Capabilities, reason, remedy));
    }
    Ok(())
}

/// That this process has all of these in effect.
pub(crate) fn have(set: Set, whose: &str) -> Result<(), MechanismError> {
    let now = capget().map_err(|error| failed("capget", &error))?;
    let effective = u64::from(now[0].effective) | u64::from(now[1].effective) << 32;
    match set & !effective {
        0 => Ok(()),
        missing => {
            let numbers: Vec<_> = (0..64)
                .filter(|at| missing >> at & 1 == 1)
                .map(|at| at.to_string())
                .collect();
            let reason = format!(
                "{whose} lacks number {} (capabilities(7))",
                numbers.join(", ")
            );
            Err(MechanismError::new(
                Mechanism::Capabilities,
                reason,
                "start it as root with all of them",
            ))
        }
    }
}

fn clear_ambient() -> Result<(), MechanismError> {
    let clear = libc::c_ulong::try_from(libc::PR_CAP_AMBIENT_CLEAR_ALL).unwrap_or_default();
    prctl(libc::PR_CAP_AMBIENT, clear).map_err(|error| failed("clear the ambient set", &error))
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: these options take numbers only.
    let result = unsafe { libc::prctl(option, argument, zero, zero, zero) };
    Errno::result(result).map(drop).map_err(Into::into)
}

fn capset(data: &[Data; 2]) -> io::Result<()> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    // SAFETY: version 3 reads a header and two structs of data; both live.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result).map(drop).map_err(Into::into)
}

fn capget() -> io::Result<[Data; 2]> {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes two structs of data, which are there, and may write
    // the header.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(result).map(|_| data).map_err(Into::into)
}

fn failed(what: &str, error: &io::Error) -> MechanismError {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => "start it as root with CAP_SETPCAP, and with securebits not locked",
        _ => "or leave it out by `--without capabilities`",
    };
    MechanismError::new(Mechanism::Capabilities, format!("{what}: {error}"), remedy)
}
