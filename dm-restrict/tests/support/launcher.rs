// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `dm-restrict run` for a test: with users of the test's own, a /run of its own, and
//! a probe to be confined; afterwards it looks for what is left.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::PermissionsExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{
    deny::{self, Deny},
    programs,
};

/// Nothing takes so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The user under which programs run here.
pub(crate) const USER: &str = "confined";

const COMMAND: &str = env!("CARGO_BIN_EXE_dm-restrict");

type Hook = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// What is to be run, and where.
pub(crate) struct Launcher {
    dir: TempDir,
    uid: u32,
    options: Vec<OsString>,
    hooks: Vec<Hook>,
    command: Command,
    mount_run: bool,
}

/// The command while it runs.
pub(crate) struct Running {
    child: Child,
    pub(crate) stdout: Option<BufReader<ChildStdout>>,
    dir: TempDir,
    uid: u32,
}

/// How it ended, and where it was.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// As a shell tells it.
    pub(crate) code: i32,
    pub(crate) uid: u32,
    dir: TempDir,
}

impl Launcher {
    /// Confines by profile `strict`; without Xen, under a user of its own, with what the
    /// probe is linked with. Of the mechanisms, `cgroup` is left out: a machine may have
    /// it or not.
    pub(crate) fn new() -> Self {
        Self::bare().options([
            "--no-xen",
            "--user",
            USER,
            "--bind-linked",
            "--without",
            "cgroup",
        ])
    }

    /// With no option at all.
    pub(crate) fn bare() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        open_to_all(dir.path());
        let tests = std::env::current_exe().unwrap();
        let target = tests.ancestors().nth(2).unwrap();
        let probe = target.join("examples/probe");
        assert!(
            probe.exists(),
            "`cargo test --test ...` does not build it: `cargo build --example probe`"
        );
        programs::copy(&probe, &dir.path().join("probe"));
        fs::create_dir(dir.path().join("run")).unwrap();
        // Far above people's, and this run's alone.
        let uid =
            3_300_000_000 + (std::process::id() % 100_000) * 5000 + NEXT.fetch_add(1, Relaxed);
        let mut launcher = Self {
            dir,
            uid,
            options: Vec::new(),
            hooks: Vec::new(),
            command: piped(COMMAND),
            mount_run: true,
        };
        let line = format!("{USER}:x:{uid}:{uid}::/:/bin/false\n");
        launcher.users(&line);
        launcher
    }

    /// For a domain of which no other test is, under a uid of its alone, which is reaped.
    pub(crate) fn for_domain() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let (base, domid) = (
            3_900_000_000 + (std::process::id() % 9000) * 32768,
            NEXT.fetch_add(1, Relaxed),
        );
        let mut launcher = Self::bare();
        launcher.uid = base + domid;
        launcher.users(&format!(
            "xen-qemuuser-range-base:x:{base}:{base}::/:/bin/false\n"
        ));
        let domid = domid.to_string();
        launcher.options([
            "--domid",
            &domid,
            "--no-xen",
            "--bind-linked",
            "--without",
            "cgroup",
        ])
    }

    /// Replaces the test's own users, in the form of passwd(5).
    pub(crate) fn users(&mut self, lines: &str) {
        let machine = fs::read_to_string("/etc/passwd").unwrap();
        let file = |name: &str, text: &str| fs::write(self.dir.path().join(name), text).unwrap();
        file("passwd", &(machine + lines));
        file("subuid", "");
        file("nsswitch.conf", "passwd: files\n");
    }

    /// /run stays as the hooks make it.
    pub(crate) fn own_run(mut self) -> Self {
        self.mount_run = false;
        self
    }

    /// The command is started by this one. Set before the command is changed.
    pub(crate) fn through<T: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = T>) -> Self {
        let mut words = wrapper.into_iter();
        let mut command = piped(words.next().unwrap());
        command.args(words).arg(self.command.get_program());
        self.command = command;
        self
    }

    /// The command is a copy of it that everybody can reach. Set as the above.
    pub(crate) fn copied(mut self) -> Self {
        let copy = self.path("dm-restrict");
        programs::copy(Path::new(COMMAND), &copy);
        self.command = piped(copy);
        self
    }

    pub(crate) fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().to_owned());
        self
    }

    pub(crate) fn options<T: AsRef<OsStr>>(mut self, options: impl IntoIterator<Item = T>) -> Self {
        self.options
            .extend(options.into_iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// Runs in the command's process, before it is executed: system calls only.
    pub(crate) fn hook(
        mut self,
        hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }

    /// These calls fail in the command, and in all that it starts.
    pub(crate) fn deny(self, denied: &[Deny]) -> Self {
        let programs = deny::filter(denied);
        self.hook(move || programs.iter().try_for_each(deny::load))
    }

    /// The command itself, to change its directory or standard descriptors.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// The probe's path, outside and inside.
    pub(crate) fn probe(&self) -> PathBuf {
        self.path("probe")
    }

    /// A path in a directory of this test alone.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A directory there, that the program's user can change.
    pub(crate) fn writable_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(self.uid), Some(self.uid)).unwrap();
        path
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Runs the probe, which does these things, to the end.
    pub(crate) fn probe_does<T: AsRef<OsStr>>(self, actions: impl IntoIterator<Item = T>) -> Ended {
        self.start_probe(actions).wait()
    }

    /// Starts the probe.
    pub(crate) fn start_probe<T: AsRef<OsStr>>(
        self,
        actions: impl IntoIterator<Item = T>,
    ) -> Running {
        let probe = self.probe().into_os_string();
        let actions = actions.into_iter().map(|action| action.as_ref().to_owned());
        self.start(std::iter::once(probe).chain(actions))
    }

    /// Runs a program to the end.
    pub(crate) fn run<T: AsRef<OsStr>>(self, program: impl IntoIterator<Item = T>) -> Ended {
        self.start(program).wait()
    }

    pub(crate) fn start<T: AsRef<OsStr>>(self, program: impl IntoIterator<Item = T>) -> Running {
        let mut mounts = Vec::new();
        for (name, at) in [
            ("passwd", c"/etc/passwd"),
            ("subuid", c"/etc/subuid"),
            ("nsswitch.conf", c"/etc/nsswitch.conf"),
        ] {
            mounts.push((c_path(&self.path(name)), at));
        }
        if self.mount_run {
            mounts.push((c_path(&self.path("run")), c"/run"));
        }
        let mut hooks = self.hooks;
        let mut command = self.command;
        command
            .arg("run")
            .args(self.options)
            .arg("--")
            .args(program);
        let hook = move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&CStr>;
            mount(
                none,
                c"/",
                none,
                MsFlags::MS_PRIVATE | MsFlags::MS_REC,
                none,
            )?;
            for (from, at) in &mounts {
                mount(Some(from.as_c_str()), *at, none, MsFlags::MS_BIND, none)?;
            }
            hooks.iter_mut().try_for_each(|hook| hook())
        };
        // SAFETY: system calls only, on strings made before.
        unsafe { command.pre_exec(hook) };
        let mut child = programs::spawn(&mut command)
            .expect("a mount namespace takes root: run the tests as root");
        Running {
            stdout: child.stdout.take().map(BufReader::new),
            child,
            dir: self.dir,
            uid: self.uid,
        }
    }
}

