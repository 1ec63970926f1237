// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is preloaded into a QEMU, so that Xen's library takes a handle of privcmd that is
//! restricted already (`preload/lib.rs`). It is a file in memory, and has its path in /proc.

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
};

use super::{
    error::LaunchError,
    options::{EnvValue, Launch, NamedFd},
    qemu::QemuStart,
};
use crate::{
    Device,
    confine::{Mechanism, qemu::Itself},
};

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/preload.so"));
/// No name that a caller can give.
const NAME: &str = "(preload)";

/// Whether it can be: a QEMU that sees its own /proc, and not dom0's devices.
fn is_used(launch: &Launch) -> bool {
    let is_model = matches!(launch.qemu, Some(QemuStart::DeviceModel { .. }));
    is_model && launch.has(Mechanism::Root) && launch.has(Mechanism::PidNs)
}

/// Handles that the supervisor opens in QEMU's place. Where no library is preloaded, QEMU has to
/// open privcmd itself.
pub(super) fn given(launch: &Launch) -> &'static [Device] {
    match is_used(launch) {
        true => &[Device::EventChannel, Device::PrivCmd],
        false => &[Device::EventChannel],
    }
}

/// What is left to it of them.
pub(super) fn opens_itself(launch: &Launch) -> Itself {
    match given(launch).contains(&Device::PrivCmd) {
        true => Itself::Nothing,
        false => Itself::PrivCmd,
    }
}

/// Hands it over as well.
pub(super) fn add(launch: &mut Launch) -> Result<Option<(NamedFd, File)>, LaunchError> {
    if !is_used(launch) {
        return Ok(None);
    }
    let failed = LaunchError::system("make a file of what is preloaded into QEMU");
    let made = memory_file().map_err(|errno| failed(errno.into()))?;
    let mut file = File::from(made);
    file.write_all(LIBRARY).map_err(&failed)?;
    let fd = NamedFd {
        name: NAME.into(),
        number: file.as_raw_fd(),
    };
    launch.fds.push(fd.clone());
    let names = super::fd_names(launch);
    // The last one.
    let number = names.last().map_or(0, |(number, _)| *number);
    let path = format!("/proc/self/fd/{number}");
    let path = EnvValue::Given(path.into());
    launch.env.push(("LD_PRELOAD".into(), path));
    Ok(Some((fd, file)))
}

/// Not to be executed itself, as a machine can ask of all of them (`vm.memfd_noexec`).
fn memory_file() -> nix::Result<OwnedFd> {
    // `MFD_NOEXEC_SEAL`, Linux 6.3.
    let not_executed = MFdFlags::from_bits_retain(8);
    match memfd_create(NAME, MFdFlags::MFD_CLOEXEC | not_executed) {
        Err(Errno::EINVAL) => memfd_create(NAME, MFdFlags::MFD_CLOEXEC),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::AsFd as _, unix::process::CommandExt as _};

    use xen_sys::privcmd;

    use super::*;

    /// What a program asks that has it.
    const CHILD: &str = "launch::preload::tests::asks";

    fn model() -> QemuStart {
        QemuStart::DeviceModel {
            chroot: "/".into(),
            files: Vec::new(),
            read_only: Vec::new(),
            reads: Vec::new(),
            listeners: Vec::new(),
            opens_others: false,
        }
    }

    #[test]
    #[ignore = "another test runs it"]
    fn asks() {
        let ask = |request: u32, start: &[u16; 8]| {
            // SAFETY: no descriptor has the number, so that the kernel reads nothing.
            unsafe { libc::ioctl(-1, request.into(), start.as_ptr()) }
        };
        let dm_op = privcmd::DM_OP.number();
        let question = [0x7ff4, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(ask(dm_op, &question), 0);
        let mut others = vec![(privcmd::MMAP_RESOURCE.number(), question)];
        for (at, value) in [(0, 0), (0, 5), (0, 0x7ff0), (1, 1), (1, 256)] {
            let mut other = question;
            other[at] = value;
            others.push((dm_op, other));
        }
        for (request, start) in others {
            assert_eq!(ask(request, &start), -1);
            assert_eq!(Errno::last(), Errno::EBADF);
        }
        // SAFETY: the kernel is asked, and refuses.
        let nowhere = unsafe { libc::ioctl(-1, dm_op.into(), 0_usize) };
        assert_eq!(nowhere, -1);
    }

    #[test]
    fn one_question_is_answered_and_the_kernel_is_asked_all_others() {
        let mut launch = Launch::new(crate::GuestId::new(5).unwrap());
        assert!(add(&mut launch).unwrap().is_none());
        launch = launch.qemu(model());
        let (fd, file) = add(&mut launch).unwrap().unwrap();
        assert_eq!(fd.number, file.as_raw_fd());
        let (name, value) = launch.env.last().unwrap();
        let EnvValue::Given(value) = value else {
            panic!("{value:?}");
        };
        let number = super::super::fd_names(&launch).last().unwrap().0;
        assert_eq!(*value, *format!("/proc/self/fd/{number}"));
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let copy = file.as_fd().try_clone_to_owned().unwrap();
        let placed = move || {
            // SAFETY: in a forked child, that runs no other code.
            Errno::result(unsafe { libc::dup2(copy.as_raw_fd(), number) })?;
            Ok(())
        };
        // SAFETY: one system call.
        let ended = unsafe { command.pre_exec(placed) }
            .args(["--exact", CHILD, "--ignored", "--nocapture"])
            .env(name, value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && said.contains("1 passed"),
            "{said}"
        );
        assert!(
            ended.stderr.is_empty(),
            "{:?}",
            String::from_utf8(ended.stderr)
        );
    }

    #[test]
    fn without_its_path_qemu_opens_privcmd_itself() {
        let launch = Launch::new(crate::GuestId::new(5).unwrap()).qemu(model());
        assert_eq!(given(&launch).len(), 2);
        assert_eq!(opens_itself(&launch), Itself::Nothing);
        for mechanism in [Mechanism::PidNs, Mechanism::Root] {
            let mut launch = launch.clone().without(mechanism);
            assert_eq!(given(&launch), [Device::EventChannel]);
            assert_eq!(opens_itself(&launch), Itself::PrivCmd);
            assert!(add(&mut launch).unwrap().is_none());
        }
    }
}
