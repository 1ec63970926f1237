// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo lab check`: everything that must pass, as a table.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::libc;

use crate::artifacts::{TARGET, TESTS, Test};
use crate::c_interface;
use crate::crates;
use crate::deb;
use crate::host;
use crate::paths;
use crate::process;
use crate::progress::{self, say};
use crate::session::{self, System};
use crate::typed;

struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    /// Cargo's arguments, in the workspace's root.
    Cargo(&'static [&'static str]),
    /// The same in the guest's folder, whose flags differ.
    Guest(&'static [&'static str]),
    Function(fn() -> Result<()>),
    /// On real Xen.
    Xen(fn(&System) -> Result<ExitCode>),
}

use Action::{Cargo, Function, Guest, Xen};

/// The one that no dependency of a test asks for; without them, the crates are built as published.
const FEATURES: &str = "xen-restrict-capi/fuzzing";

/// One by one.
const STEPS: &[Step] = &[
    step("packages of this machine", Function(need_packages)),
    step("licence lines", Function(licence_lines)),
    step("formatting", Cargo(&["fmt", "--all", "--check"])),
    step("formatting of the guest", Guest(&["fmt", "--check"])),
    step(
        "lints",
        Cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            FEATURES,
            "--",
            "-Dwarnings",
        ]),
    ),
    step("lints of the tests for Xen", Function(lint_xen_tests)),
    step(
        "lints of the guest",
        Guest(&["clippy", "--release", "--", "-Dwarnings"]),
    ),
    step(
        "documentation",
        Cargo(&[
            "doc",
            "--workspace",
            "--no-deps",
            "--features",
            "xen-restrict/tokio",
        ]),
    ),
];

/// After them, two at a time, begun in this order: an emulated machine has one processor. What
/// runs there is built beside the two after the first, which build in folders of their own.
const TWO_AT_A_TIME: &[Step] = &[
    step(
        ON_XEN,
        Xen(|system| {
            let system = system.at_fixed_addresses();
            system.test_together(&session::everything()?)
        }),
    ),
    step("Debian packages", Function(deb::check)),
    step("the C interface, installed", Function(c_interface::check)),
    step("tests on this machine", Cargo(&["test"])),
    step("xen_sys without std", Function(build_without_std)),
    step("crates as published", Function(crates::check)),
    step("commands of the documents", Function(typed::check)),
    step(
        "tests in boots of their own",
        Xen(|system| progress::in_one_piece(|| Ok(system.test_alone(&session::everything()?)))),
    ),
];

pub(crate) const ON_XEN: &str = "tests and demonstration on real Xen";

/// Whether there is a step of this name.
pub(crate) fn has(name: &str) -> bool {
    let mut steps = STEPS.iter().chain(TWO_AT_A_TIME);
    steps.any(|step| step.name == name)
}

const fn step(name: &'static str, action: Action) -> Step {
    Step { name, action }
}

/// Runs all steps, or those whose name contains `only`; each is shown with its time. The first
/// failure is the last thing that is begun.
///
/// # Errors
/// The steps that fail, with their output; or there is no such step.
pub(crate) fn run_all(only: Option<&str>, system: &System) -> Result<()> {
    let wanted = |step: &&Step| only.is_none_or(|only| step.name.contains(only));
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    let two_at_a_time: Vec<&Step> = TWO_AT_A_TIME.iter().filter(wanted).collect();
    let count = steps.len() + two_at_a_time.len();
    ensure!(count > 0, "there is no such step");
    let run = |number: usize, step: &Step| {
        timed(&format!("{number}/{count} {}", step.name), || {
            perform(&step.action, system)
        })
    };
    for (number, step) in (1..).zip(&steps) {
        run(number, step)?;
    }
    let left = Mutex::new((1 + steps.len()..).zip(two_at_a_time));
    let next = || left.lock().ok()?.next();
    let go_on = |mut one| -> Result<()> {
        while let Some((number, step)) = one {
            if let Err(error) = run(number, step) {
                while next().is_some() {}
                return Err(error);
            }
            one = next();
        }
        Ok(())
    };
    let first = next();
    let (one, other) = thread::scope(|scope| {
        let other = scope.spawn(|| {
            give_way();
            go_on(next())
        });
        (go_on(first), other.join())
    });
    let other = other.map_err(|_| anyhow!("a step panicked"))?;
    match (one, other) {
        (Err(one), Err(other)) => bail!("{one:#}\n{other:#}"),
        (one, other) => one.and(other)?,
    }
    say("everything passed");
    Ok(())
}

