// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a plan to a program that is confined and waits for the word to go.

use std::{
    ffi::{CString, OsString},
    fs,
    io::{self, stderr, stdout},
    mem,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt as _, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::signal::{Signal, kill},
    sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    unistd::{ForkResult, Pid, fork, pipe2},
};

use super::{
    child::{Child, Environment, variable},
    error::LaunchError,
    filters::Filters,
    handles::{self, Opened},
    init::Init,
    options::{EnvValue, InvalidOption, STDIO},
    plan::Plan,
    preload,
    qemu::QemuStart,
    record::{Absent, RECORD_VERSION, Record, RecordedFd, RecordedFile},
    relay::Relay,
    wire::{self, Message},
};
use crate::broker::Broker;
use crate::confine::{
    Mechanism, MechanismError, Profile,
    cgroup::Leaf,
    fds::null,
    named::{self, Copied},
    namespaces,
    proc_file::whole,
    qemu,
    root::{self, Change, Proc},
    xen_requests::Mapping,
};

/// The program and what keeps it: dropped, both are gone.
pub(crate) struct Started {
    pub(crate) processes: Processes,
    pub(crate) status: OwnedFd,
    pub(crate) listener: Option<OwnedFd>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) notify: Option<UnixDatagram>,
    /// What it has loaded, and what its init has.
    pub(crate) filters: [Filters; 2],
    /// The directory that a QEMU enters which gives root up.
    pub(crate) goal: Option<qemu::Inode>,
    /// A /proc of its pid namespace, of a QEMU.
    pub(crate) members: Option<OwnedFd>,
    pub(crate) leaf: Option<Leaf>,
    /// Who maps grants for the program.
    pub(crate) broker: Option<Broker>,
    /// The handle that the program has, if it has one.
    pub(crate) privcmd: Option<OwnedFd>,
}

/// Children of the supervisor. Those that were not waited for are killed when dropped.
pub(crate) struct Processes {
    pub(crate) init: Option<Pid>,
    pub(crate) program: Option<Pid>,
    /// Whoever reads its other end ends when this is closed.
    life: Option<OwnedFd>,
}

impl Processes {
    /// Ends the program if it lives, and all that is in its pid namespace.
    pub(crate) fn end(&mut self) {
        self.life = None;
        let children = [self.init.take(), self.program.take()];
        let ours = children.into_iter().flatten();
        for pid in ours.clone() {
            // A child that was not waited for: the number is nobody else's.
            if kill(pid, Signal::SIGKILL) == Err(Errno::EPERM) {
                continue;
            }
            wait_for(pid, ours.clone());
        }
    }
}

/// Pid 1 of a namespace ends last. A process there may have made this one the parent of
/// another (CLONE_PARENT, where no filter refuses it): that has to be waited for, too.
fn wait_for(pid: Pid, ours: impl Iterator<Item = Pid> + Clone) {
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            _ => return,
        }
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
        match waitid(Id::All, peek).map(|status| status.pid()) {
            Ok(Some(other))
                if other != pid
                    && (ours.clone().any(|pid| pid == other) || is_of_a_namespace(other)) =>
            {
                let _ = waitpid(other, Some(WaitPidFlag::WNOHANG));
            }
            _ => std::thread::sleep(std::time::Duration::from_micros(200)),
        }
    }
}

/// Whether a child has a number in a namespace below this one.
fn is_of_a_namespace(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end();
    }
}

/// What was started in the new namespaces.
struct Inside {
    processes: Processes,
    notify: Option<UnixDatagram>,
    /// Where QEMU will be.
    goal: Option<qemu::Inode>,
    /// Where init tells that it is confined: looked at last, as both do their work at once.
    init_ready: Option<OwnedFd>,
}

