// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that the documents show are typed here, one after the other: what is shown
//! works. Those that take long, or leave something to the reader, are shorter here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::artifacts::{self, Build, TOOLS};
use crate::host;
use crate::paths;
use crate::process;
use crate::progress::say;
use crate::steps::{self, ON_XEN};

/// A command, without what explains it, and how the check runs it.
pub(crate) struct Row {
    pub(crate) shown: &'static str,
    pub(crate) by: By,
}

pub(crate) enum By {
    /// This step of the check does.
    Step(&'static str),
    /// It is typed.
    Typed(Typed),
}

pub(crate) struct Typed {
    /// What is typed in the place of what is shown.
    instead: Option<&'static str>,
    input: Input,
    /// Its output has this.
    says: &'static str,
}

enum Input {
    Text(&'static str),
    /// What the command before has said.
    Before,
}

/// Who reads this has it running.
const ITSELF: &str = "the check";

const fn step(shown: &'static str, step: &'static str) -> Row {
    let by = By::Step(step);
    Row { shown, by }
}

const fn typed(shown: &'static str, says: &'static str) -> Row {
    given(shown, Input::Text(""), says)
}

const fn given(shown: &'static str, input: Input, says: &'static str) -> Row {
    let typed = Typed {
        instead: None,
        input,
        says,
    };
    let by = By::Typed(typed);
    Row { shown, by }
}

const fn instead(shown: &'static str, instead: &'static str, says: &'static str) -> Row {
    let typed = Typed {
        instead: Some(instead),
        input: Input::Text(""),
        says,
    };
    let by = By::Typed(typed);
    Row { shown, by }
}

/// In this order.
pub(crate) const COMMANDS: &[Row] = &[
    step("cargo lab check", ITSELF),
    step("cargo lab check STEP", ITSELF),
    step("cargo test", "tests on this machine"),
    step("cargo lab deb", "Debian packages"),
    step(
        "cargo cinstall --package xen-restrict-capi --release --prefix /usr",
        "the C interface, installed",
    ),
    typed(
        "cargo test --test headers -- --nocapture",
        "test result: ok",
    ),
    instead("cargo lab", "cargo lab --help", "Usage: cargo lab"),
    step("cargo lab demo", ON_XEN),
    step("cargo lab test", ON_XEN),
    instead(
        "cargo lab test FILTER --release --",
        "cargo lab test state:: -- --list",
        "all ended well",
    ),
    step("cargo lab test closed::", ON_XEN),
    instead(
        "cargo lab test open:: --suite trixie --dom0 pvh",
        "cargo lab test open::fewer_frames --dom0 pvh",
        "as it should",
    ),
    instead(
        "cargo lab test pace:: --release --icount -- --ignored --nocapture",
        "cargo lab test pace::of_a_disk_and --icount -- --ignored --nocapture",
        "1000 disk requests",
    ),
    instead(
        "cargo lab campaign",
        "cargo lab campaign --seconds 2 --seed 1",
        "all ended well",
    ),
    instead(
        "cargo lab campaign --seconds N --seed S",
        "cargo lab campaign --seconds 2 --seed 1",
        "all ended well",
    ),
    instead(
        "cargo lab matrix",
        "cargo lab matrix vector_registers --only bookworm",
        "the matrix",
    ),
    instead(
        "cargo lab matrix FILTER --only SUITE",
        "cargo lab matrix vector_registers --only bookworm",
        "the matrix",
    ),
    given(
        "cargo lab shell --contents stock-qemu",
        Input::Text(
            "xl create /guest/hvm.cfg 'name=\"H\"' 'dm_restrict=1'\n\
             echo pid=$(xenstore-read /local/domain/$(xl domid H)/image/device-model-pid)\n\
             exit\n",
        ),
        "pid=",
    ),
    // A line that was typed is not typed again.
    instead(
        "cargo lab shell",
        "cargo lab shell --contents stock-qemu",
        "pid=",
    ),
    instead(
        "cargo lab run PROGRAM ARG",
        "cargo lab run PROGRAM --version",
        "dm-restrict ",
    ),
    typed("cargo lab bench", "ratio\t"),
    given("cargo run --example on_xen plot", Input::Before, "</svg>"),
    typed("cargo bench --bench launch", "dm-restrict : bwrap"),
    typed("cargo bench --bench user_space -- table", "| what |"),
    typed("cargo bench --bench user_space -- code", "time:"),
    typed(
        "cargo bench --features xen-restrict-capi/fuzzing --bench border",
        "| what |",
    ),
    typed("cargo install cargo-fuzz", ""),
    instead(
        "cargo lab fuzz",
        "cargo lab fuzz users --seconds 1",
        "what was tried",
    ),
    instead(
        "cargo lab fuzz TARGET --seconds N",
        "cargo lab fuzz users --seconds 1",
        "what was tried",
    ),
    instead(
        "cargo lab fuzz users --seconds 1200",
        "cargo lab fuzz users --seconds 1",
        "what was tried",
    ),
];

/// Types all of them.
///
/// # Errors
/// One fails, or does not say what it should.
pub(crate) fn check() -> Result<()> {
    host::need(&[host::BENCHES])?;
    let said = tempfile::NamedTempFile::new()?;
    let mut done = BTreeSet::new();
    for Row { shown, by } in COMMANDS {
        let typed = match by {
            By::Typed(typed) => typed,
            By::Step(name) => {
                ensure!(
                    *name == ITSELF || steps::has(name),
                    "there is no step {name:?}"
                );
                continue;
            }
        };
        let line = typed.instead.unwrap_or(shown);
        if !done.insert(line) {
            continue;
        }
        say(&format!("$ {line}"));
        let output = type_line(line, &typed.input, &said)?;
        ensure!(
            output.contains(typed.says),
            "`{line}` ended well, and does not say {:?}:\n{output}",
            typed.says
        );
        fs::write(said.path(), output)?;
    }
    Ok(())
}

fn type_line(line: &str, input: &Input, before: &tempfile::NamedTempFile) -> Result<String> {
    let text;
    let input = match input {
        Input::Before => File::open(before.path())?,
        Input::Text(what) => {
            text = tempfile::NamedTempFile::new()?;
            fs::write(text.path(), what)?;
            File::open(text.path())?
        }
    };
    let mut command = paths::cargo();
    // Fast to build, here and below: nothing is measured, and little is fuzzed.
    for word in line.split(' ').skip(1) {
        match word {
            "bench" if line.starts_with("cargo bench") => {
                command.args(["bench", "--profile", "dev"])
            }
            "PROGRAM" => command.arg(artifacts::build(&TOOLS[0].program, Build::Dev)?),
            word => command.arg(word),
        };
    }
    command.env("BENCH_TRIAL", "1");
    if line.starts_with("cargo lab fuzz") {
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0");
    }
    let output = process::run_with(&mut command, Stdio::from(input))?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).with_context(|| format!("`{line}` says what is no text"))
}
