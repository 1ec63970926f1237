// SPDX-License-Identifier: MIT OR Apache-2.0
//! Standard input and outputs: the program has its own, and what it writes arrives.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    pty::openpty,
    sys::{signal::Signal, termios::tcgetattr},
    unistd::pipe2,
};

use crate::support::launcher::Launcher;

const MEBIBYTE: usize = 1 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(length).collect()
}

#[test]
fn all_of_it_arrives_at_a_slow_reader() {
    let mut running = Launcher::new().start_probe([&format!("output={MEBIBYTE}"), "exit=5"]);
    let mut stdout = running.stdout.take().unwrap();
    let mut taken = vec![0; MEBIBYTE];
    for (at, chunk) in taken.chunks_mut(MEBIBYTE / 8).enumerate() {
        thread::sleep(Duration::from_millis(if at == 7 { 700 } else { 100 }));
        stdout.read_exact(chunk).unwrap();
    }
    assert!(taken == pattern(MEBIBYTE));
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
    running.wait().with_code(5);
}

#[test]
fn what_was_written_before_a_kill_arrives() {
    // It fits into the pipes; the program is gone before anybody reads.
    let mut running =
        Launcher::new().start_probe([&format!("output={}", 100_000), "raise=SIGKILL"]);
    let mut stdout = running.stdout.take().unwrap();
    thread::sleep(Duration::from_millis(500));
    let mut taken = Vec::new();
    stdout.read_to_end(&mut taken).unwrap();
    assert!(taken == pattern(100_000), "{} bytes", taken.len());
    running.wait().with_code(128 + 9);
}

#[test]
fn a_reader_that_takes_nothing_holds_up_neither_signals_nor_the_end() {
    let mut running = Launcher::new().start_probe([&format!("output={MEBIBYTE}"), "forever"]);
    let stdout = running.stdout.take();
    thread::sleep(Duration::from_millis(200));
    running.signal(Signal::SIGUSR2);
    running.wait().with_code(128 + 12);
    drop(stdout);
}

#[test]
fn both_outputs_into_one_pipe_hold_up_nothing_either() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let again = writer.try_clone().unwrap();
    let launcher = Launcher::new().with(|command| {
        command.stdout(writer).stderr(again);
    });
    let running = launcher.start_probe([
        &format!("error={MEBIBYTE}"),
        &format!("output={MEBIBYTE}"),
        "forever",
    ]);
    thread::sleep(Duration::from_millis(200));
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
    drop(reader);
}

#[test]
fn a_reader_that_goes_is_told_to_the_program() {
    let mut running = Launcher::new().start_probe([&format!("output={MEBIBYTE}"), "exit=5"]);
    drop(running.stdout.take());
    // The language's own start ignores SIGPIPE: so it sees the error.
    let ended = running.wait().with_code(5);
    assert!(ended.stderr.contains("output EPIPE"), "{ended:?}");
}

#[test]
fn a_full_disk_is_not_the_programs_end() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let launcher = Launcher::new().with(|command| {
        command.stdout(full);
    });
    let ended = launcher
        .probe_does([&format!("output={MEBIBYTE}"), "exit=5"])
        .with_code(5);
    assert_eq!(ended.stderr, "", "{ended:?}");
}

#[test]
fn a_logs_earlier_bytes_survive() {
    for append in [true, false] {
        let launcher = Launcher::new();
        let log = launcher.path("log");
        fs::write(&log, "earlier\n").unwrap();
        let mut file = OpenOptions::new()
            .write(true)
            .append(append)
            .open(&log)
            .unwrap();
        if !append {
            file.write_all(b"EARLIER\n").unwrap();
        }
        let flags = fcntl(file.as_fd(), FcntlArg::F_GETFL).unwrap();
        let same = file.try_clone().unwrap();
        let launcher = launcher.with(|command| {
            command.stdout(same);
        });
        let ended = launcher
            .probe_does(["say=first", "spoil-output", "say=last"])
            .with_code(0);
        assert_eq!(ended.stderr, "flags ok\ntruncate EINVAL\nseek ESPIPE\n");
        let text = fs::read_to_string(&log).unwrap().to_lowercase();
        assert_eq!(text, "earlier\nfirst\nlast\n");
        assert_eq!(fcntl(file.as_fd(), FcntlArg::F_GETFL).unwrap(), flags);
    }
}

