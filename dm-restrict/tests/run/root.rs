// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root directory: what was named is in it, nothing else, and no way back.

use std::{
    ffi::CStr,
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::{UnixDatagram, UnixListener},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::{
        signal::Signal,
        stat::{Mode, umask},
    },
};

use crate::support::{
    deny::Deny,
    launcher::{Ended, Launcher, c_path, eventually, open_to_all},
    static_program,
};

/// Landlock would refuse to list the root, which then could hold anything.
fn seen() -> Launcher {
    Launcher::new().options(["--without", "landlock"])
}

fn lines(ended: &Ended) -> Vec<&str> {
    ended.stdout.lines().collect()
}

#[test]
fn a_static_program_needs_nothing_and_finds_nothing() {
    let launcher =
        Launcher::bare().options(["--no-xen", "--user", "confined", "--without", "cgroup"]);
    let program = launcher.path("program");
    static_program::write(&program);
    let running = launcher.start([program.as_os_str(), "/file".as_ref(), "stay".as_ref()]);
    let record = eventually(|| running.try_record());
    let pid = record["pid"].to_string();
    // It is there from its first instruction on, which is its own.
    eventually(|| {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
        (call.starts_with("34 ") || call.starts_with("73 ")).then_some(())
    });
    let root = format!("/proc/{pid}/root");
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let top = program.components().nth(1).unwrap();
    let mut expected = [top.as_os_str().to_owned(), "notify".into()];
    expected.sort();
    assert_eq!(names(Path::new(&root)), expected);
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 2, "{mounts}");
    assert!(
        mounts.lines().all(|line| line
            .split(' ')
            .nth(5)
            .unwrap()
            .starts_with("ro,nosuid,nodev")),
        "{mounts}"
    );
    running.signal(Signal::SIGTERM);
    running.wait().with_code(128 + 15);
}

#[test]
fn nothing_but_what_was_named_is_there() {
    let launcher = seen();
    let top = launcher
        .probe()
        .components()
        .nth(1)
        .unwrap()
        .as_os_str()
        .to_owned();
    let ended = launcher
        .probe_does([
            "list=/",
            "list=/..",
            "create=/x",
            "mkdir=/x",
            "read=/etc/passwd",
            "read=/proc/1/root/etc/passwd",
            "chdir=..",
            "read=etc/passwd",
            "connect=/notify",
        ])
        .with_code(0);
    let lines = lines(&ended);
    for listed in &lines[..2] {
        let mut names: Vec<_> = listed
            .trim_start_matches("list [")
            .trim_end_matches(']')
            .split(", ")
            .map(|name| name.trim_matches('"'))
            .collect();
        names.retain(|name| !["lib", "lib64", "usr", "notify"].contains(name));
        assert_eq!(names, [top.to_str().unwrap()], "{listed}");
    }
    assert_eq!(
        lines[2..],
        [
            "create EROFS",
            "mkdir EROFS",
            "read ENOENT",
            "read ENOENT",
            "chdir ok",
            "read ENOENT",
            "connect EPERM"
        ]
    );
}

/// A directory with a file in it, and a mount below with another.
struct Tree {
    launcher: Launcher,
}