impl Plan {
    /// Starts it. The caller has one thread, and blocks the signals that it wants to
    /// pass on.
    pub(crate) fn start(&mut self) -> Result<Started, LaunchError> {
        // Not kept: they hold the file systems that they are on, and a socket's peer would wait
        // for this process, too.
        let named = mem::take(&mut self.named);
        let given = mem::take(&mut self.fds);
        let filters = self.filters()?;
        if !self.applies(Mechanism::Fds) {
            handles::left_open_is_harmless(&self.launch)?;
        }
        let environment = self.environment()?;
        let handles = match self.launch.guest {
            Some(guest) => handles::open(&self.launch, guest)?,
            None => Opened::default(),
        };
        let leaf = self.leaf()?;

        let (life_end, life) = pipe2(OFlag::O_CLOEXEC).map_err(system("make a pipe"))?;
        let (status, childs_status) = wire::pair().map_err(system("make a socket"))?;
        let null = null().map_err(LaunchError::system("open /dev/null"))?;
        let mut relays = Vec::new();
        let mut stdio = [None, None];
        let ours: [&dyn AsFd; 2] = [&stdout(), &stderr()];
        for ((name, slot), to) in STDIO[1..].iter().zip(&mut stdio).zip(ours) {
            if given.iter().all(|(fd, _)| fd.name != *name) {
                let (relay, end) = Relay::new(to.as_fd())
                    .map_err(LaunchError::system("make a pipe for the program's output"))?;
                relays.push(relay);
                *slot = Some(end);
            }
        }
        let fds: Vec<BorrowedFd<'_>> = super::fd_names(&self.launch)
            .iter()
            .map(|(number, name)| {
                let given = given.iter().find(|(fd, _)| fd.name == *name);
                let piped = usize::try_from(number - 1)
                    .ok()
                    .and_then(|at| stdio.get(at)?.as_ref());
                let fd = given.map(|(_, fd)| fd).or(handles.get(name)).or(piped);
                fd.unwrap_or(&null).as_fd()
            })
            .collect();

        let has = |mechanism| self.applies(mechanism);
        // What QEMU does itself.
        let start = self.launch.qemu.as_ref();
        let by_itself = [Mechanism::Identity, Mechanism::Capabilities];
        let childs =
            |mechanism| has(mechanism) && (start.is_none() || !by_itself.contains(&mechanism));
        let (uid, gid) = self.ids();
        let own_init = has(Mechanism::PidNs);
        let child = Child {
            has: &childs,
            uid,
            gid,
            limits: &self.limits,
            asked: &self.launch.limits,
            fds,
            cgroup: leaf.as_ref().map(Leaf::procs),
            proc: self.proc(),
            only_fds: has(Mechanism::Fds),
            for_good: has(Mechanism::Capabilities) && self.launch.profile == Profile::Strict,
            root_with: start
                .filter(|_| has(Mechanism::Capabilities))
                .map(QemuStart::capabilities),
            ordinary: has(Mechanism::Rlimits) && self.launch.profile != Profile::Libxl,
            life: (has(Mechanism::ParentDeath) && !own_init).then_some(life_end.as_fd()),
            landlock: self.landlock_abi.map(|_| self.landlock_rules()),
            filters: &filters,
            program: c_string(self.program.as_os_str().as_bytes())?,
            arguments: self.arguments()?,
            environment,
        };
        let init_filters = Filters::for_init(has(Mechanism::Seccomp))?;
        let init = Init {
            has: &has,
            uid,
            gid,
            filters: &init_filters,
        };

        let copied = named::copied(named, &self.contents)?;
        // Entered, and left again however it goes: the supervisor stays where it was.
        let entered = namespaces::enter(has)?;
        let inside = self.inside(
            &init,
            child,
            copied,
            (life_end.as_fd(), life),
            own_init,
            (&status, childs_status),
        );
        let left = entered.leave();
        let inside = inside?;
        left?;
        as_killable_as_others([inside.processes.init, inside.processes.program]).map_err(
            LaunchError::system("let the program be killed when memory runs out"),
        )?;

        let mut started = Started {
            processes: inside.processes,
            status,
            listener: None,
            relays,
            notify: inside.notify,
            filters: [filters, init_filters],
            goal: inside.goal,
            members: None,
            broker: handles.broker,
            privcmd: handles
                .fds
                .into_iter()
                .find_map(|(name, fd)| (name == crate::handover::PRIVCMD_NAME).then_some(fd)),
            leaf,
        };
        // Init first: its end is the other's too.
        if let Some(init_ready) = inside.init_ready {
            self.ready(init_ready.as_fd())?;
        }
        started.listener = self.ready(started.status.as_fd())?;
        let model = self.launch.qemu.as_ref().and_then(QemuStart::chroot);
        if let (Some(_), Some(Proc::ReadOnly), Some(pid)) =
            (model, self.proc(), started.processes.program)
        {
            // It runs nothing of its own yet.
            let proc = root::open_path(None, Path::new(&format!("/proc/{pid}/root/proc")));
            started.members = Some(proc.map_err(LaunchError::system("open the program's /proc"))?);
        }
        Ok(started)
    }

