// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a call of C takes more than the same call of Rust, in turns, as a table.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::{
    env,
    ffi::{CStr, CString},
    fs::File,
    hint::black_box,
    mem::{transmute, zeroed},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::PathBuf,
    ptr::null_mut,
    time::{Duration, Instant},
};

use libc::{c_char, c_int, c_void};
use xen_restrict::{Port, benching};
use xenrestrict as x;

const ROUNDS: usize = 501;
/// Of each side in a round, about.
const ROUND: Duration = Duration::from_micros(200);

type Work<'w> = &'w mut dyn FnMut();

// A call of C is not made a part of its caller.
type Read = unsafe extern "C" fn(*const x::xr_memory, usize, *mut c_void, usize) -> c_int;
type Set = extern "C" fn(*mut x::xr_guest, u8, c_int) -> c_int;
type Pending = unsafe extern "C" fn(*mut x::xr_evtchn, *mut u32, usize) -> c_int;
type Launch = unsafe extern "C" fn(*const x::xr_launch_options, *mut *mut x::xr_program) -> c_int;
type OfProgram = extern "C" fn(*mut x::xr_program) -> c_int;
type Signal = extern "C" fn(*mut x::xr_program, c_int) -> c_int;
type Wait = unsafe extern "C" fn(*mut x::xr_program, c_int, *mut x::xr_ended) -> c_int;

fn main() {
    println!("| what | C, ns | Rust, ns | more, ns |\n|---|---|---|---|");
    memory();
    requests();
    events();
    shared_library();
}

/// The least of many rounds in turns: what else the machine does only adds to it.
fn row(what: &str, c: Work<'_>, rust: Work<'_>) {
    let times = [enough(c), enough(rust)];
    let mut least = [f64::INFINITY; 2];
    for _ in 0..ROUNDS {
        least[0] = least[0].min(nanoseconds(c, times[0]));
        least[1] = least[1].min(nanoseconds(rust, times[1]));
    }
    let [c, rust] = least;
    println!("| {what} | {c:.1} | {rust:.1} | **{:.1}** |", c - rust);
}

fn enough(work: Work<'_>) -> u32 {
    let mut times = 1;
    while nanoseconds(work, times) * f64::from(times) < ROUND.as_secs_f64() * 1e9 {
        times *= 2;
    }
    times
}

