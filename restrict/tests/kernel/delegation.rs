// SPDX-License-Identifier: MIT OR Apache-2.0
//! A control group that a manager has marked as delegated, as systemd does.

use std::{
    ffi::{CStr, CString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use xen_restrict::confine::cgroup::{Leaf, Limits, probe, remove_stale};

use crate::{
    alone::alone,
    cgroup::{end, parent, shell, value},
};

const LIMITS: Limits = Limits {
    pids: Some(9),
    memory: Some(32 << 20),
    swap: None,
    cpu_weight: None,
    cpu_max: None,
};

/// Makes a unit's group, and puts this process into it.
fn unit(name: &str, attribute: &CStr) -> PathBuf {
    let root = parent().path().to_owned();
    fs::write(root.join("cgroup.subtree_control"), "+pids +memory").unwrap();
    let unit = root.join(name);
    fs::create_dir_all(&unit).unwrap();
    mark(&unit, attribute, b"1");
    fs::write(unit.join("cgroup.procs"), "0").unwrap();
    unit
}

fn mark(folder: &Path, attribute: &CStr, value: &[u8]) {
    let path = CString::new(folder.to_str().unwrap()).unwrap();
    // SAFETY: two C strings, and bytes with their length.
    let done = unsafe {
        libc::setxattr(
            path.as_ptr(),
            attribute.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

fn own_group() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    text.trim().strip_prefix("0::").unwrap().to_owned()
}

fn supervisor_and_leaf_are_side_by_side(unit: &Path) {
    let parent = probe().unwrap();
    assert_eq!(parent.path(), unit);
    // Looking changed nothing.
    assert!(!unit.join("supervisor").exists());

    let leaf = Leaf::create(&parent, "7-dm", LIMITS).unwrap();
    assert_eq!(leaf.path(), unit.join("7-dm"));
    assert!(own_group().ends_with("/supervisor"));
    assert_eq!(
        (value(leaf.path(), "pids.max"), value(unit, "cgroup.procs")),
        ("9".into(), "".into())
    );
    // A second launcher, started from the first one's group.
    let parent = probe().unwrap();
    assert_eq!(parent.path(), unit);
    let second = Leaf::create(&parent, "8-dm", LIMITS).unwrap();

    let child = shell(&leaf, "sleep 100; :");
    end(leaf, &mut [child]);
    second.remove().unwrap();
    assert!(!remove_stale(&parent, "8-dm").unwrap());
}

#[test]
fn systemds_mark_makes_it_ours() {
    alone(|| supervisor_and_leaf_are_side_by_side(&unit("marked.service", c"trusted.delegate")));
}

#[test]
fn the_mark_that_any_owner_can_set_does_too() {
    alone(|| supervisor_and_leaf_are_side_by_side(&unit("user.service", c"user.delegate")));
}

/// Its manager has the controller cpu, and does not pass it on.
#[test]
fn without_the_controller_cpu_it_is_a_group_that_says_so() {
    alone(|| {
        let unit = unit("no-cpu.service", c"trusted.delegate");
        let root = unit.parent().unwrap();
        // Those of other tests have it on for theirs.
        let others = fs::read_dir(root).unwrap().map(|entry| entry.unwrap());
        for group in others.filter(|entry| entry.path().is_dir()) {
            let _ = fs::write(group.path().join("cgroup.subtree_control"), "-cpu");
        }
        fs::write(root.join("cgroup.subtree_control"), "-cpu").unwrap();
        let parent = probe().unwrap();
        let leaf = Leaf::create(&parent, "7-dm", LIMITS).unwrap();
        assert!(!leaf.shares_cpu());
        assert_eq!(value(leaf.path(), "pids.max"), "9");
        let limits = Limits {
            cpu_max: Some(1000),
            ..LIMITS
        };
        let error = Leaf::create(&parent, "8-dm", limits).unwrap_err();
        assert!(
            error.reason.ends_with("has not the controller cpu"),
            "{error}"
        );
        assert!(!unit.join("8-dm").exists());
        leaf.remove().unwrap();
    });
}

#[test]
fn a_mark_that_does_not_say_1_is_none() {
    alone(|| {
        let unit = unit("unmarked.service", c"user.delegate");
        for value in [&b"0"[..], b"", b"11"] {
            mark(&unit, c"user.delegate", value);
            let error = probe().unwrap_err();
            assert!(
                error
                    .reason
                    .ends_with("unmarked.service\" is not delegated"),
                "{error}"
            );
            assert!(
                error.remedy.contains("systemd-run -p Delegate=yes"),
                "{error}"
            );
        }
    });
}

#[test]
fn the_group_above_counts_for_a_supervisor_only() {
    alone(|| {
        let unit = unit("above.service", c"trusted.delegate");
        for (name, ours) in [("supervisor", true), ("other", false)] {
            fs::create_dir_all(unit.join(name)).unwrap();
            fs::write(unit.join(name).join("cgroup.procs"), "0").unwrap();
            assert_eq!(probe().is_ok(), ours, "{name}");
        }
    });
}

#[test]
fn other_processes_in_it_are_named_and_stay() {
    alone(|| {
        let unit = unit("shared.service", c"trusted.delegate");
        let mut other = Command::new("sleep")
            .arg("100")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let error = Leaf::create(&probe().unwrap(), "7-dm", LIMITS).unwrap_err();
        assert!(
            error.reason.ends_with(&format!("{} (sleep)", other.id())),
            "{error}"
        );
        assert!(
            error.remedy.contains("DelegateSubgroup=supervisor"),
            "{error}"
        );
        assert_eq!(value(&unit, "cgroup.procs"), other.id().to_string());
        assert!(!unit.join("7-dm").exists());
        other.kill().unwrap();
        other.wait().unwrap();
        Leaf::create(&probe().unwrap(), "7-dm", LIMITS)
            .unwrap()
            .remove()
            .unwrap();
    });
}

#[test]
fn a_unit_with_too_few_controllers_is_told_what_it_lacks() {
    alone(|| {
        let unit = unit("few.service", c"trusted.delegate");
        let few = unit.join("few");
        fs::create_dir_all(&few).unwrap();
        mark(&few, c"trusted.delegate", b"1");
        fs::write(few.join("cgroup.procs"), "0").unwrap();
        let error = probe().unwrap_err();
        assert!(error.reason.contains("lacks pids and memory"), "{error}");
        assert!(error.remedy.contains("`Delegate=yes`"), "{error}");
    });
}

/// The kernel refuses the controllers while one of them is still in the unit's own group.
#[test]
fn launchers_that_start_at_once_wait_for_each_other() {
    alone(|| {
        let unit = unit("race.service", c"trusted.delegate");
        let start = |number: usize| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([
                "--exact",
                "delegation::one_of_several",
                "--ignored",
                "--nocapture",
            ]);
            command
                .env("NUMBER", number.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let launchers: Vec<_> = (0..8).map(start).collect();
        // This process was in their way too.
        fs::create_dir_all(unit.join("supervisor")).unwrap();
        fs::write(unit.join("supervisor/cgroup.procs"), "0").unwrap();
        for launcher in launchers {
            let output = launcher.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.contains("1 passed"),
                "{text}"
            );
        }
    });
}

#[test]
#[ignore = "the test above runs it several times at once"]
fn one_of_several() {
    let name = format!("{}-dm", std::env::var("NUMBER").unwrap());
    let leaf = Leaf::create(&probe().unwrap(), &name, LIMITS).unwrap();
    assert_eq!(value(leaf.path(), "pids.max"), "9");
    leaf.remove().unwrap();
}
