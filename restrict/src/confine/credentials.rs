// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mechanism `identity`: takes the uid and gid that [`Identity`] chose, for good.
//!
//! [`Identity`]: super::Identity

use std::io;

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid},
};

use super::mechanism::{Mechanism, MechanismError};

/// Takes them: real, effective and saved (and with that the file system's), and no
/// other groups; then looks, and tries to go back.
pub(crate) fn take(uid: u32, gid: u32) -> Result<(), MechanismError> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[]).map_err(|errno| failed("give up other groups", errno))?;
    setresgid(group, group, group).map_err(|errno| failed("change the gid", errno))?;
    setresuid(user, user, user).map_err(|errno| failed("change the uid", errno))?;

    let uids = getresuid().map_err(|errno| failed("read the uids", errno))?;
    let gids = getresgid().map_err(|errno| failed("read the gids", errno))?;
    let groups = getgroups().map_err(|errno| failed("read the groups", errno))?;
    let held = [uids.real, uids.effective, uids.saved]
        .iter()
        .all(|u| *u == user)
        && [gids.real, gids.effective, gids.saved]
            .iter()
            .all(|g| *g == group)
        && groups.iter().all(|g| *g == group);
    if !held || user.is_root() {
        let reason =
            format!("the change to uid {uid} and gid {gid} succeeded, and is not in force");
        return Err(MechanismError::new(
            Mechanism::Identity,
            reason,
            "report this kernel",
        ));
    }
    Ok(())
}

/// That the identity cannot be given up again. Call it when the capabilities are gone.
pub(crate) fn prove_for_good() -> Result<(), MechanismError> {
    let root = Uid::from_raw(0);
    if setresuid(root, root, root) == Err(Errno::EPERM) {
        return Ok(());
    }
    let reason = "the process could become root again";
    let remedy = "leave `capabilities` in, and report this kernel";
    Err(MechanismError::new(Mechanism::Identity, reason, remedy))
}

fn failed(what: &str, errno: Errno) -> MechanismError {
    let remedy = match errno {
        Errno::EPERM => "start it as root with CAP_SETUID and CAP_SETGID",
        Errno::EAGAIN => "the user has too many processes: `dm-restrict reap`, or raise nproc",
        Errno::EINVAL => "the ids are not mapped here: start it in the initial user namespace",
        _ => "see `dm-restrict doctor`",
    };
    MechanismError::new(
        Mechanism::Identity,
        format!("{what}: {}", io::Error::from(errno)),
        remedy,
    )
}
