// SPDX-License-Identifier: MIT OR Apache-2.0
//! With real listeners. A filter is loaded for one thread, so one process is both the
//! program and its supervisor.

mod connections;
mod listeners;
mod races;

use std::{
    ffi::c_void,
    fs::File,
    io::PipeWriter,
    os::fd::FromRawFd,
    process::Command,
    ptr,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use seccompiler::{BpfProgram, SeccompCmpOp, SeccompRule};
use xen_sys::{evtchn, privcmd};

use super::{
    super::{
        bpf::{self, Arch, Rules, compile, low_half as condition},
        load::{load, load_with_listener},
        seccomp::{self, Denied},
    },
    *,
};

const FIONBIO: u32 = 0x5421;
const MMAP_RESOURCE: u32 = privcmd::MMAP_RESOURCE.number();
const GIVEN: &[Device] = &[Device::EventChannel, Device::PrivCmd];
const EPERM: Result<i64, Errno> = Err(Errno::EPERM);

/// Runs `work` in a thread of its own, under the programs; the last has the listener.
fn under<T: Send + 'static>(
    programs: Vec<BpfProgram>,
    work: impl FnOnce() -> T + Send + 'static,
) -> (Notifier, JoinHandle<T>) {
    let (give, take) = mpsc::channel();
    let thread = thread::spawn(move || {
        no_new_privs();
        let (last, others) = programs.split_last().unwrap();
        others.iter().for_each(|program| load(program).unwrap());
        give.send(load_with_listener(last).unwrap()).unwrap();
        work()
    });
    (
        Notifier::new(take.recv().unwrap(), Mapping::Always).unwrap(),
        thread,
    )
}

/// Runs `work` in a thread of its own, as a QEMU of this guest that is root; it can wait for a
/// word of who answers.
fn of_qemu<T: Send + 'static>(
    guest: Option<GuestId>,
    work: impl FnOnce(mpsc::Receiver<()>) -> T + Send + 'static,
) -> (Notifier, mpsc::Sender<()>, JoinHandle<T>) {
    of_qemu_with(guest, qemu::Listeners::default(), work)
}

fn of_qemu_with<T: Send + 'static>(
    guest: Option<GuestId>,
    listeners: qemu::Listeners,
    work: impl FnOnce(mpsc::Receiver<()>) -> T + Send + 'static,
) -> (Notifier, mpsc::Sender<()>, JoinHandle<T>) {
    let (give, take) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        no_new_privs();
        let program = qemu::asking().unwrap();
        give.send(load_with_listener(&program).unwrap()).unwrap();
        work(wait)
    });
    let notifier = Notifier::of_qemu(take.recv().unwrap(), guest, GIVEN, listeners).unwrap();
    (notifier, go, thread)
}

/// Of this thread.
fn no_new_privs() {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
    assert_eq!(result, 0);
}

fn supervised() -> Vec<BpfProgram> {
    let programs = xen_requests::supervised(Mapping::Always).unwrap();
    vec![programs.never, programs.until_sealed]
}

/// Asks about one ioctl, which is none of Xen's, so that there is a device for it.
fn asking_about(request: u32) -> Vec<BpfProgram> {
    let rule = SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, request).unwrap()]);
    let rules = Rules::from([(libc::SYS_ioctl, vec![rule.unwrap()])]);
    let arch = Arch::native().unwrap();
    vec![compile(arch, rules, bpf::Answer::Notify, bpf::Answer::Allow).unwrap()]
}

fn call(number: i64, arguments: [u64; 4]) -> Result<i64, Errno> {
    let [a, b, c, d] = arguments;
    // SAFETY: the tests' calls fail, or write to the memory that they name.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d) })
}

fn ioctl(fd: u64, request: u64, argument: u64) -> Result<i64, Errno> {
    call(libc::SYS_ioctl, [fd, request, argument, 0])
}

