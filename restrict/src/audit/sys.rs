// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls that look at another process.

use std::{
    ffi::{CStr, CString},
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    thread,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::filters::Instruction;
use crate::launch::RecordedFile;

/// What `pidfd_open` refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Process,
    /// One thread (Linux 6.9).
    Thread,
}

/// `PIDFD_THREAD` of Linux's `linux/pidfd.h`.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL.cast_unsigned();
/// `KCMP_FILES` of Linux's `linux/kcmp.h`.
const KCMP_FILES: libc::c_int = 2;
/// `SIOCGSKNS` of Linux's `linux/sockios.h`: a descriptor of a socket's network
/// namespace.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// Of Linux's `linux/ptrace.h`.
const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
/// Of Linux's `linux/mount.h`.
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;

/// A descriptor that stays this process's (Linux 5.3).
pub(super) fn pidfd_open(pid: i32, whom: Whom) -> Result<OwnedFd, Errno> {
    let flags = match whom {
        Whom::Process => 0,
        Whom::Thread => PIDFD_THREAD,
    };
    // SAFETY: two numbers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) })
}

/// Whether reading would not block: of a pidfd, whether the process has ended.
pub(super) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}

/// A duplicate, close-on-exec, of another process's descriptor (Linux 5.6).
pub(super) fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: three numbers.
    own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
}

fn own(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = Errno::result(result)?;
    let number = RawFd::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just made it, for this process, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether two threads have one descriptor table.
pub(super) fn share_files(tid: i32, other: i32) -> Result<bool, Errno> {
    // SAFETY: five numbers.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, tid, other, KCMP_FILES, 0, 0) };
    Errno::result(order).map(|order| order == 0)
}

/// Becomes the tracer of a thread, which goes on (Linux 3.4).
pub(super) fn seize(tid: i32) -> Result<(), Errno> {
    // SAFETY: this request takes no address.
    trace(unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) }).map(drop)
}

/// Stops a thread that was seized.
pub(super) fn interrupt(tid: i32) -> Result<(), Errno> {
    // SAFETY: this request takes no address.
    trace(unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) }).map(drop)
}

/// Lets go of a thread that is stopped; it gets the signal, if there is one.
pub(super) fn detach(tid: i32, signal: i32) -> Result<(), Errno> {
    let signal = libc::c_long::from(signal);
    // SAFETY: this request takes no address.
    trace(unsafe { libc::ptrace(libc::PTRACE_DETACH, tid, 0, signal) }).map(drop)
}

fn trace(result: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(Errno::result(result)?).map_err(|_| Errno::EINVAL)
}

/// Whether a thread that was interrupted has stopped, and the signal that it was about to
/// get; 0 is none. Does not wait, nor take the end of a child from who waits for it.
pub(super) fn stopped_by(tid: i32) -> Result<Option<i32>, Errno> {
    /// `PTRACE_EVENT_STOP` of Linux's `linux/ptrace.h`.
    const EVENT_STOP: i32 = 128;
    let id = libc::id_t::try_from(tid).map_err(|_| Errno::ESRCH)?;
    let options = libc::WSTOPPED | libc::WNOHANG | libc::__WALL;
    // SAFETY: all zeroes are a `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `siginfo_t`.
    Errno::result(unsafe { libc::waitid(libc::P_PID, id, &raw mut info, options) })?;
    // SAFETY: of a wait the kernel fills these fields; else they are 0.
    let (pid, status) = (unsafe { info.si_pid() }, unsafe { info.si_status() });
    let signal = if status >> 8 == EVENT_STOP {
        0
    } else {
        status & 0x7f
    };
    Ok((pid != 0).then_some(signal))
}

/// How many instructions a filter of a thread that is stopped has (Linux 4.4).
pub(super) fn filter_length(tid: i32, index: usize) -> Result<usize, Errno> {
    let nowhere = std::ptr::null_mut::<Instruction>();
    // SAFETY: without an address only the length is told.
    trace(unsafe { libc::ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, nowhere) })
}

/// Reads a filter whose length is that of `into`.
pub(super) fn filter(tid: i32, index: usize, into: &mut [Instruction]) -> Result<(), Errno> {
    if filter_length(tid, index)? != into.len() {
        return Err(Errno::ESRCH);
    }
    let start = into.as_mut_ptr();
    // SAFETY: the thread is stopped, so the filter is as long as `into`; an instruction has
    // the kernel's form and can be of any bytes.
    trace(unsafe { libc::ptrace(PTRACE_SECCOMP_GET_FILTER, tid, index, start) }).map(drop)
}

/// What the kernel knows of a file without asking the file system's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Stat {
    /// The type and permissions.
    pub(super) mode: u32,
    /// The file system's device number.
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    /// Which device it is, if it is one.
    pub(super) special: (u32, u32),
    /// The mount, as in `mountinfo` (Linux 5.8).
    pub(super) mount: Option<u64>,
    pub(super) uid: u32,
}

