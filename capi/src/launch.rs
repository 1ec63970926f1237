// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts programs confined.

use std::{
    os::unix::ffi::OsStrExt,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use libc::{c_char, c_int};
use xen_restrict::{
    confine::Mechanism,
    launch::{self, Ended, Grants, Launch, NamedFd, SealAt, Supervised, XenDevice},
};

use crate::{
    arguments::{self, Growing, Out},
    failure::{Failure, Outcome},
    guard::guard,
    handle::{Finish, give, hold},
    xr_program,
};

/// /dev/xen/privcmd, restricted.
pub const XR_XEN_PRIVCMD: u32 = 1;
/// /dev/xen/evtchn, restricted.
pub const XR_XEN_EVTCHN: u32 = 2;
/// /dev/xen/gntdev: revoked, or with a broker (`grant_quota`).
pub const XR_XEN_GNTDEV: u32 = 4;
/// No handle at all.
pub const XR_XEN_NONE: u32 = 0x8000_0000;

/// The dynamic loader and the libraries that the program is linked with are in its root.
pub const XR_LAUNCH_LINKED: u32 = 1;
/// /dev/null, zero, full, random and urandom are in its root.
pub const XR_LAUNCH_DEV: u32 = 2;
/// A /proc with its own processes only is in its root.
pub const XR_LAUNCH_PROC: u32 = 4;
/// Refused system calls are named in the supervisor's messages. Slower.
pub const XR_LAUNCH_LOG_DENIED: u32 = 8;
/// Once it is sealed it cannot map its guest's memory; what is mapped stays.
pub const XR_LAUNCH_SEAL_MAPPING: u32 = 16;

/// For `seal_after`: sealed before its first instruction, as its guest runs already.
pub const XR_SEAL_AT_START: i64 = -1;

/// A descriptor that the program gets.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_named_fd {
    /// "stdin", "stdout", "stderr", or a name for LISTEN_FDNAMES.
    pub name: *const c_char,
    /// One that is open; it stays the caller's.
    pub fd: c_int,
    /// 0.
    pub reserved: c_int,
}

/// A program to run confined. What is not named is not given: no file, descriptor, variable
/// or device. Set all to 0, and `size` to sizeof. Lists are of strings, up to NULL; a list
/// that is NULL is empty.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct xr_launch_options {
    /// sizeof(xr_launch_options).
    pub size: usize,
    /// The guest; 0 for a program that gets no Xen handle, and runs as `user`.
    pub domid: u32,
    /// XR_XEN_..., added up; 0: all three for a guest, none without.
    pub devices: u32,
    /// XR_LAUNCH_..., added up.
    pub flags: u32,
    /// Pages of its guest's grants that it can map at a time, by a broker, 1 to 65536; 0: it
    /// cannot.
    pub grant_quota: u32,
    /// The program; without a `/` it is looked for in PATH.
    pub program: *const c_char,
    /// Its arguments, without its name.
    pub arguments: *const *const c_char,
    /// Its name among the guest's programs; NULL is "dm".
    pub instance: *const c_char,
    /// "strict", which NULL is, or "libxl".
    pub profile: *const c_char,
    /// Mechanisms that are left out, by name.
    pub without: *const *const c_char,
    /// Mechanisms without which it is not started.
    pub require: *const *const c_char,
    /// Another user than the rule of identities gives; NULL: that.
    pub user: *const c_char,
    /// Files and directories that it can read and execute, at the same path.
    pub read_only: *const *const c_char,
    /// Files and directories that it can change, too.
    pub read_write: *const *const c_char,
    /// Variables as NAME=VALUE; a NAME alone is passed on from this process.
    pub environment: *const *const c_char,
    /// Limits of the process or its user as NAME=VALUE, instead of the profile's.
    pub limits: *const *const c_char,
    /// Limits of all its processes together: pids.max, memory.max, memory.swap.max,
    /// cpu.weight, cpu.max.
    pub cgroup_limits: *const *const c_char,
    /// Descriptors that it gets.
    pub fds: *const xr_named_fd,
    /// How many.
    pub fd_count: usize,
    /// Bytes of a /tmp in memory; 0: none.
    pub tmp: u64,
    /// Seconds after which it is sealed if it does not say READY=1 before; 0: 30.
    pub seal_after: i64,
    /// The command dm-restrict; NULL: it is looked for in PATH.
    pub helper: *const c_char,
}

