// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that seals itself, under `run`: its supervisor hears of it, and passes it on.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use crate::support::launcher::{Launcher, eventually};

#[test]
fn a_program_that_seals_itself_is_recorded_as_sealed_and_ready() {
    for options in [&[][..], &["--log-denied"], &["--without", "seccomp"]] {
        let launcher = Launcher::new().options(["--seal-after", "4000000000"]);
        let path = launcher.path("manager");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut running = launcher
            .options(options)
            .with(|command| {
                command.env("NOTIFY_SOCKET", &path);
            })
            .start_probe(["seal", "forever"]);
        assert_eq!(running.line(), "seal told=true", "{options:?}");
        eventually(|| (running.record()["sealed"] == true).then_some(()));
        let mut word = [0; 64];
        let length = manager.recv(&mut word).unwrap();
        assert_eq!(&word[..length], b"READY=1", "{options:?}");
        running.signal(Signal::SIGTERM);
        running.wait().with_code(128 + 15);
    }
}
