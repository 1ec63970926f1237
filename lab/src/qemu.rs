// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU: its command line, its two serial ports, and its end.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

use crate::image::Image;
use crate::job::Plan;
use crate::process;

/// What the emulated machine computes with, and how its time passes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Processors {
    // One is no slower than two, and two suffer when this machine is busy: each waits in vain
    // for the other, which is not running.
    /// Processors of the emulated machine.
    #[arg(long = "cpus", value_name = "N", global = true, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(crate) count: u8,
    /// Its time passes by a nanosecond with each instruction, not with ours: what is measured
    /// there is instructions, the same in each run, and not how dear emulation makes each.
    #[arg(long, global = true, conflicts_with = "count")]
    pub(crate) icount: bool,
}

impl Processors {
    fn arguments(self) -> Vec<String> {
        let (threads, clock) = match self.icount {
            false => ("multi", None),
            true => ("single", Some(["-icount", "shift=0"])),
        };
        let (accelerator, count) = (format!("tcg,thread={threads}"), self.count.to_string());
        let arguments = ["-accel", &accelerator, "-smp", &count];
        let arguments = arguments.into_iter().chain(clock.into_iter().flatten());
        arguments.map(str::to_owned).collect()
    }
}

/// Memory of the whole machine and of dom0, in MiB. Half of dom0's is room for its files.
const MEMORY: u32 = 1536;
const DOM0_MEMORY: u32 = 768;

/// TCG gets SMAP and SMEP wrong for a PV kernel, and Xen trips over the others.
const CPU: &str = "max,-smap,-smep,-pku,-la57";

/// What comes from QEMU.
pub(crate) enum Event {
    Console(Vec<u8>),
    Port(Vec<u8>),
    Closed,
}

/// QEMU, killed when the value goes.
pub(crate) struct Qemu {
    pub(crate) child: Child,
    pub(crate) events: Receiver<Event>,
    pub(crate) console: UnixStream,
    pub(crate) port: UnixStream,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts into the run's folder what the command line names.
///
/// # Errors
/// The disk is full, or a program is gone.
pub(crate) fn lay_out(image: &Image, plan: &Plan<'_>, folder: &Path) -> Result<()> {
    // QEMU splits its -initrd option at commas and spaces: it gets short names in its
    // current folder.
    symlink(image.xen(), folder.join("xen"))?;
    symlink(image.kernel(), folder.join("vmlinuz"))?;
    let root = folder.join("root.cpio");
    fs::copy(image.root(), &root)
        .with_context(|| format!("cannot copy dom0's root to {}", root.display()))?;
    File::options()
        .append(true)
        .open(&root)?
        .write_all(&plan.archive()?)
        .with_context(|| format!("cannot write {}", root.display()))
}

/// Left to itself Xen saves and restores them late on AMD's processors, and under emulation
/// dom0's programs lose theirs (docs/lab.md).
const VECTOR_REGISTERS: &str = "spec-ctrl=eager-fpu";

/// Code that stays where it was is translated once, not for each process.
const FIXED: &str = " norandmaps";

/// QEMU's command line; the ports are descriptors that it inherits.
///
/// # Errors
/// Its log cannot be made.
pub(crate) fn command(
    plan: &Plan<'_>,
    folder: &Path,
    console: RawFd,
    port: RawFd,
) -> Result<Command> {
    let log = File::create(folder.join("qemu.log"))?;
    let mut command = Command::new("qemu-system-x86_64");
    command
        .current_dir(folder)
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none"])
        .args(plan.dom0.qemu)
        .args(plan.processors.arguments())
        .args(["-cpu", &format!("{CPU}{}", plan.dom0.cpu)])
        .args(["-m", &MEMORY.to_string()])
        .args(["-chardev", &format!("socket,id=console,fd={console}")])
        .args(["-chardev", &format!("socket,id=port,fd={port}")])
        .args(["-serial", "chardev:console", "-serial", "chardev:port"])
        .args(["-kernel", "xen", "-append"])
        .arg(format!(
            "console=com1 com1=115200,8n1 dom0_mem={DOM0_MEMORY}M,max:{DOM0_MEMORY}M bootscrub=0 \
             {VECTOR_REGISTERS}{}",
            plan.dom0.xen
        ))
        .arg("-initrd")
        .arg(format!(
            "vmlinuz console=hvc0 panic=-1 quiet sysrq_always_enabled{},root.cpio",
            if plan.fixed_addresses { FIXED } else { "" }
        ))
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Starts the command that `build` makes for two ports, and listens to both.
///
/// # Errors
/// It does not start.
pub(crate) fn start(build: impl FnOnce(RawFd, RawFd) -> Result<Command>) -> Result<Qemu> {
    let (console, console_end) = UnixStream::pair()?;
    let (port, port_end) = UnixStream::pair()?;
    let mut command = build(console_end.as_raw_fd(), port_end.as_raw_fd())?;
    command.stdin(Stdio::null());
    inherit(&mut command, vec![console_end.into(), port_end.into()]);
    process::dies_with_us(&mut command, Signal::SIGKILL);
    let child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", process::line(&command)))?;
    // Our copies of its ends must go, or the ports would never close.
    drop(command);

    let (sender, events) = mpsc::channel();
    read_all(console.try_clone()?, sender.clone(), Event::Console);
    read_all(port.try_clone()?, sender, Event::Port);
    Ok(Qemu {
        child,
        events,
        console,
        port,
    })
}

/// Lets the child keep these descriptors, under their numbers.
fn inherit(command: &mut Command, descriptors: Vec<OwnedFd>) {
    // SAFETY: fcntl is one system call, allowed between fork and exec, and the closure
    // owns the descriptors, so their numbers are still theirs.
    unsafe {
        command.pre_exec(move || {
            for descriptor in &descriptors {
                fcntl(descriptor.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        });
    }
}

fn read_all(mut from: UnixStream, to: Sender<Event>, event: fn(Vec<u8>) -> Event) {
    thread::spawn(move || {
        let mut buffer = [0; 16384];
        loop {
            let message = match from.read(&mut buffer) {
                Ok(0) | Err(_) => Event::Closed,
                Ok(count) => event(buffer[..count].to_vec()),
            };
            let last = matches!(message, Event::Closed);
            if to.send(message).is_err() || last {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        processors: Processors,
    }

    fn arguments(line: &str) -> Option<String> {
        let line = Line::try_parse_from(line.split(' ')).ok()?;
        Some(line.processors.arguments().join(" "))
    }

    #[test]
    fn instructions_are_counted_on_one_processor() {
        let plain = arguments("lab --cpus 2").unwrap();
        assert_eq!(plain, "-accel tcg,thread=multi -smp 2");
        let counted = arguments("lab --icount").unwrap();
        assert_eq!(counted, "-accel tcg,thread=single -smp 1 -icount shift=0");
        assert!(arguments("lab --icount --cpus 2").is_none());
    }
}