#[test]
fn a_terminal_stays_as_it_is() {
    let pty = openpty(None, None).unwrap();
    let terminal = File::from(pty.slave);
    let before = tcgetattr(&terminal).unwrap();
    let flags = fcntl(terminal.as_fd(), FcntlArg::F_GETFL).unwrap();
    let (stdin, stdout, stderr) = (
        terminal.try_clone().unwrap(),
        terminal.try_clone().unwrap(),
        terminal.try_clone().unwrap(),
    );
    let launcher = Launcher::new().with(|command| {
        command.stdin(stdin).stdout(stdout).stderr(stderr);
    });
    launcher
        .probe_does(["spoil-output", "say=done", "fd=0"])
        .with_code(0);
    assert_eq!(tcgetattr(&terminal).unwrap(), before);
    assert_eq!(fcntl(terminal.as_fd(), FcntlArg::F_GETFL).unwrap(), flags);
    let mut said = [0; 4096];
    let length = File::from(pty.master).read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    assert!(
        said.contains("done") && said.contains("fd 0 character"),
        "{said}"
    );
}

#[test]
fn a_terminal_that_takes_nothing_holds_up_nothing() {
    let pty = openpty(None, None).unwrap();
    let terminal = File::from(pty.slave);
    let launcher = Launcher::new().with(|command| {
        command.stdout(terminal);
    });
    let running = launcher.start_probe([&format!("output={MEBIBYTE}"), "forever"]);
    thread::sleep(Duration::from_millis(200));
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
    drop(pty.master);
}

#[test]
fn standard_input_is_empty_whatever_the_launchers() {
    let launcher = Launcher::new();
    let (secret, path) = (launcher.path("secret"), launcher.path("secret"));
    fs::write(&path, "secret").unwrap();
    let launcher = launcher.with(|command| {
        command.stdin(File::open(secret).unwrap());
    });
    let ended = launcher.probe_does(["fd=0", "fd=1", "fd=2"]).with_code(0);
    assert_eq!(ended.stdout, "fd 0 character 0\nfd 1 pipe 0\nfd 2 pipe 0\n");
}

#[test]
fn a_named_one_is_the_launchers_own() {
    let launcher = Launcher::new().options(["--fd", "stdout=1", "--fd", "stdin=0"]);
    let log = launcher.path("log");
    fs::write(&log, "earlier\n").unwrap();
    let (stdin, stdout) = (
        File::open(&log).unwrap(),
        OpenOptions::new().append(true).open(&log).unwrap(),
    );
    let launcher = launcher.with(|command| {
        command.stdin(stdin).stdout(stdout);
    });
    let ended = launcher.probe_does(["fd=0", "fd=1", "fd=2"]).with_code(0);
    let text = fs::read_to_string(ended.path("log")).unwrap();
    assert_eq!(
        text, "earlier\nfd 0 file 8\nfd 1 file 20\nfd 2 pipe 0\n",
        "{ended:?}"
    );
}

#[test]
fn closed_descriptors_of_the_launcher_are_no_ones() {
    let launcher = Launcher::new().hook(|| {
        for number in 0..3 {
            // SAFETY: a number; what had it is not used again before exec.
            unsafe { libc::close(number) };
        }
        Ok(())
    });
    let mut running = launcher.start_probe(["report", "exit=5"]);
    let mut text = String::new();
    running
        .stdout
        .as_mut()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "");
    running.wait().with_code(5);
}
