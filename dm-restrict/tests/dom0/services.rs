// SPDX-License-Identifier: MIT OR Apache-2.0
//! systemd in dom0: as root's own manager, because the machine's first process is the lab's.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{eventually, from_lab, outcome};

const UNITS: &str = "/tmp/units";
const RUNTIME: &str = "/run/user/0";
const GROUP: &str = "/sys/fs/cgroup/services";

/// A manager, as long as this value lives; `systemctl` in the directory speaks to it.
pub(crate) struct Services(Child);

impl Services {
    pub(crate) fn start(names: &str) -> Self {
        // The second says that systemd booted this machine, which it asks for.
        for directory in [UNITS, "/run/systemd/system", RUNTIME, GROUP] {
            fs::create_dir_all(directory).unwrap();
        }
        for target in ["default", "basic", "shutdown"] {
            let path = Path::new(UNITS).join(format!("{target}.target"));
            fs::write(path, "[Unit]\nDefaultDependencies=no\n").unwrap();
        }
        let unit = include_str!("../../../debian/dm-restrict@.service");
        fs::write(Path::new(UNITS).join("dm-restrict@.service"), unit).unwrap();

        let script =
            format!("echo $$ > {GROUP}/cgroup.procs; exec /usr/lib/systemd/systemd --user");
        let log = File::create("/tmp/services.log").unwrap();
        let manager = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("XDG_RUNTIME_DIR", RUNTIME)
            .env("SYSTEMD_UNIT_PATH", UNITS)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let shim =
            format!("#!/bin/sh\nXDG_RUNTIME_DIR={RUNTIME} exec /usr/bin/systemctl --user \"$@\"\n");
        let path = Path::new(names).join("systemctl");
        fs::write(&path, shim).unwrap();
        outcome(Command::new("chmod").arg("755").arg(&path));
        let mut services = Self(manager);
        eventually("systemd runs", || {
            let ended = services.0.try_wait().unwrap();
            let log = fs::read_to_string("/tmp/services.log").unwrap();
            assert!(ended.is_none(), "systemd: {log}");
            services.control(&["is-system-running"]).code == 0
        });
        let path = format!("PATH={names}:{}", from_lab("PATH"));
        assert_eq!(services.control(&["set-environment", &path]).code, 0);
        services
    }

    pub(crate) fn control(&self, arguments: &[&str]) -> crate::support::Outcome {
        let mut command = Command::new("/usr/bin/systemctl");
        outcome(
            command
                .arg("--user")
                .args(arguments)
                .env("XDG_RUNTIME_DIR", RUNTIME),
        )
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // Services are stopped by it.
        let _ = self.control(&["exit"]);
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
        for _ in 0..100 {
            if ended(&mut self.0) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = outcome(Command::new("find").args([GROUP, "-depth", "-type", "d", "-delete"]));
        let _ = fs::remove_dir("/run/systemd/system");
    }
}
