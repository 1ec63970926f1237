// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the start to the end: statuses, signals, orphans, and a supervisor that is killed.

use std::{
    ffi::CStr,
    fs,
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::pipe2,
};

use crate::support::{
    launcher::{Launcher, Running, eventually, processes_of},
    programs, static_program,
};

#[test]
fn the_status_is_the_programs() {
    for (action, code) in [
        ("exit=0", 0),
        ("exit=3", 3),
        ("exit=255", 255),
        ("raise=SIGKILL", 128 + 9),
        ("raise=SIGILL", 128 + 4),
        ("raise=SIGUSR1", 128 + 10),
    ] {
        let ended = Launcher::new().probe_does([action]).with_code(code);
        assert_eq!(ended.stderr, "", "{ended:?}");
    }
}

#[test]
fn abort_is_an_abort_though_it_is_no_pid_1() {
    Launcher::new().probe_does(["abort"]).with_code(128 + 6);
}

#[test]
fn an_end_by_a_limit_or_a_filter_is_explained() {
    let launcher = Launcher::new().options(["--tmp", "1M", "--rlimit", "fsize=5000"]);
    let ended = launcher.probe_does(["fill=/tmp/x"]).with_code(128 + 25);
    assert!(ended.stderr.contains("--rlimit fsize"), "{ended:?}");
    let ended = Launcher::new()
        .probe_does(["raise=SIGSYS"])
        .with_code(128 + 31);
    assert!(ended.stderr.contains("system call filter"), "{ended:?}");
}

/// QEMU 10 keeps its display in a memory file, which counts as a file.
#[test]
fn a_display_of_4k_has_room_and_in_libxls_way_its_end_is_explained() {
    let display = format!("display={}", 3840 * 2160 * 4);
    let ended = Launcher::new().probe_does([&display]).with_code(0);
    assert_eq!(ended.stdout, "display ok\n", "{ended:?}");
    let libxl = || Launcher::new().options(["--profile", "libxl"]);
    let ended = libxl().probe_does([&display]).with_code(128 + 25);
    assert!(ended.stderr.contains("raise --rlimit fsize"), "{ended:?}");
    let raised = libxl().options(["--rlimit", "fsize=1073741824"]);
    let ended = raised.probe_does([&display]).with_code(0);
    assert_eq!(ended.stdout, "display ok\n", "{ended:?}");
}

#[test]
fn signals_are_passed_on() {
    let mut running =
        Launcher::new().start_probe(["catch=SIGUSR1", "catch=SIGHUP", "say=here", "forever"]);
    assert_eq!(running.line(), "here");
    running.signal(Signal::SIGUSR1);
    assert_eq!(running.line(), "10");
    running.signal(Signal::SIGHUP);
    assert_eq!(running.line(), "01");
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
}

#[test]
fn a_signal_that_the_launcher_ignores_is_not_passed_on() {
    let launcher = Launcher::new().hook(|| {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
        Ok(())
    });
    let mut running = launcher.start_probe(["catch=SIGUSR1", "say=here", "forever"]);
    assert_eq!(running.line(), "here");
    running.signal(Signal::SIGHUP);
    running.signal(Signal::SIGUSR1);
    assert_eq!(running.line(), "10");
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
}

#[test]
fn a_signal_during_the_start_is_not_lost() {
    for wait in (0..20).map(|step| Duration::from_millis(step * 2)) {
        let running = Launcher::new().start_probe(["forever"]);
        thread::sleep(wait);
        running.signal(Signal::SIGTERM);
        running.wait().with_code(128 + 15);
    }
}

#[test]
fn orphans_end_with_the_program_and_are_waited_for_before() {
    let mut running = Launcher::new().start_probe(["orphan", "orphan", "say=here", "forever"]);
    assert_eq!(running.line(), "here");
    // Init, the program, two orphans.
    assert_eq!(processes_of(running.uid()).len(), 4);
    let init = running.record()["init_pid"].to_string();
    let of_init = |name: &str| {
        let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
        let named = |pid: &&str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.contains(name)
        };
        children
            .split_whitespace()
            .filter(named)
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>()
    };
    let orphans = of_init("Name:");
    assert_eq!(orphans.len(), 2, "{orphans:?}");
    kill(
        nix::unistd::Pid::from_raw(orphans[0].parse().unwrap()),
        Signal::SIGKILL,
    )
    .unwrap();
    eventually(|| (of_init("Name:") == orphans[1..]).then_some(()));
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);

    let ended = Launcher::new().probe_does(["orphan", "exit=7"]);
    ended.with_code(7);
}

#[test]
fn without_a_pid_namespace_the_reaper_ends_orphans() {
    let launcher = Launcher::for_domain().options(["--without", "pid-ns"]);
    launcher.probe_does(["orphan", "exit=7"]).with_code(7);
}

/// /proc of the launcher's, which its supervisor is to see all in.
fn with_proc(launcher: Launcher, options: &'static CStr) -> Launcher {
    launcher
        .options(["--without", "pid-ns", "--seal-after", "0"])
        .hook(move || {
            let proc = Some(c"proc");
            mount(proc, c"/proc", proc, MsFlags::empty(), Some(options))?;
            Ok(())
        })
}

