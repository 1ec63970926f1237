// SPDX-License-Identifier: MIT OR Apache-2.0
//! What makes no sense, or cannot be had here: the launcher's own exit code, a message
//! that says what and what to do, and nothing left.

use std::{
    ffi::{CStr, OsStr},
    fs, io,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

use crate::support::{
    launcher::{Launcher, USER},
    programs,
};

#[test]
fn names_there_are_none_of_are_answered_with_those_there_are() {
    for (options, says) in [
        (["--without", "selinux"], "there are identity, capabilities"),
        (["--require", "x"], "there are identity"),
        (["--profile", "qemu2"], "there are libxl, qemu, strict"),
        (["--rlimit", "files=3"], "there are as, core"),
        (["--rlimit", "nofile"], "NAME=VALUE"),
        (["--rlimit", "nofile=-1"], "a number, or unlimited"),
        (["--cgroup", "cpu.max=1"], "pids.max, memory.max"),
        (["--cgroup", "cpu.weight=max"], "1 to 10000"),
        (["--tmp", "0"], "size"),
        (["--tmp", "1T"], "size"),
        (["--tmp", "99999999999G"], "size"),
        (["--seal-after", "soon"], "--seal-after"),
        (["--env", "=x"], "variable"),
        (["--env", ""], "variable"),
        (["--env", "LISTEN_PID=1"], "set by the launcher"),
        (["--env", "NO_SUCH_VARIABLE"], "NAME=VALUE"),
        (["--user", "nobody-has-this-name"], "nobody-has-this-name"),
        (["--user", "root"], "root's"),
        (["--profile", "qemu"], "by `dm-restrict qemu`"),
        (["--instance", ""], "instance"),
        (["--instance", "../x"], "instance"),
        (["--instance", ".x"], "instance"),
        (["--instance", "a/b"], "instance"),
        (["--instance", "a\nb"], "instance"),
    ] {
        // Where an option may be given once, this one replaces nothing.
        let launcher = match options[0] {
            "--user" => Launcher::bare().options(["--no-xen", "--without", "cgroup"]),
            _ => Launcher::new(),
        };
        launcher
            .options(options)
            .probe_does(["exit=0"])
            .refused(125, &[says]);
    }
    let long = "x".repeat(65);
    Launcher::new()
        .options(["--instance", &long])
        .probe_does(["exit=0"])
        .refused(125, &["1 to 64"]);
}

#[test]
fn a_launchers_own_descriptors_are_numbers_that_are_open() {
    for option in ["--report", "--env-fd"] {
        for number in ["-1", "-2147483648", "x", "2147483648"] {
            Launcher::new()
                .option(format!("{option}={number}"))
                .probe_does(["exit=0"])
                .refused(125, &[option, number]);
        }
        let closed = format!("descriptor {option}=99: the launcher did not leave it open");
        Launcher::new()
            .option(format!("{option}=99"))
            .probe_does(["exit=0"])
            .refused(125, &[&closed]);
    }
    Launcher::new()
        .options(["--fd", "log=-1"])
        .probe_does(["exit=0"])
        .refused(125, &["log=-1"]);
}

#[test]
fn a_domid_is_a_guests() {
    for (domid, says) in [
        ("0", "domain 0"),
        ("32752", "DOMID_SELF"),
        ("65535", "32751"),
        ("65536", "not a domid"),
        ("-1", "domid"),
        ("x", "xl domid"),
    ] {
        let launcher = Launcher::bare()
            .option(format!("--domid={domid}"))
            .options(["--no-xen", "--user", USER]);
        launcher.probe_does(["exit=0"]).refused(125, &[says]);
    }
}

#[test]
fn whose_it_is_has_to_be_said() {
    let no_guest = Launcher::bare().options(["--user", USER]);
    no_guest
        .probe_does(["exit=0"])
        .refused(125, &["--domid", "--no-xen"]);
    let nobody = Launcher::bare().options(["--no-xen"]);
    nobody
        .probe_does(["exit=0"])
        .refused(125, &["--domid", "--user"]);
    let root = Launcher::bare().options(["--no-xen", "--without", "identity"]);
    root.probe_does(["exit=0"])
        .refused(125, &["identity: ", "would be root"]);
    let no_user = Launcher::bare().options(["--domid", "7", "--no-xen"]);
    no_user
        .probe_does(["exit=0"])
        .refused(125, &["xen-qemuuser-range-base"]);
    let mut among_users = Launcher::bare().options(["--domid", "7", "--no-xen"]);
    among_users.users("xen-qemuuser-range-base:x:994:65534::/:/bin/false\n");
    among_users
        .probe_does(["exit=0"])
        .refused(125, &["has uid 994", "usermod --uid 65536"]);
}

#[test]
fn without_xen_handles_cannot_be_had() {
    let launcher = Launcher::bare().options(["--domid", "7", "--user", USER]);
    let launcher = launcher.hook(without_xen);
    launcher
        .probe_does(["exit=0"])
        .refused(125, &["/dev/xen/privcmd"]);
}

/// On a machine that has Xen, the command sees none of its devices.
fn without_xen() -> io::Result<()> {
    let none = None::<&CStr>;
    let (tmpfs, at) = (Some(c"tmpfs"), c"/dev/xen");
    match mount(tmpfs, at, tmpfs, MsFlags::MS_RDONLY, none) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

#[test]
fn handles_that_make_no_sense_are_refused() {
    let launcher = Launcher::bare().options(["--domid", "7", "--user", USER, "--xen", "disk"]);
    launcher
        .probe_does(["exit=0"])
        .refused(125, &["privcmd, evtchn, gntdev"]);
    let launcher = Launcher::bare().options([
        "--domid", "7", "--user", USER, "--xen", "evtchn", "--no-xen",
    ]);
    launcher.probe_does(["exit=0"]).refused(125, &["--no-xen"]);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for (options, says) in [
        (&["--without", "mount-ns"][..], "root needs mount-ns"),
        (&["--without", "no-new-privs"], "needs no-new-privs"),
        (
            &["--without", "landlock", "--require", "landlock"],
            "both left out and required",
        ),
        (
            &["--profile", "libxl", "--require", "seccomp"],
            "not part of profile libxl",
        ),
        (
            &["--without", "root", "--tmp", "1M"],
            "--tmp is of no effect without root",
        ),
        (
            &["--without", "root", "--dev"],
            "--dev is of no effect without root",
        ),
        (
            &["--without", "pid-ns", "--proc"],
            "--proc is of no effect without pid-ns",
        ),
        (
            &["--profile", "libxl", "--proc"],
            "--proc is of no effect without pid-ns",
        ),
        (
            &["--cgroup", "pids.max=3"],
            "--cgroup is of no effect without cgroup",
        ),
        (
            &["--without", "rlimits", "--rlimit", "as=1"],
            "--rlimit is of no effect without rlimits",
        ),
    ] {
        Launcher::new()
            .options(options)
            .probe_does(["exit=0"])
            .refused(125, &[says]);
    }
}

#[test]
fn paths_that_lead_nowhere_are_refused() {
    for (path, says) in [
        ("", "--bind-ro"),
        ("/", "/ itself"),
        ("..", "`..`"),
        ("/usr/../etc", "`..`"),
        ("/usr/..", "`..`"),
        ("/no/such/path", "/no/such/path"),
        ("/etc/passwd/x", "/etc/passwd/x"),
        ("/new\nline\u{1b}", "\\n"),
    ] {
        let launcher = Launcher::new().options(["--bind-ro", path]);
        let ended = launcher.probe_does(["exit=0"]).refused(125, &[says]);
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
    }
    Launcher::new()
        .run(["/usr/../bin/true"])
        .refused(126, &["`..`"]);
    Launcher::new().run([""]).refused(125, &["no program"]);
    Launcher::new()
        .start([] as [&str; 0])
        .wait()
        .refused(125, &["PROGRAM"]);
}

#[test]
fn odd_names_are_names() {
    for name in [
        &b"new\nline"[..],
        b"not utf-8 \xff",
        b"\x1b[2J",
        b" ",
        b"-",
        b"a=b:c,d",
    ] {
        let launcher = Launcher::new();
        let path = launcher.path("odd").join(OsStr::from_bytes(name));
        fs::create_dir(launcher.path("odd")).unwrap();
        fs::write(&path, "text").unwrap();
        let program = launcher
            .path("odd")
            .join(OsStr::from_bytes(&[name, b"program"].concat()));
        fs::hard_link(launcher.probe(), &program).unwrap();
        let mut show = OsStr::new("show=").to_owned();
        show.push(&path);
        let launcher = launcher.option("--bind-ro").option(&path);
        let ended = launcher
            .run([program.as_os_str(), show.as_os_str()])
            .with_code(0);
        assert_eq!(ended.stdout, "show \"text\"\n");
    }
}

#[test]
fn odd_variables_are_passed_on() {
    let ended = Launcher::new()
        .options([
            "--env", "A B=c", "--env", "a.b-c=", "--env", "PASSED", "--env", "TWICE=1", "--env",
            "TWICE=2",
        ])
        .with(|command| {
            command.env("PASSED", "on").env("KEPT", "back");
        })
        .probe_does(["report"])
        .with_code(0);
    let env: Vec<_> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("env "))
        .collect();
    assert_eq!(
        env,
        [
            "env A B=c",
            "env a.b-c=",
            "env PASSED=on",
            "env TWICE=2",
            "env NOTIFY_SOCKET=/notify"
        ]
    );
}

#[test]
fn a_variable_that_is_given_replaces_one_that_is_left() {
    let launcher =
        Launcher::new().options(["--without", "env", "--env", "LANG=C", "--env", "NEW=1"]);
    let ended = launcher
        .with(|command| {
            command
                .env_clear()
                .env("LANG", "de")
                .env("PATH", "/bin")
                .env("NOTIFY_SOCKET", "/outside");
        })
        .probe_does(["report"])
        .with_code(0);
    let mut env: Vec<_> = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("env "))
        .collect();
    env.sort_unstable();
    assert_eq!(
        env,
        [
            "env LANG=C",
            "env NEW=1",
            "env NOTIFY_SOCKET=/notify",
            "env PATH=/bin"
        ]
    );
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let launcher =
        Launcher::new().options(["--dry-run", "--bind-ro", "/etc/hostname", "--fd", "x=0"]);
    let ended = launcher.probe_does(["exit=5"]).with_code(0);
    for said in [
        "mechanism",
        "identity",
        "\"/etc/hostname\"",
        "LEFT OUT by name",
        "restrict",
        "privcmd DM_OP",
        "at any time, up to 32768 MiB for each of 256 threads",
        "stdin",
    ] {
        assert!(ended.stdout.contains(said), "no {said:?} in {ended:?}");
    }
    assert_eq!(fs::read_dir(ended.path("run")).unwrap().count(), 0);
    let launcher = Launcher::new().options(["--dry-run", "--bind-ro", "/no/such"]);
    launcher.probe_does(["exit=5"]).refused(125, &["/no/such"]);
}

#[test]
fn help_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dm-restrict"));
    command
        .args(["run", "--help"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = programs::spawn(&mut command)
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert!(String::from_utf8_lossy(&output.stdout).contains("125"));
}
