// SPDX-License-Identifier: MIT OR Apache-2.0
//! A supervisor in a process of its own: the command `dm-restrict`, which has nothing of
//! this process, no memory, no variable and no descriptor but those that are named.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    process::{Child, Command},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::memfd::{MFdFlags, memfd_create},
    unistd::pipe2,
};

use super::{
    error::LaunchError,
    options::{EnvValue, InvalidOption, Launch},
    report::Report,
    supervise::Ended,
};
use crate::confine::{MechanismError, fds, xen_requests::Mapping};

/// A program that runs, and its supervisor.
///
/// Dropped, both go on; [`wait`](Self::wait) collects the supervisor. They also outlive
/// this process, and the thread that started them.
#[derive(Debug)]
pub struct Supervised {
    supervisor: Child,
    pid: i32,
}

impl Supervised {
    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The supervisor's process id: signals to it are passed on.
    #[must_use]
    pub fn supervisor_pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// Waits until the program has ended, and its supervisor.
    ///
    /// # Errors
    /// The supervisor cannot be waited for.
    pub fn wait(&mut self) -> io::Result<Ended> {
        Ok(Ended::of(self.supervisor.wait()?))
    }
}

impl Launch {
    /// Starts the program under a supervisor of its own, by the command `dm-restrict`, and
    /// returns when it runs. Standard input and outputs are those of this process; the
    /// program's output goes there through the supervisor.
    ///
    /// # Errors
    /// [`LaunchError`], as the command reports it. The program was not started.
    pub fn spawn(&self) -> Result<Supervised, LaunchError> {
        self.check()?;
        let failed = |errno: Errno| LaunchError::System {
            what: "prepare to run the command",
            source: errno.into(),
        };
        let (report, commands_report) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
        let variables = self.variables()?;
        let kept: Vec<RawFd> = self
            .fds
            .iter()
            .map(|fd| fd.number)
            .chain([commands_report.as_raw_fd(), variables.as_raw_fd()])
            .collect();

        let mut command = Command::new(&self.helper);
        command
            .args(["run", "--report", &commands_report.as_raw_fd().to_string()])
            .args(["--env-fd", &variables.as_raw_fd().to_string()])
            .args(self.options())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        // SAFETY: in the forked child, only system calls that are async-signal-safe.
        unsafe { command.pre_exec(move || keep_across_exec(&kept)) };
        let spawned = command.spawn();
        drop(commands_report);
        let mut supervisor = spawned.map_err(|error| self.helper_failed(&error.to_string()))?;

        let mut text = String::new();
        let heard = File::from(report).read_to_string(&mut text);
        match (heard, serde_json::from_str(&text)) {
            (Ok(_), Ok(Report::Started { pid })) => Ok(Supervised { supervisor, pid }),
            (heard, report) => {
                // It ends by itself, as it has failed: the exit code says no more.
                let status = supervisor.wait();
                Err(match (heard, report, status) {
                    (_, Ok(report), _) => self.reported(report),
                    (Err(error), ..) | (.., Err(error)) => self.helper_failed(&error.to_string()),
                    (.., Ok(status)) => self.helper_failed(&format!("it ended with {status}")),
                })
            }
        }
    }

    fn reported(&self, report: Report) -> LaunchError {
        match report {
            Report::Mechanism {
                name,
                reason,
                remedy,
            } => match name.parse() {
                Ok(mechanism) => MechanismError::new(mechanism, reason, remedy).into(),
                Err(_) => self.helper_failed(&reason),
            },
            Report::Other { exit_code, text } => LaunchError::Reported { exit_code, text },
            Report::Started { .. } => self.helper_failed("it is of another version"),
        }
    }

    fn helper_failed(&self, reason: &str) -> LaunchError {
        LaunchError::Helper {
            helper: self.helper.clone(),
            reason: reason.to_owned(),
        }
    }

    /// The options of `dm-restrict run` that say the same, but for the variables, and the
    /// program at the end.
    #[must_use]
    pub fn options(&self) -> Vec<OsString> {
        let mut options: Vec<OsString> = Vec::new();
        // In one piece: a value may look like an option.
        let mut add = |name: &str, value: &dyn AsRef<OsStr>| {
            let mut option = OsString::from(name);
            option.push("=");
            option.push(value.as_ref());
            options.push(option);
        };
        add("--profile", &self.profile.name());
        add("--seal-after", &self.seal.seconds().to_string());
        if let Some(guest) = self.guest {
            add("--domid", &guest.get().to_string());
        }
        if let Some(name) = &self.instance {
            add("--instance", name);
        }
        if let Some(name) = &self.user {
            add("--user", name);
        }
        if let Some(bytes) = self.tmp {
            add("--tmp", &bytes.to_string());
        }
        for mechanism in &self.without {
            add("--without", &mechanism.name());
        }
        for mechanism in &self.require {
            add("--require", &mechanism.name());
        }
        for path in &self.read_only {
            add("--bind-ro", path);
        }
        for path in &self.read_write {
            add("--bind-rw", path);
        }
        for fd in &self.fds {
            add("--fd", &format!("{}={}", fd.name, fd.number));
        }
        for limit in &self.limits {
            add("--rlimit", &limit.to_string());
        }
        for limit in &self.cgroup {
            add("--cgroup", &limit.to_string());
        }
        if !self.devices.is_empty() {
            let names: Vec<_> = self.devices.iter().map(|device| device.name()).collect();
            add("--xen", &names.join(","));
        }
        add("--grants", &self.grants.to_string());
        for (flag, wanted) in [
            ("--no-xen", self.devices.is_empty()),
            ("--bind-linked", self.linked),
            ("--dev", self.dev),
            ("--proc", self.proc),
            ("--log-denied", self.log_denied),
            ("--seal-mapping", self.mapping == Mapping::UntilSealed),
        ] {
            options.extend(wanted.then(|| flag.into()));
        }
        options.push("--".into());
        options.push(self.program.clone().into());
        options.extend(self.arguments.iter().cloned());
        options
    }

    /// A file in memory with the variables, each ended by NUL.
    fn variables(&self) -> Result<OwnedFd, LaunchError> {
        let name = CString::from(c"variables");
        let file = memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC).map_err(io::Error::from);
        let file = file.and_then(|file| {
            let mut file = File::from(file);
            for (name, value) in &self.env {
                let inherited = || std::env::var_os(name);
                let value = match value {
                    EnvValue::Given(value) => Some(value.clone()),
                    EnvValue::Inherited => inherited(),
                };
                if let Some(value) = value {
                    file.write_all(&[name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat())?;
                }
            }
            file.rewind()?;
            Ok(file)
        });
        for (name, value) in &self.env {
            if *value == EnvValue::Inherited && std::env::var_os(name).is_none() {
                let name = name.to_string_lossy().escape_debug().to_string();
                return Err(InvalidOption::EnvMissing(name).into());
            }
        }
        file.map(OwnedFd::from)
            .map_err(LaunchError::system("write down the variables"))
    }
}

/// In the forked child, whose other threads are gone: no allocation.
fn keep_across_exec(kept: &[RawFd]) -> io::Result<()> {
    fds::close_on_exec();
    for number in kept {
        // SAFETY: changes a flag only; a number that is not open is an error.
        let result = unsafe { libc::fcntl(*number, libc::F_SETFD, 0) };
        Errno::result(result)?;
    }
    Ok(())
}
