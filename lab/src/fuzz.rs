// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo lab fuzz`: the targets of `fuzz/`, each for a while, as a table.

use std::env::consts::ARCH;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::paths;
use crate::process;
use crate::progress::say;

/// A target, and the longest input that shows something new. Its seeds and its
/// dictionary have its name.
struct Target {
    name: &'static str,
    longest: u32,
}

const fn target(name: &'static str, longest: u32) -> Target {
    Target { name, longest }
}

const TARGETS: &[Target] = &[
    target("c_abi", 512),
    target("dm_op", 256),
    target("encode", 256),
    target("gntalloc", 256),
    target("gntdev", 256),
    // The longest request has 4096 references.
    target("grant_broker", 16400),
    target("handover", 512),
    // A page.
    target("ioreq", 4200),
    target("ioreq_served", 4400),
    target("lists", 256),
    target("messages", 1024),
    target("proc_texts", 1024),
    target("record", 2048),
    target("seccomp_filter", 1700),
    target("users", 1024),
    // The longest message, and one more.
    target("xenstore", 4200),
];

/// What has to be there, how it is asked for, and what installs it.
const TOOLS: [(&str, &[&str], &str); 2] = [
    (
        "a nightly compiler",
        &["rustc", "--version"],
        "rustup toolchain install nightly",
    ),
    (
        "cargo-fuzz",
        &["cargo", "fuzz", "--version"],
        "cargo install cargo-fuzz",
    ),
];

/// Runs one target, or all of them one after the other.
///
/// # Errors
/// There is no such target, a tool is missing, or they do not build. A finding is a row
/// of the table, and a failure.
pub(crate) fn run(only: Option<&str>, seconds: u32) -> Result<ExitCode> {
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|target| only.is_none_or(|name| name == target.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        bail!("there is no such target; there are {}", names.join(", "));
    }
    need_tools()?;
    let folder = paths::target()?.join("fuzz");
    let triple = format!("{ARCH}-unknown-linux-gnu");
    say("building the targets");
    process::run(
        nightly()
            .args(["cargo", "fuzz", "build", "--target", &triple])
            .arg("--target-dir")
            .arg(&folder)
            .args(only),
    )?;
    let mut table = format!("{}\n", Row::HEAD);
    let mut findings = String::new();
    for target in chosen {
        say(&format!("{}, for {seconds} s", target.name));
        let program = folder.join(&triple).join("release").join(target.name);
        let log = folder.join(format!("{}.log", target.name));
        let ended_well = target.run(&program, &log, seconds)?;
        let row = Row::of(&fs::read_to_string(&log)?);
        table += &format!("{:14} {row}\n", target.name);
        if !ended_well || row.finding.is_some() {
            findings += &target.explain(&row, &log);
        }
    }
    say(&format!("what was tried:\n{table}"));
    if findings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say(&findings);
    Ok(ExitCode::FAILURE)
}

fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command
        .current_dir(paths::workspace())
        .args(["run", "nightly"]);
    command
}

fn need_tools() -> Result<()> {
    for (what, question, remedy) in TOOLS {
        process::run(nightly().args(question))
            .with_context(|| format!("{what} is missing: `{remedy}`"))?;
    }
    Ok(())
}

impl Target {
    /// Whether libFuzzer ended as it should.
    fn run(&self, program: &Path, log: &Path, seconds: u32) -> Result<bool> {
        let ours = paths::workspace().join("fuzz");
        let of_it = |kind: &str| ours.join(kind).join(self.name);
        let (corpus, artifacts) = (of_it("corpus"), of_it("artifacts"));
        for folder in [&corpus, &artifacts] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let output =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={}", self.longest))
            .arg(format!("-dict={}.dict", of_it("dictionaries").display()))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1")
            .args([corpus, of_it("seeds")])
            .stdout(output.try_clone()?)
            .stderr(output);
        let status = process::dies_with_us(&mut command, Signal::SIGKILL).status();
        let status = status.with_context(|| format!("cannot start {}", program.display()))?;
        Ok(status.success())
    }

    fn explain(&self, row: &Row, log: &Path) -> String {
        let Target { name, .. } = self;
        let log = log.display();
        match &row.finding {
            None => format!("{name} did not end well: {log}\n"),
            Some(artifact) => format!(
                "{name} found something, which {log} explains:\n  {}\nTo make a test of it, copy it \
                 to fuzz/seeds/{name}/ under a name that says what it is: `cargo test` gives the \
                 seeds to the target's law.\n",
                artifact.display()
            ),
        }
    }
}

/// What libFuzzer says of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    executions: u64,
    /// Edges of the program.
    coverage: u64,
    /// These, and how often.
    features: u64,
    finding: Option<PathBuf>,
}

impl Row {
    const HEAD: &str = "TARGET           EXECUTIONS     COV FEATURES FINDING";

    fn of(log: &str) -> Self {
        let mut row = Self::default();
        for line in log.lines() {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let after = |label: &str| {
                let at = words.iter().position(|word| *word == label)?;
                words.get(at + 1)?.parse().ok()
            };
            if let Some(path) = line.split("Test unit written to ").nth(1) {
                row.finding = Some(path.trim().into());
            }
            row.coverage = after("cov:").unwrap_or(row.coverage);
            row.features = after("ft:").unwrap_or(row.features);
            row.executions = after("stat::number_of_executed_units:").unwrap_or(row.executions);
        }
        row
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            executions,
            coverage,
            features,
            finding,
        } = self;
        let finding = if finding.is_some() { "FOUND" } else { "none" };
        write!(f, "{executions:12} {coverage:7} {features:8} {finding}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_a_row_a_program_seeds_and_a_dictionary() {
        let fuzz = paths::workspace().join("fuzz");
        let mut rows: Vec<_> = TARGETS
            .iter()
            .map(|target| target.name.to_owned())
            .collect();
        rows.sort_unstable();
        let names = |folder: &str, end: &str| {
            let entries = fs::read_dir(fuzz.join(folder)).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names
                .map(|name| name.strip_suffix(end).unwrap().to_owned())
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names("fuzz_targets", ".rs"), rows);
        assert_eq!(names("dictionaries", ".dict"), rows);
        assert_eq!(names("seeds", ""), rows);
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for name in rows {
            let line = format!("path = \"fuzz_targets/{name}.rs\"\n");
            assert!(manifest.contains(&line), "{name}");
            assert!(
                fuzz.join("seeds").join(&name).read_dir().unwrap().count() > 0,
                "{name}"
            );
        }
    }

    #[test]
    fn what_libfuzzer_says_is_read() {
        let quiet = "#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 40Mb\n\
                     #99\tDONE   cov: 345 ft: 678 corp: 9/9b lim: 4 exec/s: 9 rss: 41Mb\n\
                     stat::number_of_executed_units: 99\n";
        let mut expected = Row {
            executions: 99,
            coverage: 345,
            features: 678,
            finding: None,
        };
        assert_eq!(Row::of(quiet), expected);
        let path = "/a b/crash-1";
        let found =
            format!("{quiet}artifact_prefix='/a b/'; Test unit written to {path}\nBase64: x\n");
        expected.finding = Some(path.into());
        assert_eq!(Row::of(&found), expected);
        assert_eq!(
            Row::HEAD.find("FINDING"),
            format!("{:14} {expected}", "").find("FOUND")
        );
    }
}