// SAFETY: numbers, and pointers which may be null, without padding.
unsafe impl Growing for xr_launch_options {
    const FIRST: usize = 160;
}

/// How a program ended.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct xr_ended {
    /// Its exit status, 0 to 255; 125 where the supervisor could not go on. 0 if it was killed.
    pub status: c_int,
    /// The signal that killed it; 0 if it exited.
    pub signal: c_int,
}

pub(crate) struct Program {
    pid: i32,
    supervisor: u32,
    /// Read-locked by who uses the supervisor's number, so that it stays its own.
    running: RwLock<Running>,
}

enum Running {
    Yes(Supervised),
    /// Its number may be another's by now.
    No(xr_ended),
}

impl Finish for Program {}

/// # Safety
/// As [`arguments::texts`].
pub(crate) unsafe fn mechanisms(list: *const *const c_char, what: &str) -> Outcome<Vec<Mechanism>> {
    // SAFETY: by this function's contract.
    let names = unsafe { arguments::texts(list, what) }?;
    names
        .into_iter()
        .map(|name| Ok(name.to_string_lossy().parse()?))
        .collect()
}

/// # Safety
/// Its strings end with NUL, its lists with NULL, or are null, and live during the call.
unsafe fn launch(options: &xr_launch_options) -> Outcome<Launch> {
    // SAFETY: by this function's contract, as are all below.
    let text = |from, what| unsafe { arguments::maybe_text(from, what) };
    // SAFETY: as above.
    let texts = |list, what| unsafe { arguments::texts(list, what) };
    // SAFETY: as above.
    let mechanisms = |list, what| unsafe { mechanisms(list, what) };

    let mut launch = match options.domid {
        0 => Launch::without_xen(),
        domid => {
            let domid = u16::try_from(domid)
                .map_err(|_| Failure::argument(format!("domid {domid} is no guest's")))?;
            Launch::new(arguments::guest(domid)?)
        }
    };
    if options.devices != 0 {
        launch = launch.devices(devices(options.devices)?);
    }
    if options.grant_quota != 0 {
        let quota = options.grant_quota;
        launch = launch.grants(Grants::Brokered { quota });
    }
    launch = flagged(launch, options.flags)?;
    // SAFETY: as above.
    let program = unsafe { arguments::os_text(options.program, "program") }?;
    launch = launch.program(program, texts(options.arguments, "arguments")?);
    if let Some(name) = text(options.instance, "instance")? {
        launch = launch.instance(name);
    }
    if let Some(name) = text(options.profile, "profile")? {
        launch = launch.profile(name.parse()?);
    }
    if let Some(name) = text(options.user, "user")? {
        launch = launch.user(name);
    }
    for mechanism in mechanisms(options.without, "without")? {
        launch = launch.without(mechanism);
    }
    for mechanism in mechanisms(options.require, "require")? {
        launch = launch.require(mechanism);
    }
    for path in texts(options.read_only, "read_only")? {
        launch = launch.bind_read_only(path);
    }
    for path in texts(options.read_write, "read_write")? {
        launch = launch.bind_read_write(path);
    }
    for variable in texts(options.environment, "environment")? {
        let bytes = variable.as_bytes();
        let equals = bytes.iter().position(|byte| *byte == b'=');
        let of = std::ffi::OsStr::from_bytes;
        launch = match equals {
            Some(at) => launch.env(of(&bytes[..at]), of(&bytes[at + 1..])),
            None => launch.inherit_env(variable),
        };
    }
    for limit in texts(options.limits, "limits")? {
        launch = launch.limit(limit.to_string_lossy().parse()?);
    }
    for limit in texts(options.cgroup_limits, "cgroup_limits")? {
        launch = launch.cgroup_limit(limit.to_string_lossy().parse()?);
    }
    // SAFETY: as above.
    let fds = unsafe { arguments::slice(options.fds, options.fd_count, "fds") }?;
    for fd in fds {
        // SAFETY: as above.
        let name = unsafe { arguments::text(fd.name, "the name of a descriptor") }?;
        arguments::zero(&[fd.reserved], "reserved of a descriptor")?;
        launch = launch.fd(NamedFd::new(name, fd.fd)?);
    }
    if options.tmp != 0 {
        launch = launch.tmp(options.tmp);
    }
    launch = match options.seal_after {
        0 => launch,
        XR_SEAL_AT_START => launch.seal(SealAt::Start),
        seconds if seconds > 0 => launch.seal(SealAt::After(std::time::Duration::from_secs(
            seconds.unsigned_abs(),
        ))),
        other => {
            return Err(Failure::argument(format!(
                "seal_after is {other}: seconds, 0, or XR_SEAL_AT_START"
            )));
        }
    };
    if !options.helper.is_null() {
        // SAFETY: as above.
        launch = launch.helper(unsafe { arguments::os_text(options.helper, "helper") }?);
    }
    Ok(launch)
}