fn nanoseconds(work: Work<'_>, times: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        work();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

fn open(path: &str) -> OwnedFd {
    let file = File::options().read(true).write(true).open(path);
    file.unwrap().into()
}

/// Eight bytes of a mapping.
fn memory() {
    let (of_c, of_rust) = (x::fuzzing::memory(1), benching::memory(1));
    let read = black_box::<Read>(x::xr_memory_read);
    let (mut one, mut other) = ([0_u8; 8], [0_u8; 8]);
    row(
        "copy 8 bytes of a mapping",
        &mut || {
            let into = black_box(one.as_mut_ptr()).cast();
            // SAFETY: there is room.
            let number = unsafe { read(of_c, 8, into, 8) };
            assert_eq!(number, 0);
        },
        &mut || of_rust.read(black_box(8), black_box(&mut other)).unwrap(),
    );
    x::xr_close(of_c.cast());
}

/// /dev/null refuses them, and the making of the error is in it.
fn requests() {
    let (of_c, of_rust) = (
        x::fuzzing::guest(open("/dev/null")),
        benching::guest(open("/dev/null")),
    );
    let set = black_box::<Set>(x::xr_guest_set_isa_irq_level);
    row(
        "dm_op set_isa_irq_level, refused by /dev/null, with the reason as a text",
        &mut || assert!(set(of_c, 4, 1) < 0),
        &mut || assert!(black_box(&of_rust).set_isa_irq_level(4, true).is_err()),
    );
    x::xr_close(of_c.cast());
}

/// /dev/zero has port 0 pending, and takes what is unmasked.
fn events() {
    let (of_c, of_rust) = (
        x::fuzzing::events(open("/dev/zero")),
        benching::events(open("/dev/zero")),
    );
    let pending = black_box::<Pending>(x::xr_evtchn_pending);
    let (mut numbers, mut ports) = ([0_u32; 16], [Port::new(0); 16]);
    row(
        "take pending ports: 16 of /dev/zero",
        &mut || {
            // SAFETY: there is room.
            let number = unsafe { pending(of_c, numbers.as_mut_ptr(), 16) };
            assert_eq!(number, 16);
        },
        &mut || assert_eq!(of_rust.pending(&mut ports).unwrap().len(), 16),
    );
    x::xr_close(of_c.cast());
}

/// A number out of a handle, which Rust has at hand: the border, and nothing else.
fn shared_library() {
    let folder = env::current_exe().unwrap();
    let library = folder.with_file_name("libxenrestrict.so");
    let library = CString::new(library.as_os_str().as_bytes()).unwrap();
    // SAFETY: the library runs nothing when it is loaded.
    let library = unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) };
    assert!(
        !library.is_null(),
        "libxenrestrict.so is not beside the bench"
    );
    let function = |name: &CStr| {
        // SAFETY: a library that is loaded, and a name.
        let address = unsafe { libc::dlsym(library, name.as_ptr()) };
        assert!(!address.is_null(), "{name:?}");
        address
    };
    #[allow(clippy::multiple_unsafe_ops_per_block, reason = "one reason for all")]
    // SAFETY: the functions of these names have these types.
    let (launch, pid, signal, wait) = unsafe {
        (
            transmute::<*mut c_void, Launch>(function(c"xr_launch")),
            transmute::<*mut c_void, OfProgram>(function(c"xr_program_pid")),
            transmute::<*mut c_void, Signal>(function(c"xr_program_signal")),
            transmute::<*mut c_void, Wait>(function(c"xr_program_wait")),
        )
    };
    let helper = CString::new(dm_restrict().as_os_str().as_bytes()).unwrap();
    let list = |texts: &[&'static CStr]| -> Vec<*const c_char> {
        let texts = texts.iter().map(|text| text.as_ptr());
        texts.chain([null_mut::<c_char>().cast_const()]).collect()
    };
    let (arguments, without) = (list(&[c"-c", c"read line"]), list(&[c"cgroup"]));
    let (read, _write) = std::io::pipe().unwrap();
    let stdin = x::xr_named_fd {
        name: c"stdin".as_ptr(),
        fd: std::os::fd::AsRawFd::as_raw_fd(&read),
        reserved: 0,
    };
    // SAFETY: zeroes are a value of it.
    let mut options: x::xr_launch_options = unsafe { zeroed() };
    options.size = size_of_val(&options);
    options.flags = x::XR_LAUNCH_LINKED;
    options.program = c"sh".as_ptr();
    options.arguments = arguments.as_ptr();
    options.without = without.as_ptr();
    options.user = c"games".as_ptr();
    options.instance = c"bench".as_ptr();
    options.helper = helper.as_ptr();
    options.fds = &raw const stdin;
    options.fd_count = 1;
    let mut program = null_mut();
    // SAFETY: a structure with lists that end.
    let launched = unsafe { launch(&raw const options, &raw mut program) };
    assert_eq!(launched, 0, "run it as root");
    let number = pid(program);
    row(
        "a number out of a handle, through the shared library",
        &mut || assert_eq!(black_box(pid)(program), number),
        &mut || assert_eq!(black_box(number), number),
    );
    signal(program, libc::SIGKILL);
    let mut ended = x::xr_ended::default();
    // SAFETY: there is room.
    unsafe { wait(program, 1, &raw mut ended) };
}

/// Of any profile.
fn dm_restrict() -> PathBuf {
    let deps = env::current_exe().unwrap();
    let target = deps.ancestors().nth(3).unwrap();
    let found = ["release", "debug"].map(|profile| target.join(profile).join("dm-restrict"));
    let found = found.into_iter().find(|path| path.exists());
    found.expect("dm-restrict is missing: `cargo build -p dm-restrict`")
}
