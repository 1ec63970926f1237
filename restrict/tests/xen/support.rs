// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guests, processes of a test's own, and failures made on purpose.

use std::{
    collections::BTreeMap,
    env, fs,
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use xen_restrict::{Access, Gfn, GuestId, GuestMemory, Port, PrivCmd};

/// A test that runs in a process of its own: because it restricts the process,
/// counts its descriptors, or loads a filter.
macro_rules! alone {
    ($(#[$meta:meta])* fn $name:ident() $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            crate::support::run_alone(concat!(module_path!(), "::", stringify!($name)), || $body);
        }
    };
}
pub(crate) use alone;

pub(crate) fn run_alone(path: &str, body: impl FnOnce()) {
    const CHILD: &str = "XEN_TEST_ALONE";
    let (_, name) = path.split_once("::").unwrap();
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "in its own process: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn from_lab(variable: &str) -> GuestId {
    let domid = env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run these tests with `cargo lab test`"));
    domid.parse().unwrap()
}

/// The guest that tests restrict themselves to.
pub(crate) fn a() -> GuestId {
    from_lab("XEN_LAB_A")
}

/// The guest that must stay out of reach.
pub(crate) fn b() -> GuestId {
    from_lab("XEN_LAB_B")
}

/// A domid that no domain has.
pub(crate) fn nobody() -> GuestId {
    GuestId::new(32_000).unwrap()
}

/// What guest A is told to do is one test's business at a time.
pub(crate) fn guest_a() -> (MutexGuard<'static, ()>, LabGuest) {
    static DRIVING: Mutex<()> = Mutex::new(());
    let guard = DRIVING.lock().unwrap_or_else(PoisonError::into_inner);
    (guard, LabGuest::new(a()))
}

/// The status page of a guest of the lab (`lab/guest/src/main.rs`).
pub(crate) struct LabGuest {
    status: GuestMemory,
}

pub(crate) const STATUS: Gfn = Gfn::new(0x200);

#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Field {
    Magic = 0x00,
    Domid = 0x08,
    Command = 0x10,
    Argument = 0x18,
    Done = 0x20,
    Iterations = 0x28,
    Errors = 0x30,
    Port0 = 0x38,
    Events = 0x40,
    FirstWritable = 0x48,
    WritableCount = 0x50,
    FirstReadOnly = 0x58,
    ReadOnlyCount = 0x60,
    WritableGfn = 0x68,
    ReadOnlyGfn = 0x70,
    PatternGfn = 0x78,
    FirstBulk = 0xb0,
    BulkCount = 0xb8,
    BulkGfn = 0xc0,
    Port1 = 0x80,
    Port2 = 0x88,
    Port3 = 0x90,
}

#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Order {
    Idle = 0,
    Ports = 1,
    Memory = 2,
    PortSizes = 4,
    Ring = 5,
}

impl LabGuest {
    pub(crate) fn new(id: GuestId) -> Self {
        let guest = PrivCmd::open().unwrap().guest(id);
        let status = guest.map(&[STATUS], Access::ReadWrite).unwrap();
        assert_eq!(
            status.get::<u64>(Field::Magic as usize).unwrap(),
            0x5845_4e4c_4142_0001
        );
        let this = Self { status };
        assert_eq!(this.get(Field::Domid), u64::from(id.get()));
        this
    }

    pub(crate) fn get(&self, field: Field) -> u64 {
        self.status.get(field as usize).unwrap()
    }

    fn set(&self, field: Field, value: u64) {
        self.status.set(field as usize, &value).unwrap();
    }

    pub(crate) fn port(&self, field: Field) -> Port {
        Port::new(self.get(field).try_into().unwrap())
    }

    pub(crate) fn gfn(&self, field: Field) -> Gfn {
        Gfn::new(self.get(field))
    }

    /// Starts `iterations` of an order; `done` waits for its end.
    pub(crate) fn order(&self, order: Order, iterations: u64) -> Running<'_> {
        let running = Running {
            guest: self,
            done: self.get(Field::Done),
            errors: self.get(Field::Errors),
        };
        self.set(Field::Argument, iterations);
        self.set(Field::Command, order as u64);
        running
    }
}

pub(crate) struct Running<'g> {
    guest: &'g LabGuest,
    done: u64,
    errors: u64,
}

