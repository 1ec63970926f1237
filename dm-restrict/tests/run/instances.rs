// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of a running program, and where: /run/dm-restrict.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns},
    sys::signal::Signal,
};

use crate::support::{
    launcher::{Ended, Launcher, Running, USER, c_path, eventually, files_below, processes_of},
    programs,
};

/// Another command where `running` is, and sees the same /run.
pub(crate) fn beside(running: &Running, arguments: &[&str]) -> (String, String, i32) {
    let namespace = fs::File::open(format!("/proc/{}/ns/mnt", running.supervisor())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dm-restrict"));
    command.args(arguments);
    let hook = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        Ok(())
    };
    // SAFETY: a system call.
    unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, hook) };
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = programs::spawn(&mut command)
        .unwrap()
        .wait_with_output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code().unwrap(),
    )
}

pub(crate) fn of_domain() -> Launcher {
    Launcher::bare().options([
        "--domid",
        "7",
        "--user",
        USER,
        "--no-xen",
        "--bind-linked",
        "--without",
        "cgroup",
    ])
}

fn started(launcher: Launcher) -> Running {
    let mut running = launcher.start_probe(["say=here", "forever"]);
    assert_eq!(running.line(), "here");
    running
}

fn end(running: Running) -> Ended {
    running.signal(Signal::SIGTERM);
    running.wait()
}

#[test]
fn what_runs_is_listed_and_recorded() {
    let mut running = of_domain()
        .options(["--instance", "tpm", "--env", "A=b"])
        .start_probe(["say=here", "forever"]);
    running.line();
    let record = running.record();
    for (key, value) in [
        ("domid", "7"),
        ("instance", "\"tpm\""),
        ("profile", "\"strict\""),
        ("sealed", "false"),
        ("version", "1"),
    ] {
        assert_eq!(record[key].to_string(), value, "{key}");
    }
    assert_eq!(record["without"], serde_json::json!(["cgroup"]));
    assert_eq!(record["env"], serde_json::json!(["A"]));
    assert_eq!(record["uid"].as_u64().unwrap(), u64::from(running.uid()));
    let (json, _, code) = beside(&running, &["list", "--json"]);
    assert_eq!(
        (
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            code
        ),
        (serde_json::json!([record]), 0)
    );
    let (text, _, _) = beside(&running, &["list"]);
    let line: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let program = running.program().to_string();
    assert_eq!(
        line[..5],
        ["7", "tpm", &program, "strict", "set-up"],
        "{text}"
    );
    let domain = fs::metadata(running.path("run/dm-restrict/7")).unwrap();
    assert_eq!(domain.permissions().mode() & 0o777, 0o700);
    end(running).with_code(128 + 15);
}

#[test]
fn it_is_sealed_by_an_order() {
    let running = started(of_domain());
    let seal = ["seal", "--domid", "7"];
    assert_eq!(beside(&running, &seal), (String::new(), String::new(), 0));
    assert_eq!(running.record()["sealed"], true);
    let (text, _, _) = beside(&running, &["list"]);
    assert!(text.contains("sealed"), "{text}");
    // Again, and for one that is not there.
    assert_eq!(beside(&running, &seal).2, 0);
    let (_, error, code) = beside(&running, &["seal", "--domid", "7", "--instance", "x"]);
    assert!(code == 1 && error.contains("dm-restrict list"), "{error}");
    end(running).with_code(128 + 15);

    let running =
        started(of_domain().options(["--without", "xen-requests", "--without", "seccomp"]));
    let (_, error, code) = beside(&running, &seal);
    assert!(code == 1 && error.contains("nothing to seal"), "{error}");
    end(running).with_code(128 + 15);
}

#[test]
fn who_connects_and_says_nothing_or_nonsense_is_no_matter() {
    let running = started(of_domain());
    let socket = running.path("run/dm-restrict/7/dm/control");
    let silent: Vec<_> = (0..20)
        .map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap())
        .collect();
    for mut stream in &silent[..3] {
        std::io::Write::write_all(&mut stream, b"SEAL\xff\n").unwrap();
    }
    assert_eq!(running.record()["sealed"], false);
    drop(silent);
    eventually(|| (beside(&running, &["seal", "--domid", "7"]).2 == 0).then_some(()));
    end(running).with_code(128 + 15);
}

