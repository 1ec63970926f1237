// SPDX-License-Identifier: MIT OR Apache-2.0
//! What it can be told to do.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::{
        fd::{BorrowedFd, FromRawFd as _, RawFd},
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram, UnixStream},
        },
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction},
        uio::pwrite,
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, execv, fork, setsid},
};

use crate::{attempts::attempts, flood::flood, io_word, report::report, word};

/// So much of a file that is shown.
const SHOWN: u64 = 4096;

/// Does one thing.
pub(crate) fn act(verb: &str, what: &OsStr) {
    match verb {
        // Tells what it is and has; what it may not do.
        "report" => report(),
        "attempts" => attempts(),
        // Ends.
        "exit" => std::process::exit(number(what)),
        "abort" => std::process::abort(),
        "raise" => word_of("raise", kill(Pid::this(), Some(signal(what)))),
        // Waits.
        "sleep" => thread::sleep(Duration::from_millis(number(what))),
        "forever" => loop {
            thread::sleep(Duration::from_secs(1000));
        },
        "say" => say(what),
        "catch" => catch(signal(what)),
        // Files.
        "list" => list(what),
        "read" => println!("read {}", io_word(read(what))),
        "show" => println!("show {:?}", read(what).unwrap()),
        "write" => println!(
            "write {}",
            io_word(OpenOptions::new().append(true).open(what))
        ),
        "create" => println!("create {}", io_word(File::create(what))),
        "mkdir" => println!("mkdir {}", io_word(fs::create_dir(what))),
        "chdir" => println!("chdir {}", io_word(std::env::set_current_dir(what))),
        "fill" => fill(what),
        "display" => display(number(what)),
        "fd" => fd(number(what)),
        "seal" => seal(),
        // Others.
        "exec" => exec(what),
        "kill" => println!("kill {}", word(kill(Pid::from_raw(number(what)), None))),
        "children" => children(number(what)),
        "orphan" => orphan(),
        "unfollow" => unfollow(),
        // Sockets and devices.
        "connect" => println!("connect {}", io_word(UnixStream::connect(what))),
        "connect-abstract" => println!("connect {}", io_word(connect_abstract(what))),
        "notify" => notify(what),
        "child-notify" => child_notify(what),
        "flood" => flood(what),
        "ioctl" => ioctl(what),
        "type" => type_into(number(what)),
        // Its standard output.
        "output" => output(1, number(what)),
        "error" => output(2, number(what)),
        "spoil-output" => spoil_output(),
        other => panic!("there is no verb {other}"),
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(what: &OsStr) -> T {
    what.to_str().unwrap().parse().unwrap()
}

fn signal(what: &OsStr) -> Signal {
    what.to_str().unwrap().parse().unwrap()
}

fn word_of<T>(verb: &str, result: nix::Result<T>) {
    println!("{verb} {}", word(result));
}

fn say(what: &OsStr) {
    println!("{}", what.display());
    std::io::stdout().flush().unwrap();
}

fn catch(signal: Signal) {
    extern "C" fn caught(number: i32) {
        let digits = [
            b'0' + u8::try_from(number / 10).unwrap_or(9),
            b'0' + u8::try_from(number % 10).unwrap_or(9),
            b'\n',
        ];
        // SAFETY: descriptor 1 is open, and the bytes live.
        unsafe { libc::write(1, digits.as_ptr().cast(), digits.len()) };
    }
    let action = SigAction::new(
        SigHandler::Handler(caught),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    // SAFETY: the handler writes, and nothing else.
    unsafe { sigaction(signal, &action) }.unwrap();
}

fn list(what: &OsStr) {
    let names = fs::read_dir(what).map(|entries| {
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        println!("list {names:?}");
    });
    if names.is_err() {
        println!("list {}", io_word(names));
    }
}

fn read(what: &OsStr) -> std::io::Result<String> {
    let mut text = Vec::new();
    File::open(what)?.take(SHOWN).read_to_end(&mut text)?;
    Ok(text.escape_ascii().to_string())
}

/// Until there is no room.
fn fill(what: &OsStr) {
    let mut file = File::create(what).unwrap();
    let mut written = 0_usize;
    loop {
        match file.write(&[7; 4096]) {
            Ok(length) => written += length,
            Err(error) => return println!("fill {written} {}", io_word::<()>(Err(error))),
        }
    }
}

/// A file in memory of so many bytes, as QEMU 10 keeps its screen in one.
fn display(bytes: libc::off_t) {
    let screen = memfd_create(c"display-surface", MFdFlags::MFD_CLOEXEC).unwrap();
    let sized = nix::unistd::ftruncate(&screen, bytes);
    let written = sized.and_then(|()| pwrite(&screen, &[7; 4096], bytes - 4096));
    println!("display {}", word(written));
}

/// What a descriptor is.
fn fd(number: RawFd) {
    // SAFETY: only asks; an unused number is an error.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    match nix::sys::stat::fstat(fd) {
        Ok(stat) => {
            let kind = match stat.st_mode & libc::S_IFMT {
                libc::S_IFCHR => "character",
                libc::S_IFIFO => "pipe",
                libc::S_IFREG => "file",
                libc::S_IFSOCK => "socket",
                _ => "other",
            };
            println!("fd {number} {kind} {}", stat.st_size);
        }
        Err(errno) => println!("fd {number} {errno:?}"),
    }
}

/// As a device model does that is written with the library.
fn seal() {
    match xen_restrict::confine::Seal::new().apply() {
        Ok(sealed) => println!("seal told={}", sealed.told_supervisor()),
        Err(error) => println!("seal {error}"),
    }
    std::io::stdout().flush().unwrap();
}

fn exec(what: &OsStr) {
    let path = CString::new(what.as_bytes()).unwrap();
    let Err(errno) = execv(&path, &[&path, &CString::new("say=executed").unwrap()]);
    println!("exec {errno:?}");
}

/// Starts so many that stay; tells how many there could be.
fn children(wanted: usize) {
    let mut started = 0;
    for _ in 0..wanted {
        // SAFETY: one thread; the child only sleeps.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => act("forever", OsStr::new("")),
            Ok(ForkResult::Parent { .. }) => started += 1,
            Err(errno) => {
                println!("children {errno:?}");
                break;
            }
        }
    }
    println!("children {started}");
}

/// A grandchild whose parent is gone, in a session of its own, with SIGTERM ignored.
fn orphan() {
    // SAFETY: one thread.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => {
            waitpid(child, None).unwrap();
        }
        ForkResult::Child => {
            setsid().unwrap();
            // SAFETY: one thread.
            if unsafe { fork() }.unwrap().is_parent() {
                std::process::exit(0);
            }
            // SAFETY: no handler is installed.
            unsafe { nix::sys::signal::signal(Signal::SIGTERM, SigHandler::SigIgn) }.unwrap();
            act("forever", OsStr::new(""));
        }
    }
}

