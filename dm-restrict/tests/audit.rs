// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict audit`: of programs that `run` confined for real, and of others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{
    Run, dm_restrict,
    launcher::{Launcher, Running},
};

/// Runs the command where the launcher's records are.
fn beside(running: &Running, arguments: &[&str]) -> Run {
    let output = Command::new("nsenter")
        .args(["--mount", "--target"])
        .arg(running.supervisor().to_string())
        .arg(env!("CARGO_BIN_EXE_dm-restrict"))
        .args(arguments)
        .output()
        .unwrap();
    Run {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

fn started(launcher: Launcher) -> Running {
    let mut running = launcher.start_probe(["say=here", "forever"]);
    assert_eq!(running.line(), "here");
    running
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// The names of the checks that have this verdict.
fn with_verdict<'a>(report: &'a Value, verdict: &str) -> Vec<&'a str> {
    let findings = report["findings"].as_array().unwrap().iter();
    let found = findings.filter(|finding| finding["verdict"] == verdict);
    found
        .map(|finding| finding["check"].as_str().unwrap())
        .collect()
}

#[test]
fn what_run_confines_holds() {
    let running = started(Launcher::for_domain());
    let pid = running.program().to_string();
    let domid = running.record()["domid"].to_string();
    for whom in [&[pid.as_str()][..], &["--domid", &domid], &["--all"]] {
        for more in [&[][..], &["--filters"]] {
            let arguments = [&["audit", "--json"], whom, more].concat();
            let run = beside(&running, &arguments);
            assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
            let output = json(&run);
            let report = &output["reports"][0];
            assert_eq!(output["verdict"], "holds");
            assert_eq!(output["errors"], Value::Array(vec![]));
            assert_eq!(report["pid"].to_string(), pid);
            assert_eq!(report["domid"].to_string(), domid);
            assert_eq!(
                (&report["instance"], &report["profile"]),
                (&"dm".into(), &"strict".into())
            );
            assert_eq!(with_verdict(report, "fails"), [""; 0]);
            let mut unseen = with_verdict(report, "not-observable");
            // Not each machine has it.
            unseen.retain(|check| *check != "landlock");
            match more.is_empty() {
                true => assert_eq!(unseen, ["xen-requests", "parent-death", "keyring"]),
                false => assert_eq!(unseen, ["parent-death", "keyring"]),
            }
            let roles: Vec<_> = report["processes"].as_array().unwrap().iter().collect();
            assert_eq!(
                (&roles[0]["role"], &roles[1]["role"]),
                (&"program".into(), &"init".into())
            );
        }
    }
    running.signal(Signal::SIGTERM);
    running.wait();
}

#[test]
fn a_program_in_its_set_up_and_one_that_is_sealed_are_told_apart() {
    for (after, phase, words) in [
        ("0", "sealed", "as in phase sealed"),
        ("600", "set-up", "set-up, or sealed by its supervisor"),
    ] {
        let running = started(Launcher::for_domain().options(["--seal-after", after]));
        let pid = running.program().to_string();
        let run = beside(&running, &["audit", "--json", "--filters", &pid]);
        let output = json(&run);
        let finding = &output["reports"][0]["findings"][3];
        assert_eq!(output["reports"][0]["phase"], phase);
        assert_eq!(finding["check"], "xen-requests");
        assert!(
            finding["seen"].as_str().unwrap().contains(words),
            "{finding:#}"
        );
        assert_eq!(run.code, 0, "{run:?}");
        let shown = beside(&running, &["audit", &pid]).stdout;
        let title = format!("profile strict, {phase}, with");
        assert!(shown.contains(&title), "{shown}");
        running.signal(Signal::SIGTERM);
        running.wait();
    }
}

#[test]
fn what_is_left_out_at_the_start_is_not_asked_for_unless_somebody_does() {
    let running = started(Launcher::new().options(["--without", "umask", "--without", "net-ns"]));
    let pid = running.program().to_string();
    let run = beside(&running, &["audit", "--json", &pid]);
    let output = json(&run);
    let left_out = with_verdict(&output["reports"][0], "not-asked");
    assert_eq!(
        (run.code, left_out),
        (0, vec!["net-ns", "cgroup", "umask"]),
        "{run:?}"
    );
    // By the profile alone, the machine's own network is a finding.
    let run = beside(
        &running,
        &[
            "audit",
            "--json",
            "--profile",
            "strict",
            "--without",
            "cgroup",
            &pid,
        ],
    );
    let output = json(&run);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(with_verdict(&output["reports"][0], "fails").contains(&"net-ns"));
    running.signal(Signal::SIGTERM);
    running.wait();
}

#[test]
fn the_table_has_a_row_for_each_mechanism() {
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let run = dm_restrict(&["audit", &sleep.id().to_string()]);
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{run:?}");
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(
        lines[0].contains("(\"sleep\")") && lines[0].contains("profile strict"),
        "{run:?}"
    );
    for (name, verdict) in [
        ("identity", "FAILS"),
        ("seccomp", "FAILS"),
        ("root", "FAILS"),
        ("landlock", "not observable"),
        ("handles", "no way to Xen"),
    ] {
        let found = lines
            .iter()
            .any(|line| line.starts_with(name) && line.ends_with(verdict));
        assert!(found, "{name}: {run:?}");
    }
    assert!(lines.iter().any(|line| line.ends_with(": FAILS")));
}

#[test]
fn where_it_could_not_look_the_code_is_2() {
    let run = dm_restrict(&["audit", "2147483647"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
    assert!(
        run.stderr
            .starts_with("dm-restrict: there is no process 2147483647"),
        "{run:?}"
    );

    let run = dm_restrict(&["audit", "--json", "2147483647"]);
    let output = json(&run);
    assert_eq!((run.code, &output["verdict"]), (2, &"not-observed".into()));
    assert_eq!(output["errors"][0]["pid"], 2_147_483_647);
    assert!(
        output["errors"][0]["error"]
            .as_str()
            .unwrap()
            .contains("there is no process")
    );

    let run = dm_restrict(&["audit", "--domid", "32751"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.contains("no program of domain 32751"), "{run:?}");
}

#[test]
fn a_wrong_command_line_is_refused() {
    for arguments in [
        &["audit"][..],
        &["audit", "0"],
        &["audit", "-1"],
        &["audit", "1", "--all"],
        &["audit", "--all", "--domid", "7"],
        &["audit", "--profile", "loose", "1"],
        &["audit", "--without", "gravity", "1"],
    ] {
        let run = dm_restrict(arguments);
        assert_eq!(
            (run.code, run.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {run:?}"
        );
    }
}

/// Not one that holds: nothing was looked at, and nothing is wrong.
#[test]
fn where_nothing_runs_all_is_well() {
    let output = Command::new("unshare")
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs tmpfs /run; exec \"$0\" audit --all --json",
        ])
        .arg(env!("CARGO_BIN_EXE_dm-restrict"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&text["verdict"], &text["reports"]),
        (&"holds".into(), &Value::Array(vec![]))
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("no program runs")
    );
}