/// In the mount namespace of another, so that both have one /run.
fn in_run_of(other: &Running, launcher: Launcher) -> Launcher {
    let run = other.path("run").canonicalize().unwrap();
    let run = c_path(&run);
    launcher.own_run().hook(move || {
        let none = None::<&std::ffi::CStr>;
        mount(Some(run.as_c_str()), c"/run", none, MsFlags::MS_BIND, none)?;
        Ok(())
    })
}

#[test]
fn one_instance_runs_once_and_others_beside_it() {
    let first = started(of_domain());
    let second = in_run_of(&first, of_domain()).probe_does(["exit=0"]);
    assert!(
        second.code == 125 && second.stderr.contains("\"dm\" of 7 runs already"),
        "{second:?}"
    );
    let third =
        in_run_of(&first, of_domain().options(["--instance", "other"])).probe_does(["exit=5"]);
    assert_eq!((third.code, third.stderr.as_str()), (5, ""));
    let fourth =
        in_run_of(&first, of_domain().options(["--instance", "other"])).probe_does(["exit=6"]);
    assert_eq!(fourth.code, 6);
    assert_eq!(first.record()["instance"], "dm");
    end(first).with_code(128 + 15);
}

#[test]
fn what_a_killed_supervisor_left_is_removed_by_the_next() {
    let mut first = of_domain().start_probe(["say=here", "forever"]);
    first.line();
    first.signal(Signal::SIGKILL);
    eventually(|| processes_of(first.uid()).is_empty().then_some(()));
    assert!(first.path("run/dm-restrict/7/dm/control").exists());
    let (list, _, code) = {
        // Nobody is there to look from: from a run beside it.
        let other = started(in_run_of(&first, of_domain().options(["--instance", "x"])));
        let answer = beside(&other, &["list", "--json"]);
        end(other);
        answer
    };
    assert!(code == 0 && !list.contains("\"dm\""), "{list}");
    assert!(
        !first.path("run/dm-restrict/7").exists(),
        "{:?}",
        files_below(&first.path("run"))
    );
    let again = in_run_of(&first, of_domain()).probe_does(["exit=4"]);
    assert_eq!((again.code, again.stderr.as_str()), (4, ""));
    drop(first);
}

#[test]
fn a_run_that_is_not_roots_is_not_trusted() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 4] = [
        (
            |run| std::os::unix::fs::chown(run, Some(12345), None).unwrap(),
            "root's",
        ),
        (
            |run| fs::set_permissions(run, fs::Permissions::from_mode(0o777)).unwrap(),
            "root's",
        ),
        (
            |run| {
                fs::rename(run, run.with_extension("moved")).unwrap();
                symlink("/tmp", run).unwrap();
            },
            "root's",
        ),
        (
            |run| {
                fs::remove_dir(run).unwrap();
                fs::write(run, "").unwrap();
            },
            "root's",
        ),
    ];
    for (change, says) in changes {
        for below in [false, true] {
            let launcher = of_domain();
            let directory = launcher.path("run/dm-restrict");
            let directory = if below {
                directory.join("7")
            } else {
                directory
            };
            fs::create_dir_all(&directory).unwrap();
            change(&directory);
            let ended = launcher.probe_does(["exit=0"]);
            assert!(
                ended.code == 125 && ended.stdout.is_empty() && ended.stderr.contains(says),
                "{ended:?}"
            );
            assert_eq!(processes_of(ended.uid), []);
        }
    }
}

