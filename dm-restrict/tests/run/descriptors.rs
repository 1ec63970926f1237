// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors that are handed over, and those that are not.

use std::{
    ffi::CString,
    fs::{self, File},
    io::Write as _,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::Signal,
        stat::{Mode, SFlag, makedev, mknod},
    },
    unistd::{Pid, pipe2},
};

use crate::support::{
    launcher::{Launcher, eventually},
    programs,
};

/// Keeps `fd` open in the command under a number of its own.
fn inherited(launcher: Launcher, fd: impl Into<OwnedFd>, number: i32) -> Launcher {
    let fd = fd.into();
    launcher.hook(move || {
        // SAFETY: a new number in a process that is about to execute a program.
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
        Ok(())
    })
}

fn open(launcher: Launcher, path: &Path, flags: OFlag, number: i32) -> Launcher {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    launcher.hook(move || {
        let fd = nix::fcntl::open(path.as_c_str(), flags, Mode::empty())?;
        // SAFETY: as above.
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
        Ok(())
    })
}

#[test]
fn named_ones_arrive_in_their_order_with_their_names() {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let launcher = Launcher::new();
    fs::write(launcher.path("file"), "12345").unwrap();
    let file = File::open(launcher.path("file")).unwrap();
    let launcher = inherited(launcher, theirs, 509);
    let launcher = inherited(launcher, file, 500);
    let launcher = inherited(launcher, writer, 4000);
    let ended = launcher
        .options([
            "--fd",
            "monitor=509",
            "--fd",
            "disk=500",
            "--fd",
            "log=4000",
        ])
        .probe_does(["fd=3", "fd=4", "fd=5", "report"])
        .with_code(0);
    assert!(
        ended
            .stdout
            .starts_with("fd 3 socket 0\nfd 4 file 5\nfd 5 pipe 0\n"),
        "{ended:?}"
    );
    assert_eq!(ended.value("fds"), "0 1 2 3 4 5");
    for variable in [
        "LISTEN_FDS=3",
        "LISTEN_FDNAMES=monitor:disk:log",
        "LISTEN_PID=2",
    ] {
        assert!(
            ended
                .stdout
                .lines()
                .any(|line| line == format!("env {variable}")),
            "{ended:?}"
        );
    }
    drop((ours, reader));
}

#[test]
fn numbers_may_change_places() {
    let launcher = Launcher::new().options(["--fd", "x=0", "--fd", "stdout=2", "--fd", "stderr=1"]);
    fs::write(launcher.path("file"), "12345").unwrap();
    let file = File::open(launcher.path("file")).unwrap();
    let launcher = launcher.with(|command| {
        command.stdin(file);
    });
    let ended = launcher
        .probe_does(["fd=3", "error=3", "exit=0"])
        .with_code(0);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("\0\u{1}\u{2}", "fd 3 file 5\n")
    );
}

#[test]
fn a_number_that_is_not_open_is_nothing_of_the_supervisors() {
    // Whatever number it opens something under: a lock, signals, a socket.
    for number in (3..24).chain([1000, i32::MAX]) {
        let launcher = Launcher::new().option("--fd").option(format!("x={number}"));
        let launcher = launcher.hook(|| {
            let (first, last) = (3_u32, libc::c_uint::MAX);
            // SAFETY: sets a flag.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_close_range,
                    first,
                    last,
                    libc::CLOSE_RANGE_CLOEXEC,
                )
            };
            Errno::result(result)?;
            Ok(())
        });
        let number = format!("x={number}");
        launcher
            .probe_does(["exit=0"])
            .refused(125, &[&number, "not open"]);
    }
}

#[test]
fn what_would_be_a_power_over_the_machine_is_refused() {
    for flags in [OFlag::O_RDONLY, OFlag::O_PATH] {
        let launcher = open(Launcher::new(), Path::new("/etc"), flags, 500);
        let launcher = launcher.options(["--fd", "x=500"]);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &["x=500", "directory"]);
    }
    // mem, kmem, port, kmsg; named only, as this kernel may not have them.
    for minor in [1, 2, 4, 11] {
        let launcher = Launcher::new();
        let path = launcher.path("device");
        mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(1, minor)).unwrap();
        let launcher = open(launcher, &path, OFlag::O_PATH, 500).options(["--fd", "x=500"]);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &["x=500", "it is a device", "char-"]);
    }
}

/// A block device of the test's own: nobody has a disk of this number.
fn block_device(launcher: &Launcher) -> std::path::PathBuf {
    let loops = fs::read_to_string("/proc/devices").unwrap();
    let blocks = loops.split_once("Block devices:").unwrap().1;
    let major = blocks.lines().find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        ["loop", "virtblk", "sd", "nvme", "ramdisk"]
            .contains(&name)
            .then(|| number.parse().unwrap())
    });
    let path = launcher.path("disk");
    let device = makedev(major.expect("a driver of disks"), 0);
    mknod(
        &path,
        SFlag::S_IFBLK,
        Mode::from_bits_truncate(0o600),
        device,
    )
    .unwrap();
    path
}

