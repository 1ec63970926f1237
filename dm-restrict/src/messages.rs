// SPDX-License-Identifier: MIT OR Apache-2.0
//! The supervisor's own words. The program writes to the same place, as much as it likes,
//! and a reader may take nothing: the supervisor has more to do than to wait for that.

use std::{
    collections::HashSet,
    io::{self, ErrorKind},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use xen_restrict::launch::Output;

/// What waits for a reader.
const ROOM: usize = 64 << 10;
/// Different system calls that are named; their arguments count.
const DENIED: usize = 512;
const SECOND: Duration = Duration::from_secs(1);

/// Standard error, without waiting.
pub(crate) struct Messages {
    /// `None`: it is closed, and nothing is said.
    to: Option<Output>,
    waiting: Vec<u8>,
    lost: u32,
    denied: HashSet<String>,
}

impl Messages {
    pub(crate) fn new() -> Self {
        Self {
            to: Output::new(io::stderr().as_fd()).ok(),
            waiting: Vec::new(),
            lost: 0,
            denied: HashSet::new(),
        }
    }

    /// A refused system call, each once: a program can make any number of them.
    pub(crate) fn denied(&mut self, call: &str) {
        let what = call.split(" of thread").next().unwrap_or(call);
        if self.denied.len() < DENIED && self.denied.insert(what.to_owned()) {
            self.say(&format!("denied: {call}"));
        }
    }

    pub(crate) fn say(&mut self, message: &str) {
        let line = format!("dm-restrict: {message}\n");
        if self.waiting.len() + line.len() > ROOM {
            self.lost += 1;
        } else {
            self.told_of_lost();
            self.waiting.extend(line.as_bytes());
        }
        self.write();
    }

    /// The last of it, for a reader that is not too slow.
    fn finish(&mut self) {
        self.told_of_lost();
        let begin = Instant::now();
        self.write();
        while !self.waiting.is_empty() && begin.elapsed() < SECOND {
            thread::sleep(Duration::from_millis(10));
            self.write();
        }
    }

    fn told_of_lost(&mut self) {
        if self.lost > 0 {
            let line = format!("dm-restrict: {} messages were not said\n", self.lost);
            self.waiting.extend(line.as_bytes());
            self.lost = 0;
        }
    }

    fn write(&mut self) {
        let Some(to) = &mut self.to else {
            return self.waiting.clear();
        };
        while !self.waiting.is_empty() {
            match io::Write::write(to, &self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nobody reads it, or there is no room for it.
                Err(_) => return self.waiting.clear(),
            }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.finish();
    }
}