/// A /run of the test's own making.
fn with_run(options: &'static std::ffi::CStr, flags: MsFlags) -> Launcher {
    of_domain().own_run().hook(move || {
        mount(
            Some(c"tmpfs"),
            c"/run",
            Some(c"tmpfs"),
            MsFlags::empty(),
            Some(options),
        )?;
        if !flags.is_empty() {
            let (none, flags) = (None::<&std::ffi::CStr>, flags | MsFlags::MS_REMOUNT);
            mount(none, c"/run", none, flags, none)?;
        }
        Ok(())
    })
}

#[test]
fn a_run_that_cannot_be_written_is_named() {
    with_run(c"size=1m", MsFlags::MS_RDONLY)
        .probe_does(["exit=0"])
        .refused(125, &["/run/dm-restrict", "Read-only"]);
}

#[test]
fn a_full_run_stops_the_start_wherever_it_fills_up() {
    // Each place for a file or directory more lets it come further.
    let mut ends = Vec::new();
    for inodes in [
        c"nr_inodes=1",
        c"nr_inodes=2",
        c"nr_inodes=3",
        c"nr_inodes=4",
        c"nr_inodes=5",
        c"nr_inodes=6",
        c"nr_inodes=7",
        c"nr_inodes=8",
        c"nr_inodes=9",
    ] {
        let launcher = with_run(inodes, MsFlags::empty());
        // What is left can be seen from inside only.
        let script = "\"$@\"; code=$?; find /run/dm-restrict -mindepth 1; exit $code";
        let ended = launcher
            .through(["sh", "-c", script, "sh"])
            .probe_does(["exit=5"]);
        assert!([5, 125].contains(&ended.code), "{ended:?}");
        let full =
            ended.stderr.contains("No space left") && ended.stderr.contains("/run/dm-restrict");
        assert_eq!(full, ended.code == 125, "{inodes:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{inodes:?} leaves: {ended:?}");
        ends.push(ended.code);
    }
    assert!(
        ends[0] == 125 && ends[8] == 5 && ends.is_sorted_by_key(|code| std::cmp::Reverse(*code)),
        "{ends:?}"
    );
    // No room for what is written into the files.
    let ended = with_run(c"size=4k", MsFlags::empty())
        .hook(|| {
            let file = nix::fcntl::open(
                c"/run/fill",
                nix::fcntl::OFlag::O_CREAT | nix::fcntl::OFlag::O_WRONLY,
                nix::sys::stat::Mode::S_IRUSR,
            )?;
            while nix::unistd::write(&file, &[0; 4096]).is_ok() {}
            Ok(())
        })
        .probe_does(["exit=0"]);
    ended.refused(125, &["applied", "No space left"]);
}

#[test]
fn launches_for_one_domain_take_turns() {
    let first = started(of_domain());
    let others: Vec<_> = (0..30)
        .map(|number| {
            let launcher = of_domain().options(["--instance", &format!("n{number}")]);
            in_run_of(&first, launcher).start_probe(["exit=5"])
        })
        .collect();
    for other in others {
        let ended = other.wait();
        assert_eq!((ended.code, ended.stderr.as_str()), (5, ""), "{ended:?}");
    }
    let left: Vec<_> = fs::read_dir(first.path("run/dm-restrict/7"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    end(first).with_code(128 + 15);
}

#[test]
fn the_directory_of_a_domain_comes_and_goes_under_many() {
    let run = tempfile::tempdir().unwrap();
    let path = c_path(run.path());
    let launch = |number: usize| {
        let path = path.clone();
        of_domain()
            .options(["--instance", &format!("n{number}")])
            .own_run()
            .hook(move || {
                let none = None::<&std::ffi::CStr>;
                mount(Some(path.as_c_str()), c"/run", none, MsFlags::MS_BIND, none)?;
                Ok(())
            })
            .start_probe(["exit=5"])
    };
    for _ in 0..4 {
        let running: Vec<_> = (0..12)
            .map(|number| {
                thread::sleep(Duration::from_millis(5));
                launch(number)
            })
            .collect();
        for running in running {
            let ended = running.wait();
            assert_eq!((ended.code, ended.stderr.as_str()), (5, ""), "{ended:?}");
        }
    }
    assert_eq!(files_below(run.path()).len(), 1);
}
