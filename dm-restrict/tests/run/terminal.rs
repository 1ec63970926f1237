// SPDX-License-Identifier: MIT OR Apache-2.0
//! The launcher's terminal: the program may write to it where it was handed over, and not
//! type into it.

use std::os::fd::AsRawFd as _;

use nix::{
    errno::Errno,
    pty::{OpenptyResult, openpty},
    sys::signal::Signal,
    unistd::setsid,
};

use crate::support::launcher::Launcher;

const NUMBER: i32 = 9;

/// A launcher whose controlling terminal this is, and who hands it over.
fn at(terminal: &OpenptyResult, profile: &str) -> Launcher {
    let slave = terminal.slave.as_raw_fd();
    Launcher::new()
        .options(["--profile", profile])
        .option(format!("--fd=char-terminal={NUMBER}"))
        .hook(move || {
            setsid()?;
            // SAFETY: a number of a process that is about to execute a program.
            Errno::result(unsafe { libc::dup2(slave, NUMBER) })?;
            // SAFETY: takes a number.
            Errno::result(unsafe { libc::ioctl(NUMBER, libc::TIOCSCTTY, 0) })?;
            Ok(())
        })
}

#[test]
fn it_is_not_the_programs_own_and_nothing_is_typed_into_it() {
    for profile in ["libxl", "strict"] {
        let terminal = openpty(None, None).unwrap();
        let mut running = at(&terminal, profile).start_probe(["type=3", "say=here", "forever"]);
        let typed = running.line();
        assert!(
            ["type EPERM", "type EIO"].contains(&typed.as_str()),
            "{profile}: {typed}"
        );
        running.line();
        let program = running.program();
        let stat = std::fs::read_to_string(format!("/proc/{program}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<_> = fields.split_whitespace().collect();
        let (session, controlling) = (fields[3], fields[4]);
        assert_eq!(
            (session, controlling),
            (program.to_string().as_str(), "0"),
            "{profile}"
        );
        // It is the launcher's still.
        let supervisor = format!("/proc/{}/stat", running.supervisor());
        let stat = std::fs::read_to_string(supervisor).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        assert_ne!(fields.split_whitespace().nth(4).unwrap(), "0");
        running.signal(Signal::SIGTERM);
        running.wait().with_code(128 + 15);
    }
}