fn tid() -> u32 {
    u32::try_from(call(libc::SYS_gettid, [0; 4]).unwrap()).unwrap()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Nobody asks any more, and that is known soon.
fn is_over(notifier: &mut Notifier) {
    wait_for("it is not over", || match notifier.serve().unwrap() {
        Served::Over => true,
        other => {
            assert_eq!(other, Served::Answered);
            false
        }
    });
}

/// Serves `calls` calls, and gives the refused ones.
fn serve(notifier: &mut Notifier, calls: usize) -> Vec<Denial> {
    let mut denied = Vec::new();
    for _ in 0..calls {
        let mut waiting = [PollFd::new(notifier.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut waiting, 20_000_u16), Ok(1));
        if let Served::Refused(denial) = notifier.serve().unwrap() {
            denied.push(denial);
        }
    }
    denied
}

#[test]
fn a_request_of_the_set_up_phase_is_let_through_until_sealed() {
    let (go, wait) = mpsc::channel::<()>();
    let null = File::open("/dev/null").unwrap();
    let (mut notifier, thread) = under(supervised(), move || {
        let fd = null.as_raw_fd().cast_unsigned().into();
        // The driver of /dev/null is reached, and knows none of these.
        let before = [
            MMAP_RESOURCE,
            privcmd::RESTRICT.number(),
            evtchn::RESTRICT_DOMID.number(),
        ]
        .map(|request| ioctl(fd, request.into(), 0));
        let never = ioctl(fd, privcmd::HYPERCALL.number().into(), 0);
        let always = ioctl(fd, privcmd::DM_OP.number().into(), 0);
        wait.recv().unwrap();
        let after = ioctl(fd, u64::MAX << 32 | u64::from(MMAP_RESOURCE), 0);
        (before, never, always, after)
    });
    assert_eq!(serve(&mut notifier, 3), []);
    notifier.seal();
    go.send(()).unwrap();
    let denied = serve(&mut notifier, 1);
    assert_eq!(denied.len(), 1);
    // Who asks again is not inside any more.
    assert!(notifier.none_in_flight());
    let text = denied[0].to_string();
    assert!(
        text.contains("privcmd MMAP_RESOURCE") && text.ends_with("EPERM"),
        "{text}"
    );
    let (before, never, always, after) = thread.join().unwrap();
    assert_eq!(before, [Err(Errno::ENOTTY); 3]);
    assert_eq!([never, after], [EPERM; 2]);
    assert_eq!(always, Err(Errno::ENOTTY));
    wait_for("it has ended", || notifier.in_flight().is_empty());
    is_over(&mut notifier);
}

#[test]
fn what_sleeps_in_a_call_that_was_let_through_is_in_flight() {
    let slow = SlowPage::new();
    let (go, wait) = mpsc::channel::<()>();
    let (give, take) = mpsc::channel();
    let (reader, writer) = io::pipe().unwrap();
    let address = slow.address();
    let (mut notifier, thread) = under(asking_about(FIONBIO), move || {
        give.send(tid()).unwrap();
        let set = ioctl(fd(&writer), FIONBIO.into(), address);
        wait.recv().unwrap();
        (set, ioctl(fd(&writer), FIONBIO.into(), address))
    });
    notifier.until_sealed = |request| request == FIONBIO;
    let thread_id = take.recv().unwrap();
    assert!(notifier.in_flight().is_empty());
    assert_eq!(serve(&mut notifier, 1), []);
    slow.wait_until_touched();
    notifier.seal();
    for _ in 0..20 {
        assert_eq!(notifier.in_flight(), [thread_id]);
        thread::sleep(Duration::from_millis(2));
    }
    slow.release();
    wait_for("the call to end", || notifier.in_flight().is_empty());
    go.send(()).unwrap();
    assert_eq!(serve(&mut notifier, 1).len(), 1);
    assert_eq!(thread.join().unwrap(), (Ok(0), EPERM));
    drop(reader);
}

#[test]
fn no_more_are_let_through_than_can_be_followed() {
    let slow = SlowPage::new();
    let (reader, writer) = io::pipe().unwrap();
    let (fd, address) = (fd(&writer), slow.address());
    let (mut notifier, threads) = under(asking_about(FIONBIO), move || {
        let one = || thread::spawn(move || ioctl(fd, FIONBIO.into(), address));
        let threads: Vec<_> = (0..=MOST_IN_FLIGHT).map(|_| one()).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    notifier.until_sealed = |request| request == FIONBIO;
    let denied = serve(&mut notifier, MOST_IN_FLIGHT + 1);
    assert_eq!(denied.len(), 1, "{denied:?}");
    assert_eq!(notifier.in_flight().len(), MOST_IN_FLIGHT);
    slow.release();
    let answers = threads.join().unwrap();
    assert_eq!(answers.iter().filter(|answer| **answer == EPERM).count(), 1);
    assert_eq!(
        answers.iter().filter(|answer| **answer == Ok(0)).count(),
        MOST_IN_FLIGHT
    );
    wait_for("all to end", || notifier.in_flight().is_empty());
    drop((reader, writer));
}

#[test]
fn a_thread_that_runs_may_be_inside() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    static STOP: AtomicBool = AtomicBool::new(false);
    let (go, wait) = mpsc::channel::<()>();
    let (mut notifier, thread) = under(asking_about(FIONBIO), move || {
        ioctl(u64::MAX, FIONBIO.into(), 0).unwrap_err();
        while !STOP.load(Relaxed) {
            std::hint::spin_loop();
        }
        wait.recv().unwrap();
    });
    notifier.until_sealed = |request| request == FIONBIO;
    serve(&mut notifier, 1);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(notifier.in_flight().len(), 1);
    STOP.store(true, Relaxed);
    // It sleeps in another call.
    wait_for("it to be elsewhere", || notifier.in_flight().is_empty());
    go.send(()).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_thread_that_may_not_be_looked_at_is_inside() {
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let id = other.id();
    wait_for("it to sleep", || !is_inside(id, |_| false, |_| false));
    let inside = thread::spawn(move || {
        // The system call changes one thread, not the process.
        call(libc::SYS_setresuid, [65534, 65534, 65534, 0]).expect("run the tests as root");
        is_inside(id, |_| false, |_| false)
    });
    assert!(inside.join().unwrap());
    // Without /proc.
    let inside = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("run the tests as root");
        let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        mount(none, "/", none, private, none).unwrap();
        mount(none, "/proc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        is_inside(id, |_| false, |_| false)
    });
    assert!(inside.join().unwrap());
    wait_for("it to sleep again", || !is_inside(id, |_| false, |_| false));
    other.kill().unwrap();
    other.wait().unwrap();
    for gone in [id, u32::MAX, i32::MAX.cast_unsigned()] {
        assert!(
            !is_inside(gone, |_| true, |_| true),
            "there is no such thread"
        );
    }
}

#[test]
fn the_kernels_words_for_a_threads_state() {
    let all = |request: u32| request == MMAP_RESOURCE;
    let ioctl = libc::SYS_ioctl;
    for (line, inside) in [
        ("running\n".into(), true),
        (String::new(), true),
        ("-1 0x7ffc 0x7f01\n".into(), false),
        ("0 0x3 0x7f 0x1 0x0 0x0 0x0 0x7ffc 0x7f01\n".into(), false),
        (
            format!("{ioctl} 0x3 0x205007 0x0 0x0 0x0 0x0 0x7ffc 0x7f01\n"),
            true,
        ),
        (
            format!("{ioctl} 0x3 0xffffffff00205007 0x0 0x0 0x0 0x0 0x7ffc 0x7f01\n"),
            true,
        ),
        (
            format!("{ioctl} 0x3 0x5421 0x0 0x0 0x0 0x0 0x7ffc 0x7f01\n"),
            false,
        ),
        (format!("{ioctl} 0x3\n"), true),
        (format!("{ioctl} 0x3 garbage\n"), true),
    ] {
        assert_eq!(may_be_inside(&line, all), inside, "{line:?}");
    }
}

#[test]
fn whatever_is_denied_is_told_by_name() {
    let program = seccomp::program(Denied::Notify, Mapping::Always).unwrap();
    let null = File::open("/dev/null").unwrap();
    let (mut notifier, thread) = under(vec![program], move || {
        let null = null.as_raw_fd().cast_unsigned().into();
        [
            call(libc::SYS_ptrace, [0; 4]),
            call(libc::SYS_clone3, [0; 4]),
            call(999, [0; 4]),
            call(libc::SYS_socket, [2, 1, 0, 0]),
            ioctl(null, 0x5412, 0),
            ioctl(null, privcmd::HYPERCALL.number().into(), 0),
            ioctl(null, MMAP_RESOURCE.into(), 0),
            call(libc::SYS_getppid, [0; 4]).map(|_| 0),
        ]
    });
    let denied = serve(&mut notifier, 7);
    let answers = thread.join().unwrap();
    let expected = [
        ("ptrace", Errno::EPERM),
        ("clone3", Errno::ENOSYS),
        ("system call 999", Errno::ENOSYS),
        ("socket(0x2, 0x1, 0x0, 0x0)", Errno::EPERM),
        ("ioctl 0x5412", Errno::EPERM),
        ("ioctl 0x305000 (privcmd HYPERCALL)", Errno::EPERM),
    ];
    assert_eq!(denied.len(), expected.len());
    for ((denial, (name, errno)), answer) in denied.iter().zip(expected).zip(answers) {
        let thread = denial.thread;
        assert_eq!(
            denial.to_string(),
            format!("{name} of thread {thread}: {errno:?}")
        );
        assert_eq!(answer, Err(errno));
    }
    // A request of the set-up phase is no denial.
    assert_eq!(answers[6..], [Err(Errno::ENOTTY), Ok(0)]);
}

#[test]
fn without_a_supervisor_nothing_is_let_through() {
    let (go, wait) = mpsc::channel::<()>();
    let (notifier, thread) = under(supervised(), move || {
        wait.recv().unwrap();
        ioctl(u64::MAX, MMAP_RESOURCE.into(), 0)
    });
    drop(notifier);
    go.send(()).unwrap();
    assert_eq!(thread.join().unwrap(), Err(Errno::ENOSYS));
}

#[test]
fn a_caller_that_was_killed_leaves_nothing_to_wait_for() {
    let (mut notifier, thread) = under(supervised(), || {
        // SAFETY: the child makes two system calls, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let _ = ioctl(u64::MAX, MMAP_RESOURCE.into(), 0);
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) };
        }
        child
    });
    let child = thread.join().unwrap();
    let mut waiting = [PollFd::new(notifier.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut waiting, 20_000_u16), Ok(1));
    // SAFETY: the child is this test's, and nobody waited for it yet.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    // SAFETY: no status is asked for.
    assert_eq!(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }, child);
    is_over(&mut notifier);
    let mut waiting = [PollFd::new(notifier.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut waiting, 20_000_u16), Ok(1));
    assert_eq!(waiting[0].revents(), Some(PollFlags::POLLHUP));
}

