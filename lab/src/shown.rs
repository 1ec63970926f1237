// SPDX-License-Identifier: MIT OR Apache-2.0
//! That what the documents show runs: each command of cargo's is typed by the check
//! or one of its steps (`typed.rs`), and of each other line in an indented block some file
//! has the like. What begins with a prompt is also typed by a test
//! (`dm-restrict/tests/docs.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::CommandFactory;

use crate::typed::{COMMANDS, Row};
use crate::{Arguments, book, paths};

/// Lines of indented blocks that are not cargo's: what they begin with, and the file that has
/// the like, by these words.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "adduser --no-create-home --uid 65536 --system xen-qemuuser-range-base",
        CLEAN,
        "\nadduser --no-create-home --uid 65536 --system xen-qemuuser-range-base\n",
    ),
    (
        "apt-get install gcc libc6-dev linux-libc-dev libxen-dev",
        "lab/src/host.rs",
        "\"libxen-dev\"",
    ),
    (
        "cargo install cargo-fuzz",
        "lab/src/fuzz.rs",
        "\"cargo install cargo-fuzz\"",
    ),
    (
        "cc program.c $(pkg-config --cflags --libs xenrestrict)",
        "lab/src/c_interface.rs",
        "new(\"pkg-config\")",
    ),
    (
        "device_model_override=\"/usr/libexec/dm-restrict/qemu\"",
        QEMU,
        "\"device_model_override=\\\"/usr/libexec/dm-restrict/qemu\\\"\"",
    ),
    (
        "device_model_version=\"qemu-xen\"",
        STOCK,
        "device_model_version=\\\"qemu-xen\\\"",
    ),
    ("dm_restrict=1", QEMU, "dm_restrict=1"),
    (
        "dm-restrict audit PID |",
        "dm-restrict/tests/audit.rs",
        "\"audit\", \"--json\"",
    ),
    (
        "dm-restrict doctor --json |",
        "dm-restrict/tests/doctor.rs",
        "[\"needed_by\"]",
    ),
    (
        "dm-restrict run --domid 7 --grants brokered -- my-backend",
        "restrict/tests/xen/brokered.rs",
        "[\"--grants\", \"brokered\"]",
    ),
    (
        "dom0# xenstore-read /local/domain/$(xl domid H)/image/device-model-pid",
        STOCK,
        "/image/device-model-pid",
    ),
    ("dom0# xl create /guest/hvm.cfg", STOCK, "/hvm.cfg"),
    (
        "usermod --uid 65536 xen-qemuuser-range-base",
        CLEAN,
        "\nusermod --uid 65536 xen-qemuuser-range-base\n",
    ),
];

/// Typed in a clean Debian.
const CLEAN: &str = "lab/src/deb.sh";
const QEMU: &str = "dm-restrict/tests/qemu/confined.rs";
const STOCK: &str = "restrict/tests/stock_qemu/guest.rs";

/// Lines of a document that somebody could type, with their numbers: of indented blocks all
/// but those that go on, of other code those that begin with `cargo`.
fn shown(text: &str) -> Vec<(usize, &str)> {
    let (mut fenced, mut before, mut found) = (false, "", Vec::new());
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            let typed = ["# ", "$ "].into_iter().find_map(|p| line.strip_prefix(p));
            found.extend(
                typed
                    .filter(|t| t.starts_with("cargo "))
                    .map(|t| (number, t)),
            );
        } else if line.starts_with("    ") && (before.is_empty() || before.starts_with("    ")) {
            let line = &line[4..];
            found.extend((!line.starts_with(' ')).then_some((number, line)));
        } else {
            let code = line.split('`').skip(1).step_by(2);
            let cargo = code.filter(|code| code.starts_with("cargo "));
            found.extend(cargo.map(|code| (number, code)));
        }
        before = line;
    }
    found
}

/// Without what explains it, and with all that may be left out.
fn words(line: &str) -> Vec<&str> {
    let end = ["  ", " | ", " < ", " > ", " # "];
    let end = end.iter().filter_map(|end| line.find(end)).min();
    let line = &line[..end.unwrap_or(line.len())];
    let bare = line
        .split_whitespace()
        .map(|word| word.trim_matches(['[', ']', '…']));
    bare.filter(|word| !word.is_empty()).collect()
}

fn runs(line: &str) -> Result<(), String> {
    match words(line).as_slice() {
        ["cargo", ..] => {
            let line = words(line).join(" ");
            let row = COMMANDS.iter().find(|row| row.shown == line);
            row.map(drop)
                .ok_or("who types it? (lab/src/typed.rs)".into())
        }
        [option, ..] if option.starts_with("--") => {
            let commands = Arguments::command();
            let all = [&commands].into_iter().chain(commands.get_subcommands());
            let mut all = all.flat_map(clap::Command::get_arguments);
            let named = all.any(|argument| argument.get_long() == option.get(2..));
            named
                .then_some(())
                .ok_or("the lab has no such option".into())
        }
        _ => {
            let other = OTHERS.iter().find(|(begins, ..)| line.starts_with(begins));
            let (_, file, has) = other.ok_or("what shows that it works? (OTHERS)")?;
            let text = fs::read_to_string(paths::workspace().join(file));
            let has = text.is_ok_and(|text| text.contains(has));
            has.then_some(())
                .ok_or(format!("{file} has nothing like it"))
        }
    }
}

#[test]
fn each_command_would_run() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for path in book::documents() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in shown(&text) {
            seen.insert(line.to_owned());
            if let Err(why) = runs(line) {
                let name = path
                    .strip_prefix(paths::workspace())
                    .unwrap_or(Path::new("?"));
                wrong.push(format!("{}:{number}: {line}: {why}", name.display()));
            }
        }
    }
    let is_shown = |begins: &str| seen.iter().any(|line| line.starts_with(begins));
    let unused = OTHERS.iter().filter(|(begins, ..)| !is_shown(begins));
    wrong.extend(unused.map(|(begins, ..)| format!("no document shows {begins:?}")));
    let typed = |row: &&Row| seen.iter().any(|line| words(line).join(" ") == row.shown);
    let unused = COMMANDS.iter().filter(|row| !typed(row));
    wrong.extend(unused.map(|row| format!("no document shows {:?}", row.shown)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        is_shown("cargo lab check") && is_shown("cargo bench"),
        "{seen:?}"
    );
}

#[test]
fn what_nobody_types_is_told() {
    for (line, right) in [
        ("cargo lab test [FILTER] [-- …] what explains it", false),
        ("cargo lab campaign [--seconds N]", false),
        (
            "cargo lab campaign [--seconds N] [--seed S]  as long as that",
            true,
        ),
        ("cargo lab matrix  on all of them", true),
        ("cargo lab prove", false),
        ("cargo lab bench | tee F", true),
        ("--dom0 KIND  pv, pvh", true),
        ("--dom1 KIND  pv, pvh", false),
        ("rm -rf --no-preserve-root /", false),
    ] {
        let outcome = runs(line);
        assert_eq!(outcome.is_ok(), right, "{line}: {outcome:?}");
    }
}

#[test]
fn lines_to_type_are_found() {
    let text = "a `cargo test` b\n\n    one\n      goes on\n    two\n\n- x\n    y\n```console\n\
                $ cargo lab demo\nshown\n# other\n```\n";
    let found = shown(text);
    let lines = [
        (1, "cargo test"),
        (3, "one"),
        (5, "two"),
        (10, "cargo lab demo"),
    ];
    assert_eq!(found, lines);
}