fn tree(launcher: Launcher) -> Tree {
    let below = launcher.path("tree/below");
    fs::create_dir_all(&below).unwrap();
    fs::write(launcher.path("tree/file"), "text").unwrap();
    for path in ["tree", "tree/below"] {
        fs::set_permissions(launcher.path(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::set_permissions(
        launcher.path("tree/file"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    let below = c_path(&below);
    let launcher = launcher.hook(move || {
        let (tmpfs, options) = (Some(c"tmpfs"), Some(c"mode=0777"));
        mount(tmpfs, below.as_c_str(), tmpfs, MsFlags::empty(), options)?;
        Ok(())
    });
    Tree { launcher }
}

impl Tree {
    fn changes(self, option: &str) -> Ended {
        let path = |name: &str| self.launcher.path(name).display().to_string();
        let actions = [
            format!("write={}", path("tree/file")),
            format!("create={}", path("tree/new")),
            format!("create={}", path("tree/below/new")),
            format!("mkdir={}", path("tree/below/dir")),
            format!("show={}", path("tree/file")),
        ];
        let tree = path("tree");
        self.launcher
            .options([option, &tree])
            .probe_does(actions)
            .with_code(0)
    }
}

#[test]
fn what_is_read_only_cannot_be_written_nor_what_is_mounted_in_it() {
    let read_only = [
        "write EROFS",
        "create EROFS",
        "create EROFS",
        "mkdir EROFS",
        "show \"text\"",
    ];
    // By the mounts alone, without Landlock.
    assert_eq!(lines(&tree(seen()).changes("--bind-ro")), read_only);
    let ended = tree(Launcher::new()).changes("--bind-ro");
    assert!(
        lines(&ended)[..4].iter().all(|line| !line.ends_with("ok")),
        "{ended:?}"
    );
    // As on a kernel before 5.12: what is mounted in it is left out.
    let deny = [Deny {
        call: libc::SYS_mount_setattr,
        when: &[],
        errno: libc::ENOSYS,
    }];
    let mut old = tree(seen());
    old.launcher = old.launcher.deny(&deny);
    assert_eq!(lines(&old.changes("--bind-ro")), read_only);
}

#[test]
fn what_is_to_be_changed_can_be_and_stays() {
    for launcher in [seen(), Launcher::new()] {
        let ended = tree(launcher).changes("--bind-rw");
        assert_eq!(
            lines(&ended),
            [
                "write ok",
                "create ok",
                "create ok",
                "mkdir ok",
                "show \"text\""
            ]
        );
        assert!(ended.path("tree/new").exists());
    }
}

#[test]
fn single_files_are_read_only_too() {
    let launcher = Launcher::new();
    let (read, change) = (launcher.path("read"), launcher.path("change"));
    for path in [&read, &change] {
        fs::write(path, "text").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    }
    let launcher = launcher
        .option("--bind-ro")
        .option(&read)
        .option("--bind-rw")
        .option(&change);
    let ended = launcher
        .probe_does([
            format!("write={}", read.display()),
            format!("write={}", change.display()),
            format!("show={}", read.display()),
        ])
        .with_code(0);
    assert_eq!(lines(&ended)[1..], ["write ok", "show \"text\""]);
    assert_ne!(lines(&ended)[0], "write ok");
}

#[test]
fn nested_paths_each_have_their_own_right() {
    let launcher = seen();
    for directory in ["a", "a/b", "a/b/c"] {
        let path = launcher.path(directory);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let path = |name: &str| launcher.path(name).into_os_string();
    let options = [
        "--bind-ro".into(),
        path("a"),
        "--bind-rw".into(),
        path("a/b"),
        "--bind-ro".into(),
        path("a/b/c"),
    ];
    let create = |name: &str| format!("create={}", launcher.path(name).display());
    let actions = [create("a/x"), create("a/b/x"), create("a/b/c/x")];
    let ended = launcher.options(options).probe_does(actions).with_code(0);
    assert_eq!(lines(&ended), ["create EROFS", "create ok", "create EROFS"]);
}

#[test]
fn one_path_with_two_rights_is_refused() {
    let launcher = Launcher::new();
    let path = launcher.writable_dir("a");
    let launcher = launcher
        .option("--bind-ro")
        .option(&path)
        .option("--bind-rw")
        .option(&path);
    launcher
        .probe_does(["exit=0"])
        .refused(125, &["/a\"", "--bind-ro", "--bind-rw"]);
    for (option, path) in [("--proc", "/proc"), ("--tmp=1M", "/tmp")] {
        let launcher = Launcher::new().options([option, "--bind-ro", path]);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &[path, &option[..5]]);
    }
}

#[test]
fn a_symbolic_link_leads_where_it_leads_outside() {
    let launcher = seen();
    fs::create_dir(launcher.path("real")).unwrap();
    fs::write(launcher.path("real/file"), "text").unwrap();
    symlink("real", launcher.path("link")).unwrap();
    symlink("probe", launcher.path("probe-link")).unwrap();
    let (link, program) = (launcher.path("link"), launcher.path("probe-link"));
    let show = format!("show={}", link.join("file").display());
    let real = format!("read={}", launcher.path("real/file").display());
    let ended = launcher.option("--bind-ro").option(link).run([
        program.as_os_str(),
        show.as_ref(),
        real.as_ref(),
    ]);
    assert_eq!(lines(&ended.with_code(0)), ["show \"text\"", "read ENOENT"]);

    // One that dangles, one in a loop, and one on the way to what is to be bound.
    let launcher = Launcher::new();
    symlink("nowhere", launcher.path("dangling")).unwrap();
    symlink("loop", launcher.path("loop")).unwrap();
    for name in ["dangling", "loop"] {
        let launcher = Launcher::new();
        symlink(name, launcher.path(name)).unwrap();
        let path = launcher.path(name);
        launcher
            .option("--bind-ro")
            .option(path)
            .probe_does(["exit=0"])
            .refused(125, &["root: ", name]);
    }
    let launcher = Launcher::new();
    fs::create_dir_all(launcher.path("dir/real")).unwrap();
    fs::write(launcher.path("dir/real/file"), "").unwrap();
    symlink("real", launcher.path("dir/link")).unwrap();
    let (dir, file) = (launcher.path("dir"), launcher.path("dir/link/file"));
    let launcher = launcher
        .option("--bind-ro")
        .option(dir)
        .option("--bind-ro")
        .option(file);
    launcher
        .probe_does(["exit=0"])
        .refused(125, &["root: ", "link/file"]);
}

#[test]
fn a_tree_with_a_socket_in_it_is_refused() {
    let launcher = Launcher::new();
    fs::create_dir_all(launcher.path("services/deep")).unwrap();
    let path = launcher.path("services/deep/socket");
    let _listener = UnixListener::bind(&path).unwrap();
    for (option, name) in [
        ("--bind-ro", "services"),
        ("--bind-rw", "services"),
        ("--bind-ro", "services/deep/socket"),
    ] {
        let launcher = Launcher::new();
        let services = path
            .ancestors()
            .find(|parent| parent.ends_with(name))
            .unwrap();
        let launcher = launcher.option(option).option(services);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &["root: ", "socket", "--fd"]);
    }
}

#[test]
fn a_socket_of_another_network_namespace_or_directory_counts_too() {
    for make in [unix_socket_elsewhere, unix_socket_relative, datagram_socket] {
        let launcher = Launcher::new();
        let services = launcher.path("services");
        fs::create_dir(&services).unwrap();
        open_to_all(&services);
        let launcher = make(launcher, &services);
        let launcher = launcher.option("--bind-ro").option(services);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &["root: ", "socket"]);
    }
}

/// /proc/net/unix of the launcher does not have it.
fn unix_socket_elsewhere(launcher: Launcher, directory: &Path) -> Launcher {
    let path = directory.join("socket");
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        std::mem::forget(UnixListener::bind(path).unwrap());
    })
    .join()
    .unwrap();
    launcher
}

/// There it has no `/` in front.
fn unix_socket_relative(launcher: Launcher, directory: &Path) -> Launcher {
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        std::env::set_current_dir(directory).unwrap();
        std::mem::forget(UnixListener::bind("socket").unwrap());
    })
    .join()
    .unwrap();
    launcher
}