#[test]
fn a_second_listener_is_an_error_that_says_why() {
    let (_notifier, thread) = under(supervised(), || {
        let programs = xen_requests::supervised(Mapping::Always).unwrap();
        let error = load_with_listener(&programs.until_sealed).unwrap_err();
        bpf::FilterError::from(error).to_string()
    });
    let text = thread.join().unwrap();
    assert!(
        text.contains("a sandbox around this process has a seccomp listener"),
        "{text}"
    );
}

#[test]
fn without_no_new_privs_and_privilege_there_is_no_filter() {
    let error = thread::spawn(|| {
        call(libc::SYS_setresuid, [65534, 65534, 65534, 0]).expect("run the tests as root");
        bpf::FilterError::from(load(&xen_requests::sealed(Mapping::Always).unwrap()).unwrap_err())
    });
    assert!(matches!(error.join().unwrap(), bpf::FilterError::NoRight));
}

fn fd(writer: &PipeWriter) -> u64 {
    writer.as_raw_fd().cast_unsigned().into()
}

/// A page whose first access sleeps until it is released: what a program does that
/// wants a call of its own to take long.
struct SlowPage {
    page: *mut c_void,
    faults: File,
}

const PAGE: usize = 4096;

/// `struct uffdio_api`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`, and `struct uffdio_zeropage` as well.
#[repr(C)]
struct Range {
    start: u64,
    len: u64,
    mode: u64,
    result: u64,
}

