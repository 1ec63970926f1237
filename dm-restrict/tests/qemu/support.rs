// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests of `dm-restrict qemu`, and what is known of them.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{self, Command, Output},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use xen_restrict::launch::QEMU_OVERRIDE;

use crate::{
    disk, network,
    stock::{NoStart, StockGuest, from_lab},
};

/// How long a guest may seem to do nothing: its firmware takes a while.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a guest uses its disk between two signs of life of who waits for it: in a PVH dom0
/// a slow machine takes minutes for [`Wanted::times`].
const OFTEN: u16 = 50;

/// One guest at a time: what is left of others is looked for.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The command under the name by which it is QEMU to `xl`, where a package has it.
pub(crate) fn in_place_of_qemu() -> PathBuf {
    let path = PathBuf::from(QEMU_OVERRIDE);
    if !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(from_lab("XEN_LAB_DM_RESTRICT"), &path).unwrap();
    }
    path
}

pub(crate) fn dm_restrict(arguments: &[&str]) -> Output {
    let mut command = Command::new(from_lab("XEN_LAB_DM_RESTRICT"));
    command.args(arguments).output().unwrap()
}

/// Of an audit of a guest's running QEMU, which is returned.
pub(crate) fn every_check_holds(domid: u16) -> String {
    let audit = dm_restrict(&["audit", "--filters", "--domid", &domid.to_string()]);
    let text = String::from_utf8(audit.stdout).unwrap();
    assert_eq!(audit.status.code(), Some(0), "{text}");
    text
}

/// What the monitoring check of docs/recipes.md says.
pub(crate) fn monitoring() -> String {
    let page = include_str!("../../../docs/recipes.md");
    let (_, script) = page
        .split_once("#!/bin/sh\n# Are the device models")
        .unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let said = Command::new("sh")
        .args(["-c", &format!("# {script}")])
        .output();
    String::from_utf8(said.unwrap().stdout).unwrap()
}

/// A path that no other test has.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("{name}-{}-{number}", process::id()))
}

/// A guest that boots from its disk.
pub(crate) struct Guest {
    pub(crate) stock: StockGuest,
    pub(crate) disk: PathBuf,
    serial: PathBuf,
    times: u16,
    heard: &'static str,
    pub(crate) record: serde_json::Value,
}

/// What can be another than it is by itself.
pub(crate) struct Wanted<'a> {
    pub(crate) cd: Option<&'a Path>,
    /// The disk, which can be a device.
    pub(crate) device: Option<&'a Path>,
    /// How often it reads and writes.
    pub(crate) times: u16,
    /// Does it use its network card?
    pub(crate) network: bool,
    /// Lines of its config.
    pub(crate) more: &'a [&'a str],
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self {
            cd: None,
            device: None,
            times: disk::TIMES,
            network: false,
            more: &[],
        }
    }
}

impl Guest {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more lines of its config.
    pub(crate) fn with(more: &[&str]) -> Self {
        Self::that(&Wanted {
            more,
            ..Wanted::default()
        })
    }

    pub(crate) fn that(wanted: &Wanted<'_>) -> Self {
        Self::or_panic(Self::try_start(wanted))
    }

    fn or_panic(started: Result<Self, NoStart>) -> Self {
        started.unwrap_or_else(|no| panic!("xl: {}\nQEMU: {}", no.xl, no.qemu))
    }

    pub(crate) fn try_start(wanted: &Wanted<'_>) -> Result<Self, NoStart> {
        let Wanted {
            cd,
            device,
            times,
            network,
            more,
        } = *wanted;
        let serial = scratch("serial");
        let disk = device.map_or_else(|| scratch("disk"), Path::to_owned);
        disk::make(&disk, times);
        if network {
            network::add(&disk);
        }
        let lines = Self::config(&serial, &disk, cd);
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let lines = [&lines, more].concat();
        let stock = StockGuest::create(true, Some(&in_place_of_qemu()), &lines)?;
        let record = record(stock.domid).unwrap();
        Ok(Self {
            stock,
            disk,
            serial,
            times,
            heard: if network { network::ANSWER } else { "" },
            record,
        })
    }

    /// Of a guest that boots from `disk`.
    pub(crate) fn config(serial: &Path, disk: &Path, cd: Option<&Path>) -> [String; 4] {
        let of = |options: &str, path: &Path| {
            format!(
                "\"{options},format=raw,backendtype=qdisk,target={}\"",
                path.display()
            )
        };
        let disks: Vec<_> = [of("vdev=hda,access=rw", disk)]
            .into_iter()
            .chain(cd.map(|cd| of("vdev=hdc,devtype=cdrom,access=ro", cd)))
            .collect();
        [
            "boot=\"c\"".into(),
            // The firmware moves a sector by one request, not word by word.
            "hdtype=\"ahci\"".into(),
            format!("serial=\"file:{}\"", serial.display()),
            format!("disk=[{}]", disks.join(",")),
        ]
    }

    /// Of its QEMU.
    pub(crate) fn pid(&self) -> i32 {
        self.number("pid")
    }

    /// Of all that belongs to it: QEMU, its init, and their supervisor.
    pub(crate) fn pids(&self) -> [i32; 3] {
        ["pid", "init_pid", "supervisor_pid"].map(|name| self.number(name))
    }

    fn number(&self, name: &str) -> i32 {
        let number = self.record[name].as_i64().unwrap();
        number.try_into().unwrap()
    }

    /// After `xl restore`: it has another number, and another QEMU.
    pub(crate) fn has_another_domid(&mut self) {
        let domid = Command::new("xl")
            .args(["domid", self.stock.name()])
            .output();
        let domid = String::from_utf8(domid.unwrap().stdout).unwrap();
        self.stock.domid = domid.trim().parse().unwrap();
        self.record = record(self.stock.domid).unwrap();
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.serial).unwrap()
    }

    /// Waits until the guest has used its disk as often as it wants to.
    pub(crate) fn has_done_its_work(&self) {
        let mut begin = Instant::now();
        let mut before = (String::new(), 0);
        while !self.said().ends_with(disk::DONE) {
            let now = (self.said(), disk::count(&self.disk));
            if now.1 / OFTEN > before.1 / OFTEN {
                // The lab ends a machine that is silent; libtest would hold `eprint!` back.
                io::stderr().write_all(b".").unwrap();
            }
            if now != before {
                (before, begin) = (now, Instant::now());
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "it does nothing after {before:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        let (disk, network) = (disk::TEXT, self.heard);
        let expected = format!("{}{disk}{network}{}", disk::BOOTED, disk::DONE);
        assert_eq!(self.said(), expected);
        assert_eq!(disk::count(&self.disk), self.times);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let made = [&self.disk, &self.serial];
        for path in made.into_iter().filter(|path| path.is_file()) {
            let _ = fs::remove_file(path);
        }
    }
}

/// What was applied to a domain's QEMU.
pub(crate) fn record(domid: u16) -> Option<serde_json::Value> {
    let text = fs::read(format!("/run/dm-restrict/{domid}/dm/applied.json")).ok()?;
    Some(serde_json::from_slice(&text).unwrap())
}

pub(crate) fn is_there(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