fn datagram_socket(launcher: Launcher, directory: &Path) -> Launcher {
    std::mem::forget(UnixDatagram::bind(directory.join("socket")).unwrap());
    launcher
}

#[test]
fn devices_are_not_bound() {
    for path in ["/dev/null", "/dev/full"] {
        let launcher = Launcher::new().options(["--bind-ro", path]);
        launcher
            .probe_does(["exit=0"])
            .refused(125, &["root: ", "is a device", "--dev"]);
    }
    // One in a directory that is bound does not open.
    let launcher = seen();
    let directory = launcher.writable_dir("nodes");
    let node = directory.join("null");
    nix::sys::stat::mknod(
        &node,
        nix::sys::stat::SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        nix::sys::stat::makedev(1, 3),
    )
    .unwrap();
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).unwrap();
    let ended = launcher
        .option("--bind-rw")
        .option(&directory)
        .probe_does([format!("read={}", node.display())]);
    assert_eq!(lines(&ended.with_code(0)), ["read EACCES"]);
}

#[test]
fn the_five_devices_are_there_when_asked_for() {
    for launcher in [seen(), Launcher::new()] {
        let ended = launcher
            .options(["--dev", "--proc"])
            .probe_does([
                "write=/dev/null",
                "write=/dev/full",
                "fill=/dev/full",
                "read=/dev/zero",
                "read=/dev/urandom",
                "read=/dev/random",
                "read=/dev/tty",
                "read=/dev/vda",
                "create=/dev/x",
            ])
            .with_code(0);
        let lines = lines(&ended);
        assert_eq!(
            lines[..6],
            [
                "write ok",
                "write ok",
                "fill 0 ENOSPC",
                "read ok",
                "read ok",
                "read ok"
            ]
        );
        assert!(
            lines[6..].iter().all(|line| !line.ends_with("ok")),
            "{ended:?}"
        );
    }
}

#[test]
fn a_tmp_has_its_size_and_no_programs() {
    for launcher in [seen(), Launcher::new()] {
        let probe = launcher.probe();
        let ended = launcher
            .options(["--tmp", "64K"])
            .probe_does(["fill=/tmp/x", "mkdir=/tmp/dir"])
            .with_code(0);
        assert_eq!(
            lines(&ended),
            ["fill 65536 ENOSPC", "mkdir ok"],
            "{probe:?}"
        );
    }
    let launcher = seen().options(["--tmp", "16M"]);
    let script = "cp \"$0\" /tmp/copy; /tmp/copy exit=0; echo $?";
    let probe = launcher.probe();
    let launcher = launcher.option("--bind-ro").option(&probe).options([
        "--bind-ro",
        "/bin/cp",
        "--bind-ro",
        "/usr/lib",
        "--bind-ro",
        "/lib",
    ]);
    let ended = launcher.run([
        "/bin/sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        probe.as_os_str(),
    ]);
    assert!(ended.code == 0 && ended.stdout.trim() == "126", "{ended:?}");
}

