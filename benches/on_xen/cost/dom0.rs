// SPDX-License-Identifier: MIT OR Apache-2.0
//! How dom0 is meanwhile.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    process::Command,
    time::Instant,
};

use crate::median;

/// Since when, and what it had.
pub(super) struct Dom0 {
    memory: u64,
    log: File,
    since: Instant,
}

/// How long it takes to answer: milliseconds.
pub(super) struct Asked {
    pub(super) xl: f64,
    pub(super) xenstore: f64,
}

impl Dom0 {
    pub(super) fn look() -> Self {
        let mut options = OpenOptions::new();
        let log = options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut log = log.open("/dev/kmsg").expect("the kernel's log");
        log.seek(SeekFrom::End(0)).expect("its end");
        Self {
            memory: available(),
            log,
            since: Instant::now(),
        }
    }

    /// MiB.
    pub(super) fn memory_less(&self) -> u64 {
        self.memory.saturating_sub(available()) >> 10
    }

    /// Of its log.
    pub(super) fn lines_per_second(&self) -> f64 {
        let seconds = self.since.elapsed().as_secs_f64();
        let (mut record, mut first, mut last) = ([0; 8192], None, 0_u64);
        loop {
            match (&self.log).read(&mut record) {
                // Each begins with its priority, and its number: some may be lost.
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    let number = text
                        .split(',')
                        .nth(1)
                        .and_then(|number| number.parse().ok());
                    last = number.expect("a number");
                    first = first.or(number);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // Overwritten: the next is one that is there still.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let lines = first.map_or(0, |first| last - first + 1);
        #[allow(clippy::cast_precision_loss, reason = "few")]
        let lines = lines as f64;
        lines / seconds
    }

    pub(super) fn asked() -> Asked {
        Asked {
            xl: took("xl", &["list"]),
            xenstore: took("xenstore-read", &["domid"]),
        }
    }
}

/// Median of three.
fn took(program: &str, arguments: &[&str]) -> f64 {
    let times = (0..3).map(|_| {
        let begin = Instant::now();
        let output = Command::new(program).args(arguments).output();
        assert!(output.expect("it runs").status.success(), "{program}");
        begin.elapsed().as_secs_f64() * 1e3
    });
    median(times.collect()).0
}

/// KiB.
fn available() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").expect("/proc");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("MemAvailable")
}
