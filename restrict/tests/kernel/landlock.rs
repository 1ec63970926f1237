// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Landlock refuses, for root, by trying it. What a version of it does not refuse yet
//! is tried too: then the test says so, and not the message of an error somewhere else.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::symlink,
            net::{SocketAddr, UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    errno::Errno,
    sys::{
        signal::kill,
        stat::{Mode, SFlag, makedev, mknod},
    },
    unistd::Pid,
};
use tempfile::TempDir;
use xen_restrict::confine::landlock::{abi, reaches_all_threads, restrict};

use crate::alone::alone;

/// Has `test` run where the kernel offers Landlock, with its version. Where it does
/// not, the refusal must say how to get it, and leave all as it was.
fn with_version(test: impl FnOnce(u32)) {
    match abi() {
        Ok(version) => test(version),
        Err(absent) => {
            assert_eq!(restrict(&[], &[]).unwrap_err(), absent);
            assert!(absent.remedy.contains("5.13") || absent.remedy.contains("lsm="));
            File::open("/proc/self/status").unwrap();
        }
    }
}

fn restricted(read_only: &[&Path], read_write: &[&Path]) {
    no_new_privs();
    let owned = |paths: &[&Path]| paths.iter().map(|p| p.to_path_buf()).collect::<Vec<_>>();
    restrict(&owned(read_only), &owned(read_write)).unwrap();
}

fn no_new_privs() {
    // SAFETY: takes numbers only.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
}

/// Two folders, each with a file.
fn two_folders() -> (TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for folder in [&one, &two] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "text").unwrap();
    }
    (dir, one, two)
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn assert_denied<T>(result: io::Result<T>) {
    assert_eq!(errno(result), Some(libc::EACCES));
}

/// Refused from that version on, and before that as the kernel answers anyway.
fn assert_from<T>(
    version: u32,
    first: u32,
    denied: i32,
    otherwise: Option<i32>,
    result: io::Result<T>,
) {
    let expected = if version >= first {
        Some(denied)
    } else {
        otherwise
    };
    assert_eq!(
        errno(result),
        expected,
        "version {version}, refused from {first} on"
    );
}

#[test]
fn only_what_is_named_can_be_read() {
    alone(|| {
        with_version(|_| {
            let (dir, one, two) = two_folders();
            symlink(two.join("file"), one.join("way-out")).unwrap();
            let open = File::open(two.join("file")).unwrap();
            restricted(&[&one], &[]);

            assert_eq!(fs::read(one.join("file")).unwrap(), b"text");
            assert_eq!(fs::read_dir(&one).unwrap().count(), 2);
            assert_denied(fs::read(two.join("file")));
            assert_denied(fs::read(one.join("way-out")));
            assert_denied(fs::read(one.join("../two/file")));
            assert_denied(fs::read_dir(&two));
            assert_denied(fs::read_dir(dir.path()));
            assert_denied(fs::read("/proc/self/status"));
            assert_denied(File::open(format!("/proc/self/fd/{}", open.as_raw_fd())));
            // What is open stays open.
            assert_eq!(io::read_to_string(open).unwrap(), "text");
        });
    });
}

#[test]
fn reading_is_not_writing() {
    alone(|| {
        with_version(|version| {
            let (_dir, one, _) = two_folders();
            let file = one.join("file");
            restricted(&[&one], &[]);

            assert_denied(OpenOptions::new().write(true).open(&file));
            assert_denied(OpenOptions::new().append(true).open(&file));
            assert_denied(File::create(one.join("new")));
            assert_denied(fs::remove_file(&file));
            assert_denied(fs::create_dir(one.join("folder")));
            assert_denied(symlink("/", one.join("link")));
            assert_denied(UnixListener::bind(one.join("socket")));
            let path = std::ffi::CString::new(file.to_str().unwrap()).unwrap();
            // SAFETY: a C string that lives, and a number.
            let cut = Errno::result(unsafe { libc::truncate(path.as_ptr(), 0) });
            assert_from(version, 3, libc::EACCES, None, cut.map_err(Into::into));
        });
    });
}

