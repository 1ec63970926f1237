// SPDX-License-Identifier: MIT OR Apache-2.0
//! What does a confined launch cost, next to bubblewrap doing the nearest that it can,
//! and next to no confinement at all? And does it stay that way: after many, and with
//! many at a time?
//!
//! Repeat as root, on a machine with nothing else to do, with Debian's `bubblewrap`:
//! `cargo bench --bench launch`. Nothing is asserted about time.
//! `BENCH_TRIAL` in the environment: a tenth of all, to see that it runs.

use std::{
    collections::BTreeSet,
    env,
    ffi::CStr,
    fs,
    os::{fd::AsRawFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use xen_restrict_benches::is_trial;

/// How often, and how many.
struct Sizes {
    pairs: usize,
    in_a_row: usize,
    at_once: usize,
    processes: usize,
}
const DESCRIPTORS: usize = 1000;
/// Debian has this user everywhere.
const USER: &str = "games";
const TRUE: &str = "/usr/bin/true";
/// Of a domain that need not exist, and the user that its uid comes from.
const DOMID: u32 = 32_000;
const RANGE_BASE: u32 = 65_536;

fn main() {
    let part = if is_trial() { 10 } else { 1 };
    let sizes = Sizes {
        pairs: 50 / part,
        in_a_row: 500 / part,
        at_once: 200 / part,
        processes: 2000 / part,
    };
    let command = build();
    run_in_memory();
    start_up(&command, sizes.pairs);
    in_a_row(&command, sizes.in_a_row);
    at_once(&command, sizes.at_once);
    audit(&command, sizes.pairs);
    reaping(&command, sizes.processes);
}

/// Where systemd starts a machine, /run is in memory. It is here, too, for this process.
fn run_in_memory() {
    // SAFETY: takes a number.
    let own = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(own, 0, "run this as root");
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE);
    mount(c"tmpfs", c"/run", 0);
}

fn mount(what: &CStr, at: &CStr, flags: libc::c_ulong) {
    let (what, target) = (what.as_ptr(), at.as_ptr());
    // SAFETY: the strings live, and no data is passed.
    let result = unsafe { libc::mount(what, target, what, flags, std::ptr::null()) };
    assert_eq!(result, 0, "{at:?} cannot be mounted: run this as root");
}

/// The command, as it would be installed.
fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "dm-restrict"])
        .args((!is_trial()).then_some("--release"))
        .args(["--message-format", "json"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "dm-restrict does not build");
    let text = String::from_utf8(built.stdout).expect("cargo writes UTF-8");
    let path = text
        .lines()
        .filter(|line| line.contains("\"compiler-artifact\""))
        .filter_map(|line| line.split_once("\"executable\":\""))
        .map(|(_, rest)| rest.split('"').next().unwrap_or_default())
        .next_back();
    path.expect("cargo names the executable").into()
}

fn dm_restrict(command: &Path) -> Command {
    let mut run = Command::new(command);
    run.args(["run", "--no-xen", "--user", USER]);
    run.args(["--bind-linked", "--", TRUE])
        .stderr(Stdio::null());
    run
}

fn bubblewrap() -> Command {
    let mut run = Command::new("bwrap");
    run.args([
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
    ]);
    run.args(["--cap-drop", "ALL"]);
    for file in linked() {
        run.args(["--ro-bind", &file, &file]);
    }
    run.arg(TRUE);
    run
}

/// The same files that dm-restrict gives it.
fn linked() -> Vec<String> {
    let ldd = Command::new("ldd").arg(TRUE).output().expect("ldd runs");
    let text = String::from_utf8(ldd.stdout).expect("paths are UTF-8");
    let files = text.split_whitespace().filter(|word| word.starts_with('/'));
    files.chain([TRUE]).map(ToOwned::to_owned).collect()
}

fn once(run: &mut Command) -> Duration {
    let begin = Instant::now();
    let status = run.stdin(Stdio::null()).status();
    let took = begin.elapsed();
    let name = run.get_program().to_string_lossy().into_owned();
    let status = status.unwrap_or_else(|error| panic!("{name}: {error}; install it"));
    assert!(status.success(), "{name}: {status}; run this as root");
    took
}

fn start_up(command: &Path, pairs: usize) {
    let mut times: [Vec<Duration>; 3] = Default::default();
    let mut bubblewrap = bubblewrap();
    for _ in 0..pairs {
        times[0].push(once(&mut dm_restrict(command)));
        times[1].push(once(&mut bubblewrap));
        times[2].push(once(&mut Command::new(TRUE)));
    }
    let [ours, theirs, bare] = times.map(median);
    println!("start-up, median of {pairs}, taken in turns");
    println!("  dm-restrict run, strict  {}", milliseconds(ours));
    println!("  bwrap --unshare-all      {}", milliseconds(theirs));
    println!("  fork and exec            {}", milliseconds(bare));
    println!(
        "  dm-restrict : bwrap      {:.2}\n",
        ours.as_secs_f64() / theirs.as_secs_f64()
    );
}