/// What this thread starts has a quarter of a processor that something else wants.
fn give_way() {
    // SAFETY: takes numbers. 0 is this thread; what it starts inherits it. Refused, all is a
    // little slower.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 5) };
}

fn timed<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    say(name);
    let start = Instant::now();
    let value = action().map_err(|error| {
        // At once: what runs beside may take long to end.
        let failed = format!("the step `{name}` failed");
        say(&format!("{failed}: {error:#}"));
        error.context(failed)
    })?;
    say(&format!(
        "    {name} took {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(value)
}

fn perform(action: &Action, system: &System) -> Result<()> {
    match action {
        Cargo(arguments) => cargo(paths::cargo().args(*arguments)),
        Guest(arguments) => {
            let mut command = paths::cargo();
            command
                .current_dir(paths::workspace().join("lab/guest"))
                .args(&arguments[..1]);
            if arguments[0] != "fmt" {
                command
                    .arg("--target-dir")
                    .arg(paths::target()?.join("lab/guest"));
            }
            cargo(command.args(&arguments[1..]))
        }
        Function(function) => function(),
        Xen(function) => {
            let code = function(system)?;
            ensure!(code == ExitCode::SUCCESS, "see above");
            Ok(())
        }
    }
}

fn cargo(command: &mut Command) -> Result<()> {
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    process::run(command).map(drop)
}

fn need_packages() -> Result<()> {
    host::need(&[host::BUILD, host::BOOT, host::C])
}

/// Cargo's `--all-targets` leaves out test targets that have `test = false`. All in one go, with
/// the features of the lints before, whose work serves again.
fn lint_xen_tests() -> Result<()> {
    let mut command = paths::cargo();
    command.args(["clippy", "--workspace", "--features", FEATURES]);
    for Test { program, .. } in TESTS {
        command.args(["--test", program.name]);
    }
    cargo(command.args(["--", "-Dwarnings"]))
}

/// Builds xen_sys where no std exists. That it says `#![no_std]` tells nothing about its
/// dependencies; a target without std may not be installed. So: a sysroot of our own that
/// has core and alloc only. Build scripts and macros, which run here, keep the real one.
fn build_without_std() -> Result<()> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = process::run(Command::new(rustc).args(["--print", "sysroot"]))?;
    let libraries = Path::new("lib/rustlib").join(TARGET).join("lib");
    let real = Path::new(String::from_utf8(output.stdout)?.trim()).join(&libraries);

    let target = paths::target()?;
    let folder = tempfile::Builder::new()
        .prefix("no-std-")
        .tempdir_in(&target)?;
    let ours = folder.path().join("sysroot").join(&libraries);
    fs::create_dir_all(&ours)?;
    let mut found = 0;
    for entry in fs::read_dir(&real).with_context(|| format!("cannot list {}", real.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["libcore-", "liballoc-", "libcompiler_builtins-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            symlink(entry.path(), ours.join(&name))?;
            found += 1;
        }
    }
    ensure!(found > 0, "{} has no libcore", real.display());
    cargo(
        paths::cargo()
            .args(["build", "--package", "xen-restrict-sys", "--target", TARGET])
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                format!("--sysroot={}", folder.path().join("sysroot").display()),
            ),
    )
}

const LICENCE: &str = "// SPDX-License-Identifier: MIT OR Apache-2.0";

fn licence_lines() -> Result<()> {
    let mut bad = Vec::new();
    let mut todo = vec![paths::workspace()];
    while let Some(folder) = todo.pop() {
        for entry in
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                if !is_skipped(&path) {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs")
                && fs::read_to_string(&path)?.lines().next() != Some(LICENCE)
            {
                bad.push(path);
            }
        }
    }
    if !bad.is_empty() {
        bad.sort();
        bail!(
            "these files do not begin with `{LICENCE}`:\n{}",
            bad.iter()
                .map(|p| format!("  {}\n", p.display()))
                .collect::<String>()
        );
    }
    Ok(())
}

/// Folders with nothing of ours: hidden ones, and what cargo builds into.
pub(crate) fn is_skipped(folder: &Path) -> bool {
    let hidden = folder
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    hidden || folder.join("CACHEDIR.TAG").exists()
}
