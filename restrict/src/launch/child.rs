// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the child does before it becomes the program. The order is the point: each step
//! takes what the one before still needed.

use std::{
    convert::Infallible,
    ffi::{CString, OsStr},
    mem,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
};

use nix::{
    errno::Errno,
    unistd::{execve, getpid},
};

use super::{
    filters::Filters,
    signals,
    wire::{self, Message},
};
use crate::confine::{
    Limit, Mechanism, MechanismError,
    capabilities::{self, Set},
    credentials, fds, keyring, landlock, namespaces, no_new_privs, parent_death, rlimits, root,
    scheduling, session, umask,
};

/// All that the child needs; made before it is forked.
pub(crate) struct Child<'a> {
    /// Which mechanisms are in effect.
    pub(crate) has: &'a dyn Fn(Mechanism) -> bool,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) limits: &'a [Limit],
    pub(crate) asked: &'a [Limit],
    /// For descriptors 0, 1, 2, and from 3 on.
    pub(crate) fds: Vec<BorrowedFd<'a>>,
    /// Not what else the launcher left open.
    pub(crate) only_fds: bool,
    /// `cgroup.procs` of its control group.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    pub(crate) proc: Option<root::Proc>,
    /// The bounding set and the secure bits too.
    pub(crate) for_good: bool,
    /// What a program keeps that gives root up itself.
    pub(crate) root_with: Option<Set>,
    /// Scheduled as others are.
    pub(crate) ordinary: bool,
    /// The end of a pipe that closes when the supervisor ends, if the program itself
    /// has to follow it.
    pub(crate) life: Option<BorrowedFd<'a>>,
    pub(crate) landlock: Option<Rules>,
    /// Of `xen-requests` and `seccomp`.
    pub(crate) filters: &'a Filters,
    pub(crate) program: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Environment,
}

/// Of Landlock: paths to be read, and to be changed.
pub(crate) enum Rules {
    All(Vec<PathBuf>, Vec<PathBuf>),
    /// Nothing but files is restricted.
    Files(Vec<PathBuf>, Vec<PathBuf>),
}

/// The program's variables, but for its process id.
pub(crate) struct Environment {
    pub(crate) variables: Vec<CString>,
    /// Whether descriptors are handed over.
    pub(crate) listen: bool,
}

/// Why it did not become the program.
enum Failed {
    Mechanism(MechanismError),
    Exec(Errno),
    /// The supervisor is gone or gave up: nobody listens.
    Unheard,
}

impl From<MechanismError> for Failed {
    fn from(error: MechanismError) -> Self {
        Self::Mechanism(error)
    }
}

impl Child<'_> {
    /// Becomes the program, or tells why not, and ends.
    pub(crate) fn run(self, status: OwnedFd) -> ! {
        let mut status = status;
        let Err(failed) = self.become_program(&mut status);
        let message = match failed {
            Failed::Mechanism(error) => Some(error.into()),
            Failed::Exec(errno) => Some(Message::Exec {
                errno: errno as i32,
            }),
            Failed::Unheard => None,
        };
        if let Some(message) = message {
            let _ = wire::tell(status.as_fd(), &message, None);
        }
        // SAFETY: ends the process; nothing of the supervisor's, whose copy this is, runs.
        unsafe { libc::_exit(125) }
    }

    fn become_program(&self, status: &mut OwnedFd) -> Result<Infallible, Failed> {
        use Mechanism as M;
        let has = self.has;
        let filters = self.filters;
        signals::default_all();

        // With all privileges: what belongs to the machine.
        if let Some(procs) = self.cgroup {
            nix::unistd::write(procs, b"0").map_err(join_failed)?;
        }
        if has(M::CgroupNs) {
            namespaces::own(M::CgroupNs)?;
        }
        if let Some(proc) = self.proc {
            root::mount_proc(proc)?;
        }
        if has(M::Session) {
            session::start()?;
        }
        if has(M::Umask) {
            umask::set();
        }
        // Before the limits, which may be low.
        let keep = [Some(status.as_fd()), self.life];
        let [placed, life] = fds::place(&self.fds, keep, self.only_fds)?;
        if let Some(placed) = placed {
            // The former's number is closed, or another's.
            mem::forget(mem::replace(status, placed));
        }
        rlimits::apply(self.limits, self.asked)?;
        fds::enough(self.fds.len())?;
        if self.ordinary {
            scheduling::ordinary()?;
        }

        // While CAP_SETPCAP is there; and, without no-new-privs, CAP_SYS_ADMIN.
        if self.for_good {
            capabilities::give_up_for_good()?;
        }
        if let Some(set) = self.root_with {
            capabilities::leave_root(set)?;
        }
        let mut listener = None;
        if !has(M::NoNewPrivs) {
            listener = filters.load()?;
        }
        if has(M::Identity) {
            credentials::take(self.uid, self.gid)?;
        }
        if has(M::Capabilities) {
            capabilities::empty()?;
        }
        if has(M::Identity) {
            // Left out or not: with secure bits of the launcher's they could have stayed.
            capabilities::are_empty()?;
            credentials::prove_for_good()?;
        }

        // A change of credentials would take these back.
        if let Some(life) = &life {
            parent_death::follow(life.as_fd())?;
        }
        if has(M::Keyring) {
            keyring::join_new()?;
        }
        if has(M::NoNewPrivs) {
            no_new_privs::set()?;
        }
        match &self.landlock {
            Some(Rules::All(read_only, read_write)) => landlock::restrict(read_only, read_write)?,
            Some(Rules::Files(read_only, read_write)) => {
                landlock::restrict_files(read_only, read_write)?;
            }
            None => {}
        }
        if has(M::NoNewPrivs) {
            listener = filters.load()?;
        }
        wire::tell(
            status.as_fd(),
            &Message::Ready,
            listener.as_ref().map(AsFd::as_fd),
        )
        .map_err(|_| Failed::Unheard)?;
        // It could answer its own questions.
        drop(listener);
        filters.load_last()?;
        wire::wait_to_go(status.as_fd()).map_err(|_| Failed::Unheard)?;
        let environment = self.environment.complete();
        execve(&self.program, &self.arguments, &environment).map_err(Failed::Exec)
    }
}

impl Environment {
    fn complete(&self) -> Vec<CString> {
        let mut variables = self.variables.clone();
        if self.listen {
            variables.push(variable(
                OsStr::new("LISTEN_PID"),
                OsStr::new(&getpid().to_string()),
            ));
        }
        variables
    }
}

/// `NAME=VALUE`; that there is no NUL in it was looked at when the options were.
pub(crate) fn variable(name: &OsStr, value: &OsStr) -> CString {
    let bytes = [name.as_bytes(), b"=", value.as_bytes()].concat();
    CString::new(bytes).unwrap_or_default()
}

fn join_failed(errno: Errno) -> MechanismError {
    let remedy = "see `dm-restrict doctor`, or leave it out by `--without cgroup`";
    MechanismError::new(
        Mechanism::Cgroup,
        format!("join the control group: {errno}"),
        remedy,
    )
}
