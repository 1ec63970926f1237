// SPDX-License-Identifier: MIT OR Apache-2.0
//! The user's terminal, handed to dom0's prompt and given back whatever happens.

use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result};
use nix::sys::termios::{self, SetArg, Termios};
use terminal_size::{Height, Width};

use crate::job::Terminal;

/// What the terminal was like before, while it is changed.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Gives the terminal back when dropped.
pub(crate) struct Raw(());

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, if it was taken. For the signal handler's thread, too.
pub(crate) fn restore() {
    let before = BEFORE.lock().map(|mut before| before.take());
    if let Ok(Some(before)) = before {
        // Nothing can be done about a terminal that is gone.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}

/// Sends each key to dom0 from now on.
///
/// # Errors
/// The terminal's settings cannot be changed.
pub(crate) fn forward(to: &UnixStream) -> Result<Raw> {
    let mut to = to.try_clone()?;
    if io::stdin().is_terminal() {
        let before = termios::tcgetattr(io::stdin()).context("cannot read the terminal's state")?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        if let Ok(mut slot) = BEFORE.lock() {
            *slot = Some(before);
        }
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &raw)
            .context("cannot change the terminal's state")?;
    }
    thread::spawn(move || {
        // Ends when either side does.
        let _ = io::copy(&mut io::stdin(), &mut to);
        let _ = to.flush();
    });
    Ok(Raw(()))
}

/// The terminal's size; a common one when there is no terminal.
pub(crate) fn size() -> Terminal {
    match terminal_size::terminal_size() {
        Some((Width(columns), Height(rows))) => Terminal { rows, columns },
        None => Terminal {
            rows: 24,
            columns: 80,
        },
    }
}