impl Stat {
    /// Whether both are of one file, or of one device.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let device = |stat: &Self| {
            let kind = stat.kind();
            matches!(kind, libc::S_IFBLK | libc::S_IFCHR).then_some((kind, stat.special))
        };
        match (device(self), device(other)) {
            (None, None) => (self.device, self.inode) == (other.device, other.inode),
            (one, other) => one == other,
        }
    }

    /// As a launcher wrote it down.
    pub(super) fn recorded(&self) -> RecordedFile {
        let number = |(major, minor)| libc::makedev(major, minor);
        RecordedFile::new(number(self.device), self.inode, number(self.special))
    }

    /// The type: `S_IFDIR`, ...
    pub(super) fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
}

/// Follows a last symbolic link, mounts nothing, and does not wait for a server.
pub(super) fn stat(directory: BorrowedFd<'_>, path: &CStr) -> Result<Stat, Errno> {
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_MNT_ID;
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
    let mut answer = MaybeUninit::<libc::statx>::zeroed();
    let (at, into) = (directory.as_raw_fd(), answer.as_mut_ptr());
    let path = path.as_ptr();
    // SAFETY: the path ends with NUL, and the kernel writes one `statx`.
    Errno::result(unsafe { libc::syscall(libc::SYS_statx, at, path, flags, wanted, into) })?;
    // SAFETY: all zeroes are a `statx`, and so is what the kernel wrote.
    let answer = unsafe { answer.assume_init() };
    Ok(Stat {
        mode: answer.stx_mode.into(),
        device: (answer.stx_dev_major, answer.stx_dev_minor),
        inode: answer.stx_ino,
        special: (answer.stx_rdev_major, answer.stx_rdev_minor),
        mount: (answer.stx_mask & libc::STATX_MNT_ID != 0).then_some(answer.stx_mnt_id),
        uid: answer.stx_uid,
    })
}

/// Of this machine's file at an absolute path.
pub(super) fn stat_at(path: &str) -> Option<Stat> {
    stat(nix::fcntl::AT_FDCWD, &CString::new(path).ok()?).ok()
}

/// A socket option that is a number, or a struct of numbers.
pub(super) fn socket_option<T: OptionValue>(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
) -> Result<T, Errno> {
    let mut value = T::default();
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| Errno::EINVAL)?;
    let mut length = size;
    let number = socket.as_raw_fd();
    // SAFETY: the kernel writes at most `length` bytes, and any are a `T`.
    let result = unsafe {
        libc::getsockopt(
            number,
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    if length == size {
        Ok(value)
    } else {
        Err(Errno::EINVAL)
    }
}

/// What the kernel may write anything into.
///
/// # Safety
/// Every bit pattern is a value.
pub(super) unsafe trait OptionValue: Default {}
// SAFETY: a number.
unsafe impl OptionValue for libc::c_int {}
// SAFETY: three numbers.
unsafe impl OptionValue for Credentials {}

/// `struct ucred`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credentials {
    pub(super) pid: libc::pid_t,
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
}
const _: () = assert!(size_of::<Credentials>() == size_of::<libc::ucred>());

/// The network namespace of a socket: needs CAP_NET_ADMIN over it.
pub(super) fn network_of(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // SAFETY: the request takes no argument.
    own(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) }.into())
}

/// Whether the loopback interface of a network namespace is up.
pub(super) fn loopback_is_up(network: &OwnedFd) -> io::Result<bool> {
    // Only this thread moves there, and it ends.
    thread::scope(|scope| {
        let asking = thread::Builder::new().spawn_scoped(scope, || {
            // SAFETY: a descriptor and a flag.
            Errno::result(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) })?;
            // SAFETY: three numbers.
            let socket = own(unsafe {
                libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
            }
            .into())?;
            // SAFETY: all zeroes are an `ifreq`.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
                *to = from.cast_signed();
            }
            // SAFETY: the request reads and writes one `ifreq`.
            let asked =
                unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
            Errno::result(asked)?;
            // SAFETY: the kernel filled this field of the union.
            let flags = unsafe { request.ifr_ifru.ifru_flags };
            Ok(libc::c_int::from(flags) & libc::IFF_UP != 0)
        })?;
        let answer: Result<bool, Errno> = asking.join().unwrap_or(Err(Errno::EINTR));
        answer.map_err(io::Error::from)
    })
}

/// The device number of xenfs, of which there is one: by a mount that nobody sees.
pub(super) fn xenfs_device() -> Result<(u32, u32), Errno> {
    // SAFETY: a string that ends with NUL, and a flag.
    let context =
        own(unsafe { libc::syscall(libc::SYS_fsopen, c"xenfs".as_ptr(), FSOPEN_CLOEXEC) })?;
    let (no_key, no_value) = (std::ptr::null::<u8>(), std::ptr::null::<u8>());
    // SAFETY: this command takes neither key nor value.
    let created = unsafe {
        let create = FSCONFIG_CMD_CREATE;
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            create,
            no_key,
            no_value,
            0,
        )
    };
    Errno::result(created)?;
    // SAFETY: three numbers.
    let mount =
        own(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })?;
    Ok(stat(mount.as_fd(), c"")?.device)
}
