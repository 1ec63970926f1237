// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a hostile device model takes of dom0 is bounded (docs/what-it-costs.md), and dom0
//! works on. The attacker is `restrict/examples/costly`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use crate::support::{
    a, alone, dm_restrict, eventually, from_lab, nothing_is_left, outcome, processes_of, records,
    run, signal, uid_of,
};

/// What ends it.
enum Bound {
    /// It is killed, as it has no more memory.
    Memory,
    /// It has so many at most, and is refused by this error.
    Most(u64, &'static str),
}

use Bound::{Memory, Most};

/// What it takes, of how many it would like to, options, and how far it comes.
type Row = (&'static str, u64, &'static [&'static str], Bound);

const FEW: &[&str] = &["--cgroup", "pids.max=32", "--rlimit", "nofile=64"];
const SEALED: &[&str] = &["--seal-mapping", "--seal-after", "0"];

const ROWS: &[Row] = &[
    ("memory", 96, &[], Memory),
    ("memory-files", 96, &[], Memory),
    ("page-tables", 96 << 10, &[], Memory),
    ("tmp", 96, &["--tmp", "8M"], Most(8, "ENOSPC")),
    ("disk", 96, &[], Most(0, "EROFS")),
    ("locks", 1000, &[], Most(0, "EPERM")),
    ("timers", 20_000, &[], Most(4096, "EAGAIN")),
    ("processes", 1000, FEW, Most(31, "EAGAIN")),
    ("descriptors", 20_000, FEW, Most(20 * 64, "EMFILE")),
    ("filters", 160, FEW, Most(20 * 8, "ENOMEM")),
    ("mapping-list", 32, SEALED, Most(0, "EPERM")),
];

/// As a shell would see it.
fn attack(what: &str, most: u64, options: &[&str]) -> Child {
    let mut command = run(&a());
    command
        .args(["--require", "cgroup", "--cgroup", "memory.max=32M"])
        .args(options)
        .args(["--", &from_lab("XEN_LAB_COSTLY"), what, &most.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn dom0_works() {
    for command in [&["xl", "list"][..], &["xenstore-read", "domid"]] {
        let done = outcome(Command::new(command[0]).args(&command[1..]));
        assert_eq!(done.code, 0, "{command:?}: {done:?}");
    }
}

/// The kernel prints what its firmware's tables have for names: in a PVH dom0 that is no text.
fn log() -> String {
    let said = Command::new("dmesg").output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8_lossy(&said.stdout).into_owned()
}

/// The machine as a whole had enough of everything, and nothing broke.
fn log_is_clean_since(before: &str) {
    let log = log();
    let last = before.lines().last().unwrap_or_default();
    let new = log.lines().skip_while(|line| *line != last).skip(1);
    for word in [
        "BUG",
        "Oops",
        "WARNING:",
        "] Out of memory",
        "allocation failure",
    ] {
        assert_eq!(new.clone().find(|line| line.contains(word)), None);
    }
}

#[test]
fn what_it_takes_has_an_end() {
    let _alone = alone();
    let before = log();
    for (what, most, options, bound) in ROWS {
        let mut attacker = attack(what, *most, options);
        let mut said = String::new();
        let mut stdout = BufReader::new(attacker.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        let words: Vec<_> = said.split_whitespace().collect();
        match (bound, &words[..]) {
            (Memory, []) => {}
            (Most(bound, by), [count, _, refusal]) => {
                let count: u64 = count.parse().unwrap();
                assert!(count <= *bound && refusal == by, "{what}: {said}");
                // It has all of it still.
                let group = records()[0]["cgroup"].as_str().unwrap().to_owned();
                let used = fs::read_to_string(format!("{group}/memory.current")).unwrap();
                let used: u64 = used.trim().parse().unwrap();
                assert!(used <= 32 << 20, "{what}: {used}");
                dom0_works();
                signal(attacker.id(), libc::SIGTERM);
            }
            _ => panic!("{what}: {said:?}"),
        }
        let status = attacker.wait().unwrap();
        let mut stderr = String::new();
        let mut pipe = attacker.stderr.take().unwrap();
        pipe.read_to_string(&mut stderr).unwrap();
        if matches!(bound, Memory) {
            assert_eq!(status.code(), Some(128 + 9), "{what}: {stderr}");
            assert!(stderr.contains("raise --cgroup memory.max"), "{stderr}");
            dom0_works();
        }
        nothing_is_left(&a());
    }
    log_is_clean_since(&before);
}

/// In libxl's way, where nothing bounds them: each is in a session of its own, so that all
/// that would end them has one part of 121 of the processor.
#[test]
fn many_busy_processes_are_ended() {
    let _alone = alone();
    for by_reap in [false, true] {
        let mut attacker = run(&a());
        attacker
            .args(["--profile", "libxl", "--", &from_lab("XEN_LAB_COSTLY")])
            .args(["spin", "120"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut attacker = attacker.spawn().unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(attacker.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        assert_eq!(said, "120 processes -\n");
        let end = if by_reap {
            libc::SIGKILL
        } else {
            libc::SIGTERM
        };
        signal(attacker.id(), end);
        let status = attacker.wait().unwrap();
        if by_reap {
            let reaped = outcome(dm_restrict().args(["reap", "--domid", &a()]));
            assert_eq!(reaped.code, 0, "{reaped:?}");
        } else {
            assert_eq!(status.code(), Some(128 + 15));
        }
        // Its zombies are the first process's to wait for.
        eventually("all are waited for", || {
            processes_of(uid_of(&a())).is_empty()
        });
        nothing_is_left(&a());
        dom0_works();
    }
}

/// As under libxl's limits one device model can bring about. Who has CAP_SYS_ADMIN is exempt.
#[test]
fn where_nobody_can_open_a_file_root_ends_it() {
    const MOST: &str = "/proc/sys/fs/file-max";
    let _alone = alone();
    let mut program = run(&a());
    program
        .args(["--profile", "libxl", "--", &from_lab("XEN_LAB_COSTLY")])
        .args(["spin", "3"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut program = program.spawn().unwrap();
    let mut said = String::new();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    signal(program.id(), libc::SIGKILL);
    program.wait().unwrap();
    let before = fs::read_to_string(MOST).unwrap();
    fs::write(MOST, "1").unwrap();
    let reaped = outcome(dm_restrict().args(["reap", "--domid", &a()]));
    fs::write(MOST, before).unwrap();
    assert_eq!(reaped.code, 0, "{reaped:?}");
    nothing_is_left(&a());
}

/// However many processes there are, they are one of those that want the processor.
#[test]
fn all_its_processes_are_one_that_wants_the_processor() {
    let _alone = alone();
    let before = log();
    let mut attacker = attack("spin", 100, &["--cgroup", "cpu.weight=50"]);
    let mut said = String::new();
    let mut stdout = BufReader::new(attacker.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    assert_eq!(said, "100 processes -\n");
    let group = records()[0]["cgroup"].as_str().unwrap().to_owned();
    let weight = fs::read_to_string(format!("{group}/cpu.weight")).unwrap();
    assert_eq!(weight, "50\n");
    let members = fs::read_to_string(format!("{group}/cgroup.procs")).unwrap();
    assert_eq!(members.lines().count(), 101);
    dom0_works();
    signal(attacker.id(), libc::SIGTERM);
    let status = attacker.wait().unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    nothing_is_left(&a());
    log_is_clean_since(&before);
}