#[test]
fn writing_is_everything_but_making_devices() {
    alone(|| {
        with_version(|version| {
            let (_dir, one, two) = two_folders();
            restricted(&[&one], &[&two]);

            fs::write(two.join("new"), "more").unwrap();
            fs::rename(two.join("new"), two.join("newer")).unwrap();
            fs::create_dir(two.join("folder")).unwrap();
            symlink("newer", two.join("link")).unwrap();
            assert_eq!(fs::read(two.join("link")).unwrap(), b"more");
            let pipe = mknod(&two.join("pipe"), SFlag::S_IFIFO, Mode::S_IRWXU, 0);
            pipe.unwrap();
            let moved = fs::rename(two.join("newer"), two.join("folder/newer"));
            // Version 1 knows no right to move into another folder.
            let expected = (version < 2).then_some(libc::EXDEV);
            assert_eq!(errno(moved), expected);
            fs::remove_file(two.join("pipe")).unwrap();

            let moved = errno(fs::rename(two.join("file"), one.join("moved")));
            assert!(
                matches!(moved, Some(libc::EACCES | libc::EXDEV)),
                "{moved:?}"
            );
            for kind in [SFlag::S_IFCHR, SFlag::S_IFBLK] {
                let made = mknod(&two.join("device"), kind, Mode::S_IRWXU, makedev(1, 3));
                assert_eq!(made, Err(Errno::EACCES));
            }
        });
    });
}

#[test]
fn a_path_may_be_a_file() {
    alone(|| {
        with_version(|_| {
            let (_dir, one, two) = two_folders();
            fs::write(one.join("neighbour"), "").unwrap();
            restricted(&[&one.join("file")], &[&two.join("file")]);

            assert_eq!(fs::read(one.join("file")).unwrap(), b"text");
            assert_denied(fs::read(one.join("neighbour")));
            assert_denied(fs::write(one.join("file"), ""));
            fs::write(two.join("file"), "changed").unwrap();
            assert_denied(fs::remove_file(two.join("file")));
        });
    });
}

#[test]
fn only_what_is_named_can_be_executed() {
    alone(|| {
        with_version(|_| {
            let (_dir, one, two) = two_folders();
            let program = std::env::current_exe().unwrap();
            fs::copy(&program, one.join("program")).unwrap();
            fs::copy(&program, two.join("program")).unwrap();
            let libraries: Vec<&Path> = ["/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache"]
                .into_iter()
                .map(Path::new)
                .filter(|path| path.exists())
                .collect();
            restricted(&[&[&*one], &libraries[..]].concat(), &[]);

            let start = |path: PathBuf| {
                let mut command = Command::new(path);
                command
                    .arg("--list")
                    .stdin(Stdio::inherit())
                    .stdout(Stdio::piped());
                command.stderr(Stdio::piped()).output()
            };
            assert!(start(one.join("program")).unwrap().status.success());
            assert_denied(start(two.join("program")));
        });
    });
}

#[test]
fn a_device_beneath_a_folder_takes_no_requests_from_5_on() {
    alone(|| {
        with_version(|version| {
            let request = |path: &str| {
                let file = File::open(path).unwrap();
                // SAFETY: the device knows no requests, so the pointer is not used.
                let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TCGETS, 0) };
                Errno::result(result).map_err(io::Error::from)
            };
            restricted(&[], &[Path::new("/dev"), Path::new("/dev/zero")]);
            assert_from(
                version,
                5,
                libc::EACCES,
                Some(libc::ENOTTY),
                request("/dev/null"),
            );
            assert_eq!(errno(request("/dev/zero")), Some(libc::ENOTTY));
        });
    });
}

#[test]
fn signals_do_not_leave_from_6_on() {
    alone(|| {
        with_version(|version| {
            let mut outside = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let pid = Pid::from_raw(i32::try_from(outside.id()).unwrap());
            restricted(&[], &[]);
            let sent = kill(pid, None).map_err(io::Error::from);
            assert_from(version, 6, libc::EPERM, None, sent);
            kill(Pid::from_raw(i32::try_from(process::id()).unwrap()), None).unwrap();
            // It ends when its input does.
            drop(outside.stdin.take());
            outside.wait().unwrap();
        });
    });
}

#[test]
fn abstract_sockets_do_not_lead_out_from_6_on() {
    alone(|| {
        with_version(|version| {
            let name = format!("xen-restrict-test-{}", process::id());
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let _listener = UnixListener::bind_addr(&address).unwrap();
            restricted(&[], &[]);
            let connected = UnixStream::connect_addr(&address);
            assert_from(version, 6, libc::EPERM, None, connected);

            let own = SocketAddr::from_abstract_name(format!("own-{}", process::id())).unwrap();
            let _listener = UnixListener::bind_addr(&own).unwrap();
            UnixStream::connect_addr(&own).unwrap();
        });
    });
}