fn devices(bits: u32) -> Outcome<Vec<XenDevice>> {
    const ALL: [(u32, XenDevice); 3] = [
        (XR_XEN_PRIVCMD, XenDevice::PrivCmd),
        (XR_XEN_EVTCHN, XenDevice::EventChannel),
        (XR_XEN_GNTDEV, XenDevice::GrantDevice),
    ];
    let known = ALL.iter().fold(0, |bits, (bit, _)| bits | bit);
    if bits == XR_XEN_NONE {
        return Ok(Vec::new());
    }
    if bits & !known != 0 {
        return Err(Failure::argument(format!("there are no devices {bits:#x}")));
    }
    let named = ALL.into_iter().filter(|(bit, _)| bits & bit != 0);
    Ok(named.map(|(_, device)| device).collect())
}

fn flagged(mut launch: Launch, flags: u32) -> Outcome<Launch> {
    type Set = fn(Launch) -> Launch;
    const ALL: [(u32, Set); 5] = [
        (XR_LAUNCH_LINKED, Launch::bind_linked),
        (XR_LAUNCH_DEV, Launch::dev),
        (XR_LAUNCH_PROC, Launch::proc),
        (XR_LAUNCH_LOG_DENIED, Launch::log_denied),
        (XR_LAUNCH_SEAL_MAPPING, Launch::seal_mapping),
    ];
    let unknown = ALL.iter().fold(flags, |left, (bit, _)| left & !bit);
    if unknown != 0 {
        return Err(Failure::argument(format!(
            "there are no flags {unknown:#x}"
        )));
    }
    for (_, set) in ALL.into_iter().filter(|(bit, _)| flags & bit != 0) {
        launch = set(launch);
    }
    Ok(launch)
}

/// Starts a program confined, under a supervisor of its own (the command `dm-restrict`), and
/// returns when it runs. Standard input is /dev/null, outputs go to this process's through
/// the supervisor, unless they are named in `fds`. Takes root. `*out` is the caller's, to be
/// closed by xr_close(), which leaves the program running; xr_program_wait() collects it.
/// It outlives this process, too.
///
/// Returns 0: it runs, with all that was asked for in force.
/// Errors: EINVAL: an option makes no sense; ENOENT: no such program; EACCES: not executable;
/// EOPNOTSUPP: a mechanism cannot be applied; ENOEXEC: `dm-restrict` could not be run, or is
/// of another version; E2BIG: `options` of a later version asks for what this one does not
/// know; ECANCELED: any other reason. xr_error() has it in each case, with what to do. The
/// program was not started, and nothing is left of the attempt.
/// Threads: any.
/// Fork: usable.
/// Pointers: `options` leads to a structure of its `size`, whose strings and lists end with NUL and
/// NULL; `out` leads to a place for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_launch(
    options: *const xr_launch_options,
    out: *mut *mut xr_program,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::none(out) }?;
        // SAFETY: as above.
        let options = unsafe { arguments::growing(options, "options") }?;
        // SAFETY: as above.
        let supervised = unsafe { launch(&options) }?.spawn()?;
        out.set(give(Program {
            pid: supervised.pid(),
            supervisor: supervised.supervisor_pid(),
            running: RwLock::new(Running::Yes(supervised)),
        })?);
        Ok(0)
    })
}

/// The program's process id. It can be another process's as soon as the program has ended:
/// xr_program_signal() does not take it.
///
/// Returns the process id.
/// Errors: EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_program_pid(program: *const xr_program) -> c_int {
    guard(|| Ok(hold(program)?.pid))
}

/// The supervisor's process id: a child of this process, until xr_program_wait() has told
/// that it ended.
///
/// Returns the process id.
/// Errors: EINVAL, EBADF, ECHILD.
/// Threads: any.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_program_supervisor_pid(program: *const xr_program) -> c_int {
    guard(|| Ok(arguments::count(hold(program)?.supervisor as usize)))
}