fn in_a_row(command: &Path, many: usize) {
    let before = Traces::now();
    let times: Vec<_> = (0..many).map(|_| once(&mut dm_restrict(command))).collect();
    let (first, last) = (
        median(times[..50].to_vec()),
        median(times[many - 50..].to_vec()),
    );
    println!("{many} launches in a row");
    println!("  median of the first 50   {}", milliseconds(first));
    println!("  median of the last 50    {}", milliseconds(last));
    println!(
        "  last : first             {:.2}",
        last.as_secs_f64() / first.as_secs_f64()
    );
    before.compare();
}

fn at_once(command: &Path, many: usize) {
    let before = Traces::now();
    let begin = Instant::now();
    let mut children: Vec<_> = (0..many)
        .map(|_| {
            let mut run = dm_restrict(command);
            run.stdin(Stdio::null())
                .spawn()
                .expect("dm-restrict starts")
        })
        .collect();
    let ended = children.iter_mut().map(|child| child.wait());
    let failed = ended
        .filter(|status| !status.as_ref().is_ok_and(|s| s.success()))
        .count();
    let each = begin.elapsed() / u32::try_from(many).unwrap_or(1);
    println!("{many} launches at once");
    println!("  each                     {}", milliseconds(each));
    println!("  failed                   {failed}");
    before.compare();
}

/// What a launch could leave.
struct Traces {
    descriptors: usize,
    mounts: usize,
    processes: BTreeSet<String>,
    instances: usize,
}

impl Traces {
    fn now() -> Self {
        let entries = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
        let names = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = names
            .filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok())
            .filter(|name| ["dm-restrict", "true"].contains(&name.trim()))
            .collect();
        Self {
            descriptors: entries("/proc/self/fd"),
            mounts: fs::read_to_string("/proc/self/mountinfo")
                .map_or(0, |text| text.lines().count()),
            processes,
            instances: entries("/run/dm-restrict"),
        }
    }

    fn compare(&self) {
        let now = Self::now();
        println!(
            "  left: descriptors {}, mounts {}, processes {}, directories {}\n",
            now.descriptors.abs_diff(self.descriptors),
            now.mounts.abs_diff(self.mounts),
            now.processes.difference(&self.processes).count(),
            now.instances.abs_diff(self.instances),
        );
    }
}

fn audit(command: &Path, pairs: usize) {
    // A process that is at rest: one that changes is looked at again.
    let files: Vec<_> = (0..DESCRIPTORS)
        .map(|_| fs::File::open("/dev/null").expect("raise the limit of open files"))
        .collect();
    let numbers: Vec<_> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let mut sleep = Command::new("/usr/bin/sleep");
    let keep = move || {
        for number in &numbers {
            // SAFETY: changes a flag only.
            unsafe { libc::fcntl(*number, libc::F_SETFD, 0) };
        }
        Ok(())
    };
    sleep.arg("1000");
    // SAFETY: in the forked child, fcntl is async-signal-safe.
    unsafe { sleep.pre_exec(keep) };
    let mut sleep = sleep.spawn().expect("it starts");
    let pid = sleep.id().to_string();
    let times = (0..pairs).map(|_| {
        let begin = Instant::now();
        // It is not confined: the checks fail, and that is what takes the time.
        let audit = Command::new(command)
            .args(["audit", &pid])
            .output()
            .expect("it runs");
        let took = begin.elapsed();
        let text = String::from_utf8_lossy(&audit.stderr).into_owned();
        assert_eq!(audit.status.code(), Some(1), "{text}");
        took
    });
    let took = median(times.collect());
    let _ = sleep.kill();
    let _ = sleep.wait();
    println!(
        "audit of a process with {} descriptors, median of {pairs}",
        files.len()
    );
    println!("  {}\n", milliseconds(took));
}

fn reaping(command: &Path, many: usize) {
    let uid = RANGE_BASE + DOMID;
    let times = (0..5).map(|_| {
        let mut children: Vec<_> = (0..many)
            .map(|_| {
                Command::new("/usr/bin/sleep")
                    .arg("1000")
                    .uid(uid)
                    .spawn()
                    .expect("it starts")
            })
            .collect();
        let reaped = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec"])
            .arg(
                "cp /etc/passwd /run/bench-passwd
                 echo \"xen-qemuuser-range-base:x:$1:65534::/:/bin/false\" >> /run/bench-passwd
                 mount --bind /run/bench-passwd /etc/passwd
                 rm /run/bench-passwd
                 begin=$(date +%s%N)
                 \"$0\" reap --domid \"$2\" >&2
                 echo $(($(date +%s%N) - begin))",
            )
            .arg(command)
            .args([RANGE_BASE.to_string(), DOMID.to_string()])
            .stderr(Stdio::piped())
            .output()
            .expect("unshare runs");
        for child in &mut children {
            let _ = child.wait();
        }
        let text = String::from_utf8_lossy(&reaped.stdout).into_owned();
        let nanoseconds = text.trim().parse().unwrap_or_else(|_| {
            panic!("{}", String::from_utf8_lossy(&reaped.stderr));
        });
        Duration::from_nanos(nanoseconds)
    });
    let took = median(times.collect());
    println!("reaping {many} processes of one uid, median of 5");
    println!("  {}", milliseconds(took));
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:8.2} ms", time.as_secs_f64() * 1e3)
}