impl Running<'_> {
    pub(crate) fn is_done(&self) -> bool {
        self.guest.get(Field::Done) != self.done
    }

    /// Answers that the guest did not expect.
    pub(crate) fn errors(&self) -> u64 {
        self.guest.get(Field::Errors) - self.errors
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.guest.set(Field::Command, Order::Idle as u64);
    }
}

/// Waits for something that another party does.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Descriptors and mappings of Xen's devices that this process has.
pub(crate) fn xen_resources() -> (Vec<String>, usize) {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let link = fs::read_link(entry.unwrap().path());
        let path = link.map(|p| p.display().to_string()).unwrap_or_default();
        if path.contains("xen") {
            open.push(path);
        }
    }
    open.sort();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps
        .lines()
        .filter(|line| line.contains("/dev/xen/"))
        .count();
    (open, mapped)
}

/// Makes each ioctl of this number answer `errno` from now on, in this thread
/// and those it starts; 0 is success without effect.
pub(crate) fn fail_ioctl(number: u32, errno: i32) {
    fail(libc::SYS_ioctl, Some(number.into()), errno);
}

pub(crate) fn fail(system_call: i64, second_argument: Option<u64>, errno: i32) {
    let rule = second_argument.map(|number| {
        let length = SeccompCmpArgLen::Dword;
        let equal = SeccompCondition::new(1, length, SeccompCmpOp::Eq, number).unwrap();
        SeccompRule::new(vec![equal]).unwrap()
    });
    let filter: BpfProgram = SeccompFilter::new(
        BTreeMap::from([(system_call, rule.into_iter().collect())]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap()
    .try_into()
    .unwrap();
    apply_filter(&filter).unwrap();
}

/// What the number refers to now.
pub(crate) fn behind(number: i32) -> String {
    let link = fs::read_link(format!("/proc/self/fd/{number}"));
    link.map_or("closed".into(), |path| path.display().to_string())
}

pub(crate) fn number(fd: &impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}

/// Issues an ioctl as a C program would, past this crate's types.
pub(crate) fn raw<T>(
    fd: &impl AsFd,
    request: xen_sys::Request<T>,
    argument: &mut T,
) -> Result<i32, Errno> {
    let number = libc::Ioctl::from(request.number());
    // SAFETY: the tests pass structs whose addresses are 0 or live buffers.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), number, argument) })
}

/// The same for any number, without an argument.
pub(crate) fn raw_number(fd: &impl AsFd, number: u32) -> Result<i32, Errno> {
    let null = std::ptr::null_mut::<u8>();
    // SAFETY: a driver refuses a null argument.
    Errno::result(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::Ioctl::from(number), null) })
}

/// Opens a node as a C program would.
pub(crate) fn open(path: &str) -> OwnedFd {
    let file = File::options().read(true).write(true).open(path);
    file.unwrap_or_else(|e| panic!("{path}: {e}")).into()
}

/// Asks the kernel whether a privcmd handle may act on a domain.
pub(crate) fn may_dm_op(fd: &impl AsFd, domid: u16) -> Result<i32, Errno> {
    let mut nothing = xen_sys::privcmd::DmOp {
        dom: domid,
        ..Default::default()
    };
    raw(fd, xen_sys::privcmd::DM_OP, &mut nothing)
}

/// Asks the kernel whether an evtchn handle may bind to a domain: `EACCES`
/// when not, else Xen's error for a port that cannot be.
pub(crate) fn may_bind(fd: &impl AsFd, domid: u16) -> Errno {
    let mut impossible = xen_sys::evtchn::BindInterdomain {
        remote_domain: domid.into(),
        remote_port: u32::MAX,
    };
    raw(fd, xen_sys::evtchn::BIND_INTERDOMAIN, &mut impossible).unwrap_err()
}

/// A guest that lives as long as this value; `xl` names it after the test.
pub(crate) struct ShortLived(&'static str);

impl ShortLived {
    pub(crate) fn create(name: &'static str) -> (Self, GuestId) {
        let guest = env::var("XEN_LAB_GUEST").expect("run with `cargo lab test`");
        let config = format!("{guest}/guest.cfg");
        let name_argument = format!("name=\"{name}\"");
        xl(&["create", "-q", &config, &name_argument]);
        let domid = xl(&["domid", name]).trim().parse().unwrap();
        (Self(name), domid)
    }
}

impl Drop for ShortLived {
    fn drop(&mut self) {
        let _ = Command::new("xl").args(["destroy", self.0]).output();
    }
}

pub(crate) fn xl(arguments: &[&str]) -> String {
    let output = Command::new("xl").args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "xl {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