/// Sends a signal to the program, through its supervisor: SIGTERM, SIGINT, SIGHUP, SIGQUIT,
/// SIGUSR1, SIGUSR2 are passed on; SIGKILL ends both. Where the caller collects children by
/// other means than xr_program_wait(), as by waitpid(-1, ...), the supervisor's number can be
/// another child's by then.
///
/// Returns 0.
/// Errors: ESRCH: it has ended; EPERM, EINVAL, EBADF, ECHILD.
/// Threads: any; also while another waits.
/// Fork: not in a child: ECHILD.
#[unsafe(no_mangle)]
pub extern "C" fn xr_program_signal(program: *mut xr_program, signal: c_int) -> c_int {
    guard(|| {
        let program = hold(program)?;
        let running = program.running();
        match &*running {
            Running::Yes(supervised) => {
                let pid = supervised.supervisor_pid().cast_signed();
                // SAFETY: takes numbers.
                match unsafe { libc::kill(pid, signal) } {
                    0 => Ok(0),
                    _ => Err(std::io::Error::last_os_error().into()),
                }
            }
            Running::No(_) => Err(Failure::new(libc::ESRCH, "the program has ended")),
        }
    })
}

/// Waits until the program has ended, and its supervisor; without `block`, only looks. Once
/// it has ended, it is told again each time.
///
/// Returns 1 and how it ended in `*ended`; 0 while it runs, without `block`.
/// Errors: ECHILD: somebody else collected the supervisor, as where SIGCHLD is ignored;
/// EINVAL, EBADF.
/// Threads: any.
/// Fork: not in a child: ECHILD.
/// Pointers: `ended` leads to a structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_program_wait(
    program: *mut xr_program,
    block: c_int,
    ended: *mut xr_ended,
) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let out = unsafe { Out::new(ended, "ended") }?;
        out.set(xr_ended::default());
        let program = hold(program)?;
        if !program.has_ended(block != 0)? {
            return Ok(0);
        }
        out.set(program.collect()?);
        Ok(1)
    })
}

impl Program {
    fn running(&self) -> RwLockReadGuard<'_, Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the supervisor can be collected; leaves it to be, so that others can send
    /// signals meanwhile.
    fn has_ended(&self, block: bool) -> Outcome<bool> {
        let running = self.running();
        if matches!(*running, Running::No(_)) {
            return Ok(true);
        }
        let flags = libc::WEXITED | libc::WNOWAIT | if block { 0 } else { libc::WNOHANG };
        loop {
            // SAFETY: zeroes are a value of it.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            // SAFETY: takes numbers, and a place that lives.
            let done = unsafe { libc::waitid(libc::P_PID, self.supervisor, &raw mut info, flags) };
            if done == 0 {
                // SAFETY: waitid has set it, or left it 0.
                return Ok(unsafe { info.si_pid() } != 0);
            }
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINTR) {
                return Err(error.into());
            }
        }
    }

    /// Of a supervisor that has ended: whoever waits for it comes back, so this does not wait
    /// for long.
    fn collect(&self) -> Outcome<xr_ended> {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let ended = match &mut *running {
            Running::No(ended) => return Ok(*ended),
            Running::Yes(supervised) => match supervised.wait()? {
                Ended::Exited(status) => xr_ended {
                    status: status.into(),
                    signal: 0,
                },
                Ended::Killed(signal) => xr_ended { status: 0, signal },
            },
        };
        *running = Running::No(ended);
        Ok(ended)
    }
}

/// Has the supervisor of a running program seal it, and waits until it is. `instance` is its
/// name among the guest's programs; NULL is "dm".
///
/// Returns 0.
/// Errors: ESRCH: no such program runs here; EAGAIN: a request of the set-up phase is still
/// under way, and no new one is let through; EINVAL, and the kernel's own.
/// Threads: any.
/// Fork: usable.
/// Pointers: `instance` is NULL or leads to a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn xr_program_seal(domid: u16, instance: *const c_char) -> c_int {
    guard(|| {
        // SAFETY: by this function's contract.
        let instance = unsafe { arguments::maybe_text(instance, "instance") }?;
        let guest = arguments::guest(domid)?;
        launch::seal(&guest.get().to_string(), instance.unwrap_or("dm"))?;
        Ok(0)
    })
}