#[test]
fn a_disk_is_handed_over_by_a_name_that_says_so() {
    let launcher = Launcher::new();
    let disk = block_device(&launcher);
    let launcher = open(launcher, &disk, OFlag::O_RDONLY, 500).options(["--fd", "x=500"]);
    launcher
        .probe_does(["exit=0"])
        .refused(125, &["x=500", "block device", "block-"]);
    let launcher = Launcher::new();
    let disk = block_device(&launcher);
    let launcher = open(launcher, &disk, OFlag::O_RDONLY, 500).options(["--fd", "block-root=500"]);
    let ended = launcher.probe_does(["fd=3"]).with_code(0);
    assert!(ended.stdout.starts_with("fd 3 other"), "{ended:?}");
}

#[test]
fn a_connection_to_xenstored_is_refused() {
    let launcher = Launcher::new();
    fs::create_dir(launcher.path("xenstored")).unwrap();
    let path = launcher.path("xenstored/socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let stream = UnixStream::connect(&path).unwrap();
    let launcher = inherited(launcher, stream, 500).options(["--fd", "x=500"]);
    launcher
        .probe_does(["exit=0"])
        .refused(125, &["x=500", "xenstored"]);
}

#[test]
fn names_and_numbers_that_make_no_sense_are_refused() {
    for (option, says) in [
        ("x", "NAME=NUM"),
        ("x=", "NAME=NUM"),
        ("x=-1", "NAME=NUM"),
        ("x=+3", "NAME=NUM"),
        ("x=99999999999", "NAME=NUM"),
        ("=3", "name"),
        ("a:b=3", "name"),
        ("a b=3", "name"),
        ("\u{e4}=3", "name"),
        ("xen-privcmd=3", "name"),
    ] {
        let launcher = Launcher::new().options(["--fd", option]);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &["--fd", says]);
    }
    for options in [
        ["--fd", "a=0", "--fd", "b=0"],
        ["--fd", "a=0", "--fd", "a=1"],
    ] {
        let launcher = Launcher::new().options(options);
        launcher.probe_does(["exit=0"]).refused(125, &["twice"]);
    }
}

#[test]
fn a_low_limit_of_descriptors_is_the_programs_not_the_launchers() {
    let launcher = Launcher::new().options(["--rlimit", "nofile=8"]);
    let ended = launcher.probe_does(["report"]).with_code(0);
    assert_eq!(
        (ended.value("fds"), ended.value("rlimit nofile")),
        ("0 1 2", "8 8")
    );
    for limit in ["nofile=7", "nofile=0"] {
        let launcher = Launcher::new().options(["--rlimit", limit]);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &["fds: ", "nofile=8"]);
    }
}

/// Who waits for the program to close its end waits for nobody else.
#[test]
fn the_supervisor_keeps_none_of_them() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let launcher = inherited(Launcher::new(), theirs, 500).options(["--fd", "x=500"]);
    let mut running = launcher.start_probe(["say=here", "forever"]);
    assert_eq!(running.line(), "here");
    let socket = fs::read_link(format!("/proc/{}/fd/3", running.program())).unwrap();
    let has = |pid: Pid| {
        let mut entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        entries.any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == socket))
    };
    assert!(has(running.program()));
    eventually(|| (!has(running.supervisor())).then_some(()));
    drop(ours);
    running.signal(Signal::SIGTERM);
    running.wait();
}

#[test]
fn many_are_handed_over() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"text").unwrap();
    let launcher = inherited(Launcher::new(), file, 600);
    let launcher = launcher.hook(|| {
        for number in 601..800 {
            // SAFETY: a new number in a process that is about to execute a program.
            Errno::result(unsafe { libc::dup2(600, number) })?;
        }
        Ok(())
    });
    let options: Vec<_> = (600..800)
        .flat_map(|number| ["--fd".into(), format!("n{number}={number}")])
        .collect();
    let ended = launcher
        .options(options)
        .probe_does(["report", "fd=202"])
        .with_code(0);
    assert_eq!(ended.value("fds").split(' ').count(), 203);
    assert!(ended.stdout.ends_with("fd 202 file 4\n"), "{ended:?}");
}

/// Nothing of the program is executed before it is confined, its loader neither.
#[test]
fn a_loader_is_not_run_by_the_launcher() {
    let launcher = Launcher::bare().options(["--no-xen", "--user", "confined", "--bind-linked"]);
    let (loader, ran) = (launcher.path("ld"), launcher.writable_dir("ran").join("it"));
    programs::write(
        &loader,
        format!("#!/bin/sh\nid > {}\n", ran.display()).as_bytes(),
    );
    let program = launcher.path("program");
    programs::write(&program, &with_loader(&launcher.probe(), &loader));
    let ended = launcher.run([program]);
    assert!(
        !ran.exists() && [125, 126].contains(&ended.code),
        "{ended:?}"
    );
}

/// A copy of a program, with another loader in the place of its own.
fn with_loader(program: &Path, loader: &Path) -> Vec<u8> {
    let mut bytes = fs::read(program).unwrap();
    let own = bytes.windows(10).position(|part| part == b"/ld-linux-");
    let start = bytes[..own.unwrap()]
        .iter()
        .rposition(|byte| *byte == 0)
        .unwrap()
        + 1;
    let length = bytes[start..].iter().position(|byte| *byte == 0).unwrap();
    let loader = loader.as_os_str().as_encoded_bytes();
    assert!(
        loader.len() <= length,
        "no room for {loader:?}: use a shorter TMPDIR"
    );
    bytes[start..start + length].fill(0);
    bytes[start..start + loader.len()].copy_from_slice(loader);
    bytes
}
