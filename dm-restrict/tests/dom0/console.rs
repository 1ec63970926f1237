// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console device of the recipes: killed again and again while its guest writes.

use std::{
    fs::{self, File},
    process::Child,
};

use xen_restrict::{Access, Gfn, GuestMemory, PrivCmd};

use crate::support::{
    Guest, alone, dm_restrict, eventually, from_lab, nothing_is_left, outcome, records, run, signal,
};

/// Words of the guest's status page, and its order to write lines (`docs/lab.md`).
const STATUS: Gfn = Gfn::new(0x200);
const COMMAND: usize = 0x10;
const ARGUMENT: usize = 0x18;
const DONE: usize = 0x20;
const ITERATIONS: usize = 0x28;
const ERRORS: usize = 0x30;
const LINES: u64 = 6;

const ROUNDS: usize = 6;

/// The device, run once, and what it printed.
struct Device {
    supervisor: Child,
    output: tempfile::NamedTempFile,
}

impl Device {
    fn start(domid: &str) -> Self {
        let output = tempfile::NamedTempFile::new().unwrap();
        let supervisor = run(domid)
            .args(["--", &from_lab("XEN_LAB_CONSOLE_DEVICE")])
            .stdout(File::options().append(true).open(output.path()).unwrap())
            .spawn()
            .unwrap();
        Self { supervisor, output }
    }

    fn printed(&self) -> String {
        fs::read_to_string(self.output.path()).unwrap()
    }

    fn program(&self) -> u32 {
        let records = records();
        let ours = |record: &&serde_json::Value| record["supervisor_pid"] == self.supervisor.id();
        let pid = records.iter().find(ours).unwrap()["pid"].as_u64();
        pid.unwrap().try_into().unwrap()
    }
}

fn get(status: &GuestMemory, word: usize) -> u64 {
    status.get(word).unwrap()
}

#[test]
fn a_console_goes_on_where_it_was_killed() {
    let _alone = alone();
    let guest = Guest::create("console");
    let status = PrivCmd::open()
        .unwrap()
        .guest(guest.domid().parse().unwrap())
        .map(&[STATUS], Access::ReadWrite)
        .unwrap();
    let (errors, done) = (get(&status, ERRORS), get(&status, DONE));

    let mut printed = Vec::new();
    for round in 0..ROUNDS {
        let mut device = Device::start(guest.domid());
        if round == 0 {
            eventually("it is sealed", || {
                records().iter().any(|record| record["sealed"] == true)
            });
            status.set(ARGUMENT, &0_u64).unwrap();
            status.set(COMMAND, &LINES).unwrap();
        }
        // Not at the same place of a line each time.
        eventually("it prints", || device.printed().len() > 20 + 11 * round);
        if round == ROUNDS - 1 {
            status.set(COMMAND, &0_u64).unwrap();
            eventually("the guest is done", || get(&status, DONE) != done);
        }
        // Not the supervisor, which may have something to print yet.
        signal(device.program(), libc::SIGKILL);
        let status = device.supervisor.wait().unwrap();
        assert_eq!(status.code(), Some(128 + libc::SIGKILL));
        printed.push(device.printed());
    }

    let lines = get(&status, ITERATIONS);
    let written: String = (0..lines).map(|k| format!("line {k}\n")).collect();
    let mut at = 0_usize;
    for (round, text) in printed.iter().enumerate() {
        // Printed, and killed before it was answered: once more, and no other byte.
        let again = at.saturating_sub(1);
        let from = [at, again]
            .into_iter()
            .find(|from| written[*from..].starts_with(text.as_str()));
        let from = from.unwrap_or_else(|| panic!("round {round}, at {at}: {printed:?}"));
        at = from + text.len();
    }
    assert_eq!(at, written.len(), "nothing is lost");
    assert_eq!(get(&status, ERRORS), errors, "no answer but the device's");
    let domid = guest.domid().to_owned();
    drop((status, guest));
    let reaped = outcome(dm_restrict().args(["reap", "--domid", &domid]));
    assert_eq!(reaped.code, 0, "{reaped:?}");
    nothing_is_left(&domid);
}