const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_ZEROPAGE: u64 = 0xc020_aa04;
const REGISTER_MISSING: u64 = 1;

impl SlowPage {
    fn new() -> Self {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping at an address of the kernel's choice.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        let flags = (libc::O_CLOEXEC | libc::O_NONBLOCK).cast_unsigned().into();
        let faults = call(libc::SYS_userfaultfd, [flags, 0, 0, 0]);
        let faults = faults.expect("run the tests as root, on a kernel with CONFIG_USERFAULTFD");
        // SAFETY: a new descriptor, nobody else's.
        let faults = unsafe { File::from_raw_fd(i32::try_from(faults).unwrap()) };
        let slow = Self { page, faults };
        let api = Api {
            api: 0xaa,
            features: 0,
            ioctls: 0,
        };
        slow.ask(UFFDIO_API, api);
        slow.ask(UFFDIO_REGISTER, slow.range(REGISTER_MISSING));
        slow
    }

    fn address(&self) -> u64 {
        self.page.addr() as u64
    }

    fn range(&self, mode: u64) -> Range {
        Range {
            start: self.address(),
            len: PAGE as u64,
            mode,
            result: 0,
        }
    }

    fn ask<T>(&self, request: u64, mut argument: T) {
        let fd = self.faults.as_raw_fd().cast_unsigned().into();
        let argument = (&raw mut argument).addr() as u64;
        ioctl(fd, request, argument).unwrap();
    }

