// SPDX-License-Identifier: MIT OR Apache-2.0
//! Man pages and completions, made from the definitions of the command line.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::Path};

use support::dm_restrict;

const COMMANDS: [&str; 8] = [
    "audit", "doctor", "identity", "list", "reap", "run", "seal", "",
];

fn generate(what: &str, into: &Path) {
    let run = dm_restrict(&["generate", what, into.to_str().unwrap()]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn every_command_has_a_man_page() {
    let directory = tempfile::tempdir().unwrap();
    generate("man", directory.path());
    for command in COMMANDS {
        let dash = if command.is_empty() { "" } else { "-" };
        let page = directory
            .path()
            .join(format!("dm-restrict{dash}{command}.1"));
        let text =
            fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(
            text.contains(".SH NAME") && text.contains(".SH OPTIONS"),
            "{text}"
        );
    }
    let run = fs::read_to_string(directory.path().join("dm-restrict-run.1")).unwrap();
    for option in [
        "domid",
        "profile",
        "without",
        "bind\\-ro",
        "log\\-denied",
        "dry\\-run",
    ] {
        assert!(
            run.contains(&format!("\\-\\-{option}")),
            "--{option}: {run}"
        );
    }
}

#[test]
fn completions_know_the_commands_and_options() {
    let directory = tempfile::tempdir().unwrap();
    generate("completions", directory.path());
    for file in ["dm-restrict.bash", "_dm-restrict", "dm-restrict.fish"] {
        let text = fs::read_to_string(directory.path().join(file)).unwrap();
        assert!(
            text.contains("log-denied") && text.contains("doctor"),
            "{file}"
        );
    }
}

#[test]
fn where_they_cannot_be_written_it_says_so() {
    let run = dm_restrict(&["generate", "man", "/proc/nowhere"]);
    assert_eq!(run.code, 1);
    assert!(!run.stderr.is_empty(), "{run:?}");
}