#[test]
fn sockets_of_others_are_writing_from_9_on() {
    alone(|| {
        with_version(|version| {
            let (_dir, one, two) = two_folders();
            let [readable, writable] = [&one, &two].map(|folder| folder.join("socket"));
            let named = one.join("named");
            let _named = UnixDatagram::bind(&named).unwrap();
            let _readable = UnixDatagram::bind(&readable).unwrap();
            let _writable = UnixDatagram::bind(&writable).unwrap();
            restricted(&[&one], &[&two, &named]);
            let socket = UnixDatagram::unbound().unwrap();
            assert_from(version, 9, libc::EACCES, None, socket.connect(&readable));
            socket.send_to(b"READY=1", &writable).unwrap();
            socket.send_to(b"READY=1", &named).unwrap();
        });
    });
}

#[test]
fn tcp_is_refused_from_4_on_and_udp_from_10() {
    alone(|| {
        with_version(|version| {
            // Any address, and a connection that may find no way: loopback may be down.
            let port = TcpListener::bind("0.0.0.0:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            restricted(&[], &[]);
            let connected = errno(TcpStream::connect(("127.0.0.1", port)));
            assert_eq!(connected == Some(libc::EACCES), version >= 4);
            assert_from(
                version,
                4,
                libc::EACCES,
                None,
                TcpListener::bind("0.0.0.0:0"),
            );
            assert_from(
                version,
                10,
                libc::EACCES,
                None,
                UdpSocket::bind("0.0.0.0:0"),
            );
        });
    });
}

#[test]
fn threads_that_run_already_are_reached_from_8_on() {
    alone(|| {
        with_version(|version| {
            let (_dir, one, _) = two_folders();
            let (go, wait) = mpsc::channel::<()>();
            let file = one.join("file");
            let earlier = thread::spawn(move || {
                wait.recv().unwrap();
                fs::read(file).map(drop)
            });
            restricted(&[], &[]);
            go.send(()).unwrap();
            let read = earlier.join().unwrap();
            assert_eq!(reaches_all_threads(version), version >= 8);
            assert_from(version, 8, libc::EACCES, None, read);
            let file = one.join("file");
            assert_denied(thread::spawn(|| fs::read(file)).join().unwrap());
        });
    });
}

#[test]
fn children_are_restricted_and_cannot_undo_it() {
    alone(|| {
        with_version(|_| {
            let (_dir, one, two) = two_folders();
            restricted(&[&one], &[]);
            // A second one takes away, and never gives.
            restrict(&[], std::slice::from_ref(&one)).unwrap();
            assert_eq!(fs::read(one.join("file")).unwrap(), b"text");
            assert_denied(fs::write(one.join("file"), ""));
            restrict(&[], &[PathBuf::from("/")]).unwrap();
            assert_denied(fs::read(two.join("file")));
            let child = Command::new("/bin/cat").spawn();
            assert_denied(child);
        });
    });
}

#[test]
fn a_path_that_is_not_there_is_named_and_nothing_is_restricted() {
    alone(|| {
        with_version(|_| {
            no_new_privs();
            let missing = PathBuf::from("/no such\n\u{1b}[31m path");
            let error = restrict(&[], &[missing]).unwrap_err();
            assert_eq!(
                error.reason,
                "allow \"/no such\\n\\u{1b}[31m path\": No such file or directory (os error 2)"
            );
            File::open("/proc/self/status").unwrap();
        });
    });
}

#[test]
fn without_no_new_privs_it_takes_a_capability() {
    alone(|| {
        with_version(|_| {
            // SAFETY: takes numbers only, and this process has no other thread that matters.
            let dropped = unsafe { libc::setresuid(65533, 65533, 65533) };
            assert_eq!(dropped, 0, "run the tests as root");
            let error = restrict(&[], &[]).unwrap_err();
            assert!(error.reason.contains("Operation not permitted"), "{error}");
            assert!(
                error.remedy.contains("no-new-privs has to be on"),
                "{error}"
            );
            File::open("/proc/self/status").unwrap();
        });
    });
}