#[test]
fn proc_shows_its_own_processes_only() {
    for launcher in [seen(), Launcher::new()] {
        let ended = launcher
            .options(["--proc"])
            .probe_does([
                "list=/proc",
                "read=/proc/1/status",
                "read=/proc/1/environ",
                "read=/proc/self/status",
                "read=/proc/sys/kernel/hostname",
                "read=/proc/cpuinfo",
                "read=/proc/self/root/etc/passwd",
                "write=/proc/self/mem",
                "write=/proc/self/oom_score_adj",
            ])
            .with_code(0);
        let lines = lines(&ended);
        assert_eq!(lines[0], "list [\"2\", \"self\", \"thread-self\"]");
        let answers: Vec<_> = lines[1..]
            .iter()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(answers[..3], ["ENOENT", "ENOENT", "ok"]);
        assert!(
            answers[3..6].iter().all(|answer| *answer != "ok"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_second_program_is_one_of_the_root_and_no_more() {
    let launcher = Launcher::new();
    let (probe, cat) = (launcher.probe(), "exec=/bin/cat");
    let ended = launcher
        .probe_does([
            cat.to_owned(),
            "exec=/bin/su".into(),
            format!("exec={}", probe.display()),
        ])
        .with_code(0);
    assert_eq!(lines(&ended), ["exec ENOENT", "exec ENOENT", "executed"]);
}

#[test]
fn what_is_written_can_not_be_executed_by_landlock_nor_as_another_user() {
    let launcher = Launcher::new();
    let directory = launcher.writable_dir("files");
    let setuid = directory.join("setuid");
    static_program::write(&setuid);
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();
    let stays = format!("exec={}", setuid.display());
    let ended = launcher
        .option("--bind-ro")
        .option(directory)
        .probe_does([stays]);
    // The static program's own code: executed, but as nobody else.
    ended.with_code(static_program::CODE);
}

#[test]
fn the_launchers_umask_does_not_lock_the_program_out() {
    for mask in [0o077, 0o027, 0] {
        let launcher = Launcher::new()
            .options(["--tmp", "1M", "--dev", "--proc"])
            .hook(move || {
                umask(Mode::from_bits_truncate(mask));
                Ok(())
            });
        let directory = launcher.path("a/b");
        fs::create_dir_all(&directory).unwrap();
        open_to_all(&launcher.path("a"));
        open_to_all(&directory);
        fs::write(directory.join("file"), "text").unwrap();
        let ended = launcher
            .option("--bind-ro")
            .option(&directory)
            .probe_does([
                format!("show={}", directory.join("file").display()),
                "create=/tmp/x".into(),
                "write=/dev/null".into(),
                "read=/proc/self/stat".into(),
                "notify=X=1".into(),
            ])
            .with_code(0);
        assert_eq!(
            lines(&ended),
            [
                "show \"text\"",
                "create ok",
                "write ok",
                "read ok",
                "notify ok"
            ],
            "{mask:o}"
        );
    }
}

#[test]
fn the_current_directory_can_be_anything() {
    let strange: [fn(&CStr) -> libc::c_int; 4] = [
        |_| 0,
        // SAFETY: each is given a string that lives.
        |path| unsafe { libc::chmod(path.as_ptr(), 0) },
        // SAFETY: as above.
        |path| unsafe { libc::chown(path.as_ptr(), 12345, 12345) },
        // SAFETY: as above.
        |path| unsafe { libc::rmdir(path.as_ptr()) },
    ];
    for change in strange {
        let launcher = Launcher::new();
        let directory = launcher.path("strange");
        fs::create_dir(&directory).unwrap();
        let directory = c_path(&directory);
        let launcher = launcher.hook(move || {
            nix::unistd::chdir(directory.as_c_str())?;
            Errno::result(change(&directory))?;
            Ok(())
        });
        let ended = launcher.probe_does(["report"]).with_code(0);
        assert_eq!(ended.value("cwd"), "/");
    }
}

#[test]
fn a_relative_path_is_one_of_the_current_directory() {
    let launcher = Launcher::new();
    let home = launcher.path("");
    fs::write(launcher.path("file"), "text").unwrap();
    let show = format!("show={}", launcher.path("file").display());
    let launcher = launcher.options(["--bind-ro", "file"]).with(|command| {
        command.current_dir(home);
    });
    let ended = launcher.run(["./probe", &show]).with_code(0);
    assert_eq!(lines(&ended), ["show \"text\""]);
}