    fn wait_until_touched(&self) {
        let mut waiting = [PollFd::new(self.faults.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut waiting, 20_000_u16), Ok(1));
    }

    fn release(&self) {
        self.ask(UFFDIO_ZEROPAGE, self.range(0));
    }
}

impl Drop for SlowPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's; no thread uses it any more, or the test
        // failed and its call fails with EFAULT.
        unsafe { libc::munmap(self.page, PAGE) };
    }
}

#[test]
fn who_asks_for_root_again_waits_until_it_was_looked_at() {
    let (mut notifier, _go, thread) = of_qemu(None, |_| {
        // Of this thread alone, and no change: tests run as root.
        let again = || call(libc::SYS_setuid, [0; 4]);
        [
            call(libc::SYS_setgid, [0; 4]),
            again(),
            again(),
            call(libc::SYS_setgid, [0; 4]),
            call(libc::SYS_socket, [2, 1, 0, 0]),
            call(libc::SYS_socket, [1, 1, 0, 0]).map(|_| 0),
        ]
    });
    let mut next = || {
        let mut waiting = [PollFd::new(notifier.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut waiting, 20_000_u16), Ok(1));
        notifier.serve().unwrap()
    };
    assert_eq!([next(), next()], [Served::Answered, Served::Held]);
    notifier.seal();
    // It was let through before, and is in a call now that was not.
    assert!(notifier.none_in_flight());
    notifier.release().unwrap();
    let refused = serve(&mut notifier, 3);
    let names: Vec<_> = refused.iter().map(|denial| denial.name).collect();
    assert_eq!(names, [Some("setuid"), Some("setgid"), Some("socket")]);
    let expected = [Ok(0), EPERM, EPERM, EPERM, EPERM, Ok(0)];
    assert_eq!(thread.join().unwrap(), expected);
}

#[test]
fn who_was_looked_at_before_he_asks_does_not_wait() {
    let (mut notifier, _go, thread) = of_qemu(None, |_| call(libc::SYS_setuid, [0; 4]));
    notifier.seal();
    notifier.release().unwrap();
    assert_eq!(serve(&mut notifier, 1).len(), 1);
    assert_eq!(thread.join().unwrap(), EPERM);
}

