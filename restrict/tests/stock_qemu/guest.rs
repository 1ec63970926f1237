// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest with the suite's own QEMU, started by `xl`. Needs nothing but std, so that
//! other test programs can take this file in.
#![allow(dead_code, reason = "not every test program needs it all")]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The uid of user `xen-qemuuser-range-base`, which the lab's dom0 has.
pub(crate) const RANGE_BASE: u32 = 65536;

/// Where the suites have QEMU for Xen.
const QEMU: [&str; 2] = [
    "/usr/libexec/xen-qemu-system-i386",
    "/usr/bin/qemu-system-i386",
];

/// An HVM guest with nothing to boot, destroyed when the value goes.
#[derive(Debug)]
pub(crate) struct StockGuest {
    pub(crate) domid: u16,
    /// Of its QEMU, in dom0.
    pub(crate) pid: i32,
    name: String,
}

/// What `xl` and QEMU said of a guest that did not start.
#[derive(Debug)]
pub(crate) struct NoStart {
    pub(crate) xl: String,
    pub(crate) qemu: String,
}

impl StockGuest {
    /// Starts one; with `dm_restrict` its QEMU has restricted itself when this returns.
    ///
    /// Where that does not work ([`fails_restricted`]), libxl's limit on the size of files
    /// is lifted; all else is as libxl and QEMU make it.
    pub(crate) fn start(dm_restrict: bool) -> Self {
        let lifted = (dm_restrict && fails_restricted())
            .then(|| wrapper("ulimit -f unlimited; exec \"$QEMU\" \"$@\""));
        Self::try_start(dm_restrict, lifted.as_deref())
            .unwrap_or_else(|no| panic!("xl: {}\nQEMU: {}", no.xl, no.qemu))
    }

    /// The same, with a program in the place of QEMU or without, and nothing lifted.
    ///
    /// # Errors
    /// `xl` says that it did not start.
    pub(crate) fn try_start(
        dm_restrict: bool,
        device_model: Option<&Path>,
    ) -> Result<Self, NoStart> {
        let guest = Self::create(dm_restrict, device_model, &[])?;
        if dm_restrict {
            // The last thing that it does to itself.
            eventually("QEMU has given up root", || guest.real_uid() == guest.uid());
        }
        Ok(guest)
    }

    /// The same, with more lines of its config, and as soon as `xl` has returned: `pid` is that
    /// of the program in the place of QEMU.
    ///
    /// # Errors
    /// As [`try_start`](Self::try_start).
    pub(crate) fn create(
        dm_restrict: bool,
        device_model: Option<&Path>,
        more: &[&str],
    ) -> Result<Self, NoStart> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stock-{}-{number}", process::id());
        let mut xl = Command::new("xl");
        xl.args(["create", "-q"])
            .arg(format!("{}/hvm.cfg", from_lab("XEN_LAB_GUEST")))
            .arg(format!("name=\"{name}\""))
            .arg(format!("dm_restrict={}", u8::from(dm_restrict)))
            .args(more);
        if let Some(program) = device_model {
            xl.arg("device_model_version=\"qemu-xen\"");
            xl.arg(format!("device_model_override={program:?}"));
        }
        let output = xl.output().unwrap();
        if !output.status.success() {
            let log = format!("/var/log/xen/qemu-dm-{name}.log");
            return Err(NoStart {
                xl: String::from_utf8_lossy(&output.stderr).into_owned(),
                qemu: fs::read_to_string(log).unwrap_or_default(),
            });
        }
        // From here on it is destroyed, whatever fails.
        let mut guest = Self {
            domid: 0,
            pid: 0,
            name,
        };
        guest.domid = ask(Command::new("xl").args(["domid", &guest.name]));
        let key = format!("/local/domain/{}/image/device-model-pid", guest.domid);
        guest.pid = ask(Command::new("xenstore-read").arg(key));
        Ok(guest)
    }

    /// By which `xl` knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The uid that its QEMU has, if it is restricted.
    pub(crate) fn uid(&self) -> u32 {
        RANGE_BASE + u32::from(self.domid)
    }

    fn real_uid(&self) -> u32 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("Uid:"));
        let uid = line.and_then(|line| line.split_whitespace().nth(1));
        uid.unwrap().parse().unwrap()
    }
}

impl Drop for StockGuest {
    fn drop(&mut self) {
        let _ = Command::new("xl").args(["destroy", &self.name]).output();
    }
}

/// Does QEMU die of the 256 KiB that libxl lets it write to a file? Since version 10 it
/// keeps its screen in a memory file, which counts.
pub(crate) fn fails_restricted() -> bool {
    match from_lab("XEN_LAB_SUITE").as_str() {
        "bullseye" | "bookworm" => false,
        "trixie" | "sid" => true,
        other => panic!("which QEMU has {other}? Say it here"),
    }
}

/// Since 4.18 libxl first asks another QEMU what it can do. Where that one ends slowly it
/// removes the socket that libxl has made meanwhile for the real one; here it cannot.
const PROBE: &str = r#"
case "$*" in *"-machine none"*)
    exec unshare -m sh -c '
        mount -o bind /run/xen /run/xen && mount -o remount,bind,ro /run/xen && exec "$0" "$@"
    ' "$QEMU" "$@"
esac
"#;

/// A program in the place of QEMU: a script, in which `$QEMU` is the suite's.
pub(crate) fn wrapper(script: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = env::temp_dir().join(format!("device-model-{}-{number}", process::id()));
    let qemu = QEMU.iter().find(|path| Path::new(path).exists()).unwrap();
    fs::write(&path, format!("#!/bin/sh\nQEMU={qemu}{PROBE}{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Waits for something that takes a moment.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(180);
    while !is_so() {
        assert!(Instant::now() < end, "not so after three minutes: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What the lab says: see `docs/lab.md`.
pub(crate) fn from_lab(variable: &str) -> String {
    env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run these tests with `cargo lab test`"))
}

/// A number that a program prints.
fn ask<T: std::str::FromStr>(command: &mut Command) -> T {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("{command:?} gave {output:?}"))
}