/// Does not follow its parent any more.
fn unfollow() {
    // SAFETY: takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0) };
    word_of("unfollow", Errno::result(result));
}

fn connect_abstract(what: &OsStr) -> std::io::Result<UnixStream> {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(what.as_bytes())?)
}

fn notify(what: &OsStr) {
    let socket = std::env::var_os("NOTIFY_SOCKET").unwrap();
    let sent = UnixDatagram::unbound().and_then(|unbound| unbound.send_to(what.as_bytes(), socket));
    println!("notify {}", io_word(sent));
}

/// The same, said by a process that it started, in a session of its own.
fn child_notify(what: &OsStr) {
    // SAFETY: one thread.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => word_of("child", waitpid(child, None)),
        ForkResult::Child => {
            setsid().unwrap();
            notify(what);
            std::process::exit(0);
        }
    }
}

/// A request on descriptor 0, without an argument.
fn ioctl(what: &OsStr) {
    let request = u64::from_str_radix(what.to_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    // SAFETY: a null argument: a driver that reads one says EFAULT.
    let result = unsafe { libc::ioctl(0, request, 0) };
    word_of("ioctl", Errno::result(result));
}

/// As if somebody had typed it at the terminal.
fn type_into(terminal: RawFd) {
    let letter = b'x';
    // SAFETY: reads one byte, which lives.
    let result = unsafe { libc::ioctl(terminal, libc::TIOCSTI, &raw const letter) };
    word_of("type", Errno::result(result));
}

fn output(to: RawFd, length: usize) {
    let bytes: Vec<u8> = (0..=250_u8).cycle().take(length).collect();
    // SAFETY: its own; not closed, as it is not dropped.
    let mut stdout = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(to) });
    if let Err(error) = stdout.write_all(&bytes) {
        eprintln!("output {}", io_word::<()>(Err(error)));
    }
}

/// What it should not be able to do to the launcher's: change flags, truncate.
fn spoil_output() {
    // SAFETY: its own.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) };
    let flags = fcntl(stdout, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
    eprintln!("flags {}", word(flags));
    eprintln!("truncate {}", word(nix::unistd::ftruncate(stdout, 0)));
    let at = nix::unistd::lseek(stdout, 0, nix::unistd::Whence::SeekSet);
    eprintln!("seek {}", word(at));
}
