// SPDX-License-Identifier: MIT OR Apache-2.0
//! What README and docs/ show of dom0, done as it stands there (`support/blocks.rs`).

#[path = "../support/blocks.rs"]
mod blocks;

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use blocks::{Block, PAGES, blocks, commands};
use xen_restrict::{Access, Gfn, GuestMemory, PrivCmd};

use crate::{
    services::Services,
    support::{a, alone, eventually, from_lab, nothing_is_left, outcome, records, signal},
};

/// The pages' own names for what a reader has: a directory in PATH, and to work in.
const NAMES: &str = "/tmp/pages";

fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", command])
        .env("PATH", format!("{NAMES}:{}", from_lab("PATH")))
        .current_dir(NAMES)
        .stdin(Stdio::null());
    shell
}

/// The guest serves a vchan to those who ask, as long as this value lives.
struct Vchan(GuestMemory);

impl Vchan {
    /// Words of the guest's status page, and the byte of its ring (`docs/lab.md`).
    const COMMAND: usize = 0x10;
    const DONE: usize = 0x20;
    const PORT: usize = 0x90;
    const BULK_FRAME: usize = 0xc0;
    const SERVER_LIVE: usize = 21;

    fn start() -> Self {
        let guest = PrivCmd::open().unwrap().guest(a().parse().unwrap());
        let map = |frame| guest.map(&[Gfn::new(frame)], Access::ReadWrite).unwrap();
        let status = map(0x200);
        assert_eq!(status.get::<u64>(Self::PORT), Ok(6), "the README's port");
        let ring = map(status.get(Self::BULK_FRAME).unwrap());
        status.set(Self::COMMAND, &5_u64).unwrap();
        eventually("the guest serves", || {
            ring.get::<u8>(Self::SERVER_LIVE) == Ok(1)
        });
        Self(status)
    }
}

impl Drop for Vchan {
    fn drop(&mut self) {
        let done = self.0.get::<u64>(Self::DONE);
        self.0.set(Self::COMMAND, &0_u64).unwrap();
        if !thread::panicking() {
            eventually("the guest is done", || self.0.get(Self::DONE) != done);
        }
    }
}

/// What the pages take for granted.
fn prepare() -> Vchan {
    // The guest that they are about.
    assert_eq!(a(), "1");
    fs::create_dir_all(NAMES).unwrap();
    let names = Path::new(NAMES);
    for (of, name) in [
        (from_lab("XEN_LAB_CONSOLE_DEVICE"), "my-device-model"),
        ("/bin/busybox".into(), "busybox"),
    ] {
        let _ = fs::remove_file(names.join(name));
        symlink(of, names.join(name)).unwrap();
    }
    let guest = fs::read_to_string("/guest/guest.cfg").unwrap();
    fs::write(names.join("guest1.cfg"), guest + "name = \"guest1\"\n").unwrap();
    Vchan::start()
}

const RECIPES: &str = "docs/recipes.md";

#[test]
fn pages_are_true() {
    let _alone = alone();
    let _vchan = prepare();
    for (path, page) in PAGES.iter().filter(|(path, _)| *path != RECIPES) {
        follow(path, page);
    }
}

#[test]
fn recipes_are_true() {
    let _alone = alone();
    let _vchan = prepare();
    let services = Services::start(NAMES);
    let recipes = PAGES.iter().find(|(path, _)| *path == RECIPES);
    let (path, page) = recipes.unwrap();
    follow(path, page);
    it_is_started_again(&services);
    drop(services);
    let _ = outcome(Command::new("xl").args(["destroy", "guest1"]));
}

fn follow(path: &str, page: &str) {
    let mut started = Vec::new();
    for block in blocks(page) {
        let at = format!("{path}, line {}", block.line);
        match block.marker {
            Some(("run", "dom0")) => run(&at, &block),
            Some(("start", "dom0")) => started.push(start(&at, &block)),
            Some(("write", to)) => write(to, &block),
            _ => {}
        }
    }
    drop(started);
    nothing_is_left(&a());
}

/// The service of the recipes: for the same domain, when it has crashed.
fn it_is_started_again(services: &Services) {
    let record = || {
        let mut records = records().into_iter();
        records.find(|record| record["domid"] != 1 && record["sealed"] == true)
    };
    let first = record().unwrap();
    signal(
        first["pid"].as_u64().unwrap().try_into().unwrap(),
        libc::SIGKILL,
    );
    let again = |record: serde_json::Value| {
        record["domid"] == first["domid"] && record["pid"] != first["pid"]
    };
    eventually("it is started again", || record().is_some_and(again));
    let restarts = services.control(&["show", "--property=NRestarts", "dm-restrict@guest1"]);
    assert_eq!(restarts.stdout.trim(), "NRestarts=1");
}

/// What is shown comes in this order; `...` stands for more. A number is any number.
fn run(at: &str, block: &Block<'_>) {
    for (command, shown) in commands(block) {
        println!("{at}: {command}");
        let outcome = outcome(&mut shell(&command));
        assert_eq!(outcome.code, 0, "{at}: {command}: {outcome:?}");
        if let Some(line) = missing(&shown, &outcome.stdout) {
            panic!("{at}: {command}: no {line:?}, or not there: {outcome:?}");
        }
    }
}

/// The pages show what the lab's default dom0 prints. Another kernel has other holes to tell
/// of: there the commands only have to succeed.
fn is_shown_here() -> bool {
    from_lab("XEN_LAB_SUITE") == "bookworm" && from_lab("XEN_LAB_DOM0") == "pv"
}

fn missing(shown: &[&str], printed: &str) -> Option<String> {
    if !is_shown_here() {
        return None;
    }
    let mut rest = printed.lines().map(alike);
    let lines = shown.iter().filter(|line| !line.trim().starts_with("..."));
    lines
        .map(|line| alike(line))
        .find(|line| rest.all(|other| other != *line))
}

/// Without what differs from machine to machine, and from table to table.
fn alike(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let mut alike = String::new();
    for character in words.join(" ").chars() {
        match character.is_ascii_digit() {
            true if alike.ends_with('#') => {}
            true => alike.push('#'),
            false => alike.push(character),
        }
    }
    alike
}

/// A program that goes on, until this value is gone.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: a child that was not waited for.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

fn start(at: &str, block: &Block<'_>) -> Started {
    let commands = commands(block);
    let [(command, shown)] = commands.as_slice() else {
        panic!("{at}: one command");
    };
    let path = Path::new(NAMES).join("output");
    let output = File::create(&path).unwrap();
    let child = shell(&format!("exec {command}"))
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap();
    let mut started = Started(child);
    let runs = |r: &serde_json::Value| r["supervisor_pid"] == started.0.id() && r["sealed"] == true;
    eventually("it runs and is sealed", || records().iter().any(runs));
    // The audit is printed when the program has been let go on.
    let mut printed = String::new();
    for _ in 0..100 {
        printed = fs::read_to_string(&path).unwrap();
        if missing(shown, &printed).is_none() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    let line = missing(shown, &printed);
    assert_eq!(line, None, "{at}: {command}: {printed}");
    assert!(started.0.try_wait().unwrap().is_none(), "{at}: it ended");
    started
}

fn write(to: &str, block: &Block<'_>) {
    let path = Path::new(to);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, block.text.join("\n") + "\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