#[test]
fn xens_devices_are_not_opened_by_qemu_itself() {
    let guest = GuestId::new(7).unwrap();
    let (mut notifier, go, thread) = of_qemu(Some(guest), |wait| {
        let opens = |path: &std::ffi::CStr, flags: i32| {
            let here = i64::from(libc::AT_FDCWD).cast_unsigned();
            let flags = flags.cast_unsigned().into();
            let at = path.as_ptr().addr() as u64;
            let opened = call(libc::SYS_openat, [here, at, flags, 0]);
            opened.map(|fd| drop(just_opened(fd)))
        };
        let all = || {
            [
                opens(c"/dev/null", libc::O_RDWR | libc::O_CLOEXEC),
                // Its supervisor opens these, and they are not there.
                opens(c"/dev/xen/evtchn", libc::O_RDWR | libc::O_CLOEXEC),
                opens(c"/dev/xen/privcmd", libc::O_RDWR | libc::O_CLOEXEC),
                ioctl(0, evtchn::RESTRICT_DOMID.number().into(), 0).map(drop),
                opens(c"/dev/null", libc::O_RDONLY | libc::O_CLOEXEC),
            ]
        };
        let before = all();
        wait.recv().unwrap();
        (before, all())
    });
    let names = |refused: Vec<Denial>| -> Vec<_> {
        let errnos = refused
            .into_iter()
            .map(|denial| (denial.name, denial.errno));
        errnos.collect()
    };
    let open = Some("openat");
    assert_eq!(names(serve(&mut notifier, 4)), [(open, Errno::EACCES); 2]);
    notifier.seal();
    go.send(()).unwrap();
    let refused = [
        (open, Errno::EPERM),
        (open, Errno::EPERM),
        (open, Errno::EPERM),
        (Some("ioctl"), Errno::EPERM),
    ];
    assert_eq!(names(serve(&mut notifier, 4)), refused);
    let (before, after) = thread.join().unwrap();
    let eacces = Err(Errno::EACCES);
    assert_eq!(before, [Ok(()), eacces, eacces, Ok(()), Ok(())]);
    let eperm = Err(Errno::EPERM);
    assert_eq!(after, [eperm, eperm, eperm, eperm, Ok(())]);
}

fn just_opened(fd: i64) -> OwnedFd {
    // SAFETY: the caller has just opened it.
    unsafe { OwnedFd::from_raw_fd(fd.try_into().unwrap()) }
}

#[test]
fn only_an_answer_of_no_is_given_to_who_wants_to_be_root() {
    let data = |number: libc::c_long, args| libc::seccomp_data {
        nr: number.try_into().unwrap(),
        arch: 0,
        instruction_pointer: 0,
        args,
    };
    for (number, args, expected) in [
        (libc::SYS_setuid, [0, 1, 1, 1, 1, 1], true),
        (libc::SYS_setuid, [1 << 32, 1, 1, 1, 1, 1], true),
        (libc::SYS_setuid, [1, 0, 0, 0, 0, 0], false),
        (libc::SYS_setreuid, [1, 0, 1, 1, 1, 1], true),
        (libc::SYS_setresuid, [1, 1, 0, 1, 1, 1], true),
        (libc::SYS_setresuid, [1, 1, 1, 0, 0, 0], false),
        (libc::SYS_setgid, [0; 6], false),
    ] {
        assert_eq!(
            qemu::asks_for_root(&data(number, args)),
            expected,
            "{number} {args:?}"
        );
    }
}

/// What is there under the number of a caller that is gone is another's.
#[test]
fn the_memory_of_who_has_a_callers_number_by_now_is_not_read() {
    let (mut notifier, go, thread) = of_qemu(GuestId::new(7).ok(), |wait| wait.recv().unwrap());
    let path = c"/dev/xen/hypercall".as_ptr().addr() as u64;
    let here = i64::from(libc::AT_FDCWD).cast_unsigned();
    let flags = (libc::O_RDWR | libc::O_CLOEXEC).cast_unsigned().into();
    let mut socket = [1_u16.to_ne_bytes().as_slice(), b"/run/xenstored/socket"].concat();
    socket.resize(110, 0);
    let address = socket.as_ptr().addr() as u64;
    for (number, args) in [
        (libc::SYS_openat, [here, path, flags, 0, 0, 0]),
        (libc::SYS_connect, [0, address, 110, 0, 0, 0]),
    ] {
        let call = libc::seccomp_notif {
            // Nobody waits for its answer.
            id: u64::MAX,
            pid: std::process::id(),
            flags: 0,
            data: libc::seccomp_data {
                nr: number.try_into().unwrap(),
                arch: 0,
                instruction_pointer: 0,
                args,
            },
        };
        let served = notifier.hand_over(&call).unwrap();
        assert_ne!(served, Some(Served::Answered), "{number}");
        assert!(notifier.take_connection().is_none());
    }
    go.send(()).unwrap();
    thread.join().unwrap();
}