#[test]
fn hidepid_does_not_keep_the_reaper_from_its_work_or_that_is_told() {
    for options in [c"hidepid=1", c"hidepid=2", c"hidepid=2,gid=0"] {
        let launcher = with_proc(Launcher::for_domain(), options);
        let ended = launcher.probe_does(["orphan", "exit=7"]);
        assert_eq!(ended.stderr, "", "{options:?}");
        ended.with_code(7);
    }
    for options in [c"hidepid=2,gid=4711", c"hidepid=4"] {
        let launcher = with_proc(Launcher::for_domain(), options);
        let ended = launcher.probe_does(["exit=7"]);
        for told in ["not reaped at the end", "processes would be missed"] {
            assert!(ended.stderr.contains(told), "{options:?}: {ended:?}");
        }
        ended.with_code(7);
    }
}

/// That nothing runs any more under the uid, and its directory is removed by the next.
fn all_gone(running: Running) {
    let uid = running.uid();
    eventually(|| processes_of(uid).is_empty().then_some(()));
}

#[test]
fn a_supervisor_that_is_killed_takes_all_with_it() {
    for options in [&[][..], &["--without", "root"], &["--log-denied"]] {
        let mut running = Launcher::new()
            .options(options)
            .start_probe(["unfollow", "orphan", "say=here", "forever"]);
        assert_eq!(
            (running.line(), running.line()),
            ("unfollow ok".into(), "here".into())
        );
        running.signal(Signal::SIGKILL);
        all_gone(running);
    }
    // The program itself follows it where there is no init.
    let mut running = Launcher::new()
        .options(["--without", "pid-ns"])
        .start_probe(["say=here", "forever"]);
    running.line();
    running.signal(Signal::SIGKILL);
    all_gone(running);
}

#[test]
fn a_supervisor_that_is_killed_during_the_start_leaves_nothing() {
    for options in [&[][..], &["--without", "pid-ns"]] {
        for step in 0..40 {
            let running = Launcher::new().options(options).start_probe(["forever"]);
            thread::sleep(Duration::from_micros(step * 800));
            running.signal(Signal::SIGKILL);
            all_gone(running);
        }
    }
}

#[test]
fn the_thread_that_launches_may_end() {
    let (here, theirs) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let running = thread::spawn(move || {
        let mut running = Launcher::new()
            .with(|command| {
                command.stdin(theirs);
            })
            .start_probe(["say=here", "forever"]);
        running.line();
        running
    })
    .join()
    .unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(processes_of(running.uid()).len(), 2);
    drop(here);
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
}

#[test]
fn what_cannot_be_executed_has_the_codes_of_a_shell() {
    let launcher = Launcher::new();
    let missing = launcher.path("missing");
    launcher
        .run([missing])
        .refused(127, &["there is no such program"]);
    Launcher::new()
        .run(["no-such-program"])
        .refused(127, &["there is no such program"]);
    let launcher = Launcher::new();
    let below_a_file = launcher.probe().join("x");
    launcher
        .run([below_a_file])
        .refused(127, &["there is no such program"]);
    Launcher::new()
        .run(["/etc"])
        .refused(126, &["it is not a file"]);
    Launcher::new()
        .run(["/etc/passwd"])
        .refused(126, &["chmod +x"]);
}

/// A file of these bytes, that anybody may execute.
fn executable(launcher: &Launcher, bytes: &[u8], mode: u32) -> PathBuf {
    let path = launcher.path("program");
    programs::write(&path, bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn what_the_kernel_does_not_execute_is_explained() {
    for (bytes, mode, says) in [
        (&b"#!/bin/no-such-shell\n"[..], 0o755, "bind that"),
        (b"garbage", 0o755, "not an executable of this machine"),
        (b"", 0o755, "not an executable of this machine"),
        (b"\x7fELF", 0o755, "not an executable of this machine"),
        (b"#!/bin/sh\n", 0o700, "its user may not execute it"),
    ] {
        let launcher =
            Launcher::bare().options(["--no-xen", "--user", "confined", "--without", "cgroup"]);
        let program = executable(&launcher, bytes, mode);
        launcher.run([program]).refused(126, &[says]);
    }
    // Its loader is not there.
    let launcher =
        Launcher::bare().options(["--no-xen", "--user", "confined", "--without", "cgroup"]);
    launcher
        .probe_does(["exit=0"])
        .refused(126, &["--bind-linked"]);
    // Open for writing.
    let launcher = Launcher::new();
    let program = executable(&launcher, b"", 0o755);
    static_program::write(&program);
    let open = fs::OpenOptions::new().append(true).open(&program).unwrap();
    assert!(open.as_raw_fd() > 0);
    launcher.run([program]).refused(126, &["busy"]);
    drop(open);
    // Its arguments are too long.
    let launcher = Launcher::new().options(["--rlimit", "stack=100000"]);
    launcher
        .probe_does([&"x".repeat(120_000)])
        .refused(126, &["too long"]);
}

#[test]
fn too_many_processes_of_its_user_are_named() {
    let launcher = Launcher::new().options(["--rlimit", "nproc=1", "--without", "pid-ns"]);
    let other = || {
        let mut command = Command::new("sleep");
        command.uid(launcher.uid()).arg("60").current_dir("/");
        programs::spawn(&mut command).unwrap()
    };
    let others = [other(), other()];
    let ended = launcher.probe_does(["exit=0"]);
    for mut other in others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    ended.refused(125, &["dm-restrict: rlimits: ", "nproc"]);
}