fn piped(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Running {
    /// The command's process, which is the supervisor.
    pub(crate) fn supervisor(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The program's next line of output, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stdout.as_mut().unwrap().read_line(&mut line);
        assert!(read.unwrap() > 0, "no more output");
        line.trim_end().to_owned()
    }

    /// What was recorded of the program.
    pub(crate) fn record(&self) -> serde_json::Value {
        self.try_record().expect("a record")
    }

    pub(crate) fn try_record(&self) -> Option<serde_json::Value> {
        let found = files_below(&self.dir.path().join("run/dm-restrict"));
        let record = found.iter().find(|path| path.ends_with("applied.json"));
        serde_json::from_slice(&fs::read(record?).ok()?).ok()
    }

    /// The program's process.
    pub(crate) fn program(&self) -> Pid {
        let pid = self.record()["pid"].as_i64().unwrap();
        Pid::from_raw(pid.try_into().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Sends a signal to the supervisor.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.supervisor(), signal).unwrap();
    }

    /// Waits for its end, and takes what it says until then.
    pub(crate) fn wait(mut self) -> Ended {
        let stderr = self.child.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut text = Vec::new();
                stderr.read_to_end(&mut text).unwrap();
                text
            })
        });
        let stdout = self.stdout.take().map(|mut stdout| {
            thread::spawn(move || {
                let mut text = Vec::new();
                stdout.read_to_end(&mut text).unwrap();
                text
            })
        });
        let status = eventually(|| self.child.try_wait().unwrap());
        let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
            let text = reader.map_or(Vec::new(), |reader| reader.join().unwrap());
            String::from_utf8(text).unwrap()
        };
        Ended {
            stdout: text(stdout),
            stderr: text(stderr),
            code: status
                .code()
                .or(status.signal().map(|signal| 128 + signal))
                .unwrap(),
            uid: self.uid,
            dir: self.dir,
        }
    }
}

impl Ended {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The value of a line `key value` that the probe printed.
    pub(crate) fn value(&self, key: &str) -> &str {
        let found = self
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }

    /// It ended so, and left nothing.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self.nothing_left();
        self
    }

    /// It was refused, in words that have all of these; the program did not run.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in {self:?}");
        }
        self.nothing_left();
        self
    }

    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        assert_eq!(processes_of(self.uid), [], "{self:?}");
        let left = files_below(&self.path("run/dm-restrict"));
        let left: Vec<_> = left
            .iter()
            .filter(|path| !path.ends_with("reap.lock"))
            .collect();
        assert!(left.is_empty(), "{left:?} of {self:?}");
    }
}

/// Until it says something.
#[track_caller]
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "it does not come to be");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The processes that run under a uid.
pub(crate) fn processes_of(uid: u32) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let field = |name| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or("")
        };
        let of_uid = field("Uid:")
            .split_whitespace()
            .any(|word| word == uid.to_string());
        if of_uid && !is_ending(&entry.path()) {
            found.push((pid, field("Name:").trim().to_owned()));
        }
    }
    found
}

/// Whether it runs no instruction any more, even if nobody has waited for it yet: of
/// somebody else's orphans that may take a while.
fn is_ending(process: &Path) -> bool {
    const PF_EXITING: u64 = 4;
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let fields = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().nth(6));
    fields
        .flatten()
        .is_none_or(|flags| flags.parse::<u64>().unwrap() & PF_EXITING != 0)
}

/// Everything below a directory, directories too.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        found.extend(files_below(&path));
        found.push(path);
    }
    found
}

pub(crate) fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}