    /// Dom0's would lead a QEMU that is root to where others have their roots, and these are
    /// not read-only.
    fn proc(&self) -> Option<Proc> {
        let qemus = self.launch.qemu.is_some() && self.applies(Mechanism::Root);
        if qemus && self.applies(Mechanism::PidNs) {
            return Some(Proc::ReadOnly);
        }
        self.contents.proc.then_some(Proc::Writable)
    }

    /// In the new namespaces: the root directory, init, and the child.
    fn inside(
        &self,
        init: &Init<'_>,
        child: Child<'_>,
        copied: Vec<Copied>,
        (life_end, life): (BorrowedFd<'_>, OwnedFd),
        own_init: bool,
        (ours, childs): (&OwnedFd, OwnedFd),
    ) -> Result<Inside, LaunchError> {
        let mut notify = None;
        let mut goal = None;
        let mut init_ready = None;
        if let (Some(start), true) = (&self.launch.qemu, self.applies(Mechanism::Root)) {
            let chroot = start.chroot().map(PathBuf::as_path);
            let itself = match start {
                QemuStart::Probe => qemu::Itself::Probe,
                QemuStart::DeviceModel { .. } => preload::opens_itself(&self.launch),
            };
            goal = qemu::read_only(chroot, &copied, start.files(), itself)?;
            drop(copied);
        } else if self.applies(Mechanism::Root) {
            let change = match self.launch.profile {
                Profile::Libxl => Change::Chroot,
                Profile::Qemu | Profile::Strict => Change::Pivot,
            };
            notify = Some(root::enter(&self.contents, &copied, change)?);
            drop(copied);
        } else {
            std::env::set_current_dir("/").map_err(LaunchError::system("enter /"))?;
        }
        let mut processes = Processes {
            init: None,
            program: None,
            life: Some(life),
        };
        if own_init {
            let (ready, inits) = wire::pair().map_err(system("make a socket"))?;
            match forked("fork an init")? {
                None => init.run(life_end, inits.as_fd()),
                Some(pid) => processes.init = Some(pid),
            }
            drop(inits);
            init_ready = Some(ready);
        }
        match forked("fork") {
            // Without its pid 1 a namespace takes no process: init knows why.
            Err(error) => {
                init_ready.map_or(Ok(None), |ready| self.ready(ready.as_fd()))?;
                return Err(error);
            }
            Ok(None) => {
                // What only the supervisor may have: that it is closed tells of its end.
                close(ours.as_fd());
                for fd in processes.life.iter().chain(&init_ready) {
                    close(fd.as_fd());
                }
                child.run(childs)
            }
            Ok(Some(pid)) => processes.program = Some(pid),
        }
        Ok(Inside {
            processes,
            notify,
            goal,
            init_ready,
        })
    }

    /// Waits until a child has done all that it has to: the program's, all but exec.
    fn ready(&self, status: BorrowedFd<'_>) -> Result<Option<OwnedFd>, LaunchError> {
        match wire::listen(status).map_err(system("hear from the child"))? {
            Some((Message::Ready, listener)) => Ok(listener),
            Some((message, _)) => Err(self.failed(message)),
            None => Err(LaunchError::System {
                what: "the child ended before it was confined; was it killed?",
                source: io::ErrorKind::UnexpectedEof.into(),
            }),
        }
    }

    /// What the child's message means.
    pub(crate) fn failed(&self, message: Message) -> LaunchError {
        match message {
            Message::Mechanism {
                name,
                reason,
                remedy,
            } => match name.parse() {
                Ok(mechanism) => MechanismError::new(mechanism, reason, remedy).into(),
                Err(_) => system("hear from the child")(Errno::EBADMSG),
            },
            Message::Exec { errno } => self.exec_failed(Errno::from_raw(errno)),
            Message::Ready => system("hear from the child")(Errno::EBADMSG),
        }
    }

    fn exec_failed(&self, errno: Errno) -> LaunchError {
        let reason = match errno {
            Errno::EAGAIN => {
                let reason =
                    "the program cannot be executed: its user has more processes than nproc allows";
                let remedy = "end them (`dm-restrict reap`), or raise --rlimit nproc";
                return MechanismError::new(Mechanism::Rlimits, reason, remedy).into();
            }
            Errno::ENOENT => match super::program::interpreter(&self.program) {
                Some(loader) => format!(
                    "its loader {} is not in its root: name what it is linked with, by --bind-linked",
                    root::Shown(&loader)
                ),
                _ => "it is a script, and its interpreter is not in its root: bind that".into(),
            },
            Errno::EACCES => {
                "its user may not execute it, or not enter a directory of its path".into()
            }
            Errno::ENOEXEC => "it is not an executable of this machine, nor a script".into(),
            Errno::E2BIG => "its arguments and environment are too long".into(),
            other => other.desc().into(),
        };
        LaunchError::NotExecutable {
            program: self.launch.program.clone(),
            reason,
        }
    }

    fn arguments(&self) -> Result<Vec<CString>, LaunchError> {
        let name = self.launch.program.as_os_str().as_bytes();
        let rest = self
            .launch
            .arguments
            .iter()
            .map(|argument| argument.as_bytes());
        std::iter::once(name).chain(rest).map(c_string).collect()
    }

    fn environment(&self) -> Result<Environment, LaunchError> {
        let mut variables = Vec::new();
        if !self.applies(Mechanism::Env) {
            let ours = |name: &OsString| super::options::OURS.iter().any(|ours| name == *ours);
            variables.extend(std::env::vars_os().filter(|(name, _)| !ours(name)));
        }
        for (name, value) in &self.launch.env {
            let value = match value {
                EnvValue::Given(value) => value.clone(),
                EnvValue::Inherited => std::env::var_os(name).ok_or_else(|| {
                    InvalidOption::EnvMissing(name.to_string_lossy().escape_debug().to_string())
                })?,
            };
            // Of two, a program may see either.
            variables.retain(|(other, _)| other != name);
            variables.push((name.clone(), value));
        }
        let names: Vec<_> = super::fd_names(&self.launch).into_iter().skip(3).collect();
        let mut ours = |name: &str, value: &str| variables.push((name.into(), value.into()));
        if !names.is_empty() {
            let count = names.len().to_string();
            let names: Vec<_> = names.iter().map(|(_, name)| name.as_str()).collect();
            ours("LISTEN_FDS", &count);
            ours("LISTEN_FDNAMES", &names.join(":"));
        }
        if let Some(guest) = self.launch.guest {
            ours("XEN_RESTRICT_DOMID", &guest.get().to_string());
        }
        if self.applies(Mechanism::Root) && self.launch.qemu.is_none() {
            ours("NOTIFY_SOCKET", root::NOTIFY);
        }
        let text = variables.iter().map(|(name, value)| variable(name, value));
        Ok(Environment {
            variables: text.collect(),
            listen: !names.is_empty(),
        })
    }

    /// What was applied to a program that is ready.
    pub(crate) fn record(&self, started: &Started) -> Result<Record, LaunchError> {
        let shown = |path: &PathBuf| path.to_string_lossy().into_owned();
        let pid = started.processes.program.map_or(0, Pid::as_raw);
        let (read_only, read_write) = self.landlock_paths();
        let (uid, gid) = self.ids();
        let program = std::iter::once(self.launch.program.as_os_str())
            .chain(self.launch.arguments.iter().map(AsRef::as_ref));
        let names = super::fd_names(&self.launch).into_iter();
        let leaf = started.leaf.as_ref();
        Ok(Record {
            version: RECORD_VERSION,
            domid: self.launch.guest.map(|guest| guest.get()),
            instance: self.instance(),
            pid,
            start_time: start_time(pid).map_err(LaunchError::system("read /proc/PID/stat"))?,
            init_pid: started.processes.init.map(Pid::as_raw),
            supervisor_pid: nix::unistd::getpid().as_raw(),
            profile: self.launch.profile.name().into(),
            without: self
                .launch
                .without
                .iter()
                .map(ToString::to_string)
                .collect(),
            absent: self
                .absent
                .iter()
                .map(|absent| Absent {
                    mechanism: absent.mechanism.name().into(),
                    reason: absent.reason.clone(),
                })
                .collect(),
            uid,
            gid,
            rlimits: self.limits.iter().map(ToString::to_string).collect(),
            cgroup: leaf.map(|leaf| leaf.path().to_string_lossy().into_owned()),
            cgroup_limits: match leaf {
                Some(_) => self.cgroup_limits.iter().map(ToString::to_string).collect(),
                None => Vec::new(),
            },
            fds: names
                .map(|(number, name)| RecordedFd {
                    number,
                    name,
                    file: file_of(pid, number),
                    writes: writes(pid, number),
                })
                .collect(),
            env: self
                .launch
                .env
                .iter()
                .map(|(name, _)| name.to_string_lossy().into_owned())
                .collect(),
            read_only: read_only.iter().map(shown).collect(),
            read_write: read_write.iter().map(shown).collect(),
            landlock_abi: self.landlock_abi,
            program: program
                .map(|part| part.to_string_lossy().into_owned())
                .collect(),
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            sealed: self.launch.seal == super::SealAt::Start,
            seal_mapping: self.launch.mapping == Mapping::UntilSealed,
        })
    }
}

/// What a descriptor of the child is, which has it already and runs nothing but ours.
fn file_of(pid: i32, number: i32) -> Option<RecordedFile> {
    let found = fs::metadata(format!("/proc/{pid}/fd/{number}")).ok()?;
    Some(RecordedFile::new(found.dev(), found.ino(), found.rdev()))
}

/// Whether the child can write by a descriptor: the kernel gives its link such a mode.
fn writes(pid: i32, number: i32) -> bool {
    let link = fs::symlink_metadata(format!("/proc/{pid}/fd/{number}"));
    link.is_ok_and(|link| link.mode() & libc::S_IWUSR != 0)
}

/// Field 22 of `/proc/PID/stat`; field 2 may hold anything, but ends with the last `)`.
fn start_time(pid: i32) -> io::Result<u64> {
    let stat = whole(format!("/proc/{pid}/stat"))?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// When memory runs out. Children have what the launcher has, which may be protected.
fn as_killable_as_others(children: [Option<Pid>; 2]) -> io::Result<()> {
    let ours = whole("/proc/self/oom_score_adj")?;
    let ours = str::from_utf8(&ours)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if ours.is_none_or(|score| score < 0) {
        for pid in children.into_iter().flatten() {
            fs::write(format!("/proc/{pid}/oom_score_adj"), "0")?;
        }
    }
    Ok(())
}

fn forked(what: &'static str) -> Result<Option<Pid>, LaunchError> {
    // SAFETY: this process has one thread, as was looked at: the child may do all that
    // this one may.
    match unsafe { fork() }.map_err(system(what))? {
        ForkResult::Child => Ok(None),
        ForkResult::Parent { child } => Ok(Some(child)),
    }
}

/// In a forked child: its copy, which nobody uses again.
fn close(fd: BorrowedFd<'_>) {
    let _ = nix::unistd::close(std::os::fd::AsRawFd::as_raw_fd(&fd));
}

fn c_string(bytes: &[u8]) -> Result<CString, LaunchError> {
    let shown = || String::from_utf8_lossy(bytes).escape_debug().to_string();
    CString::new(bytes).map_err(|_| InvalidOption::Nul(shown()).into())
}

fn system(what: &'static str) -> impl Fn(Errno) -> LaunchError {
    move |errno| LaunchError::System {
        what,
        source: errno.into(),
    }
}
