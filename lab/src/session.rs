// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a command of the user to a boot and an exit status.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use crate::alone::{ALONE, Alone, End};
use crate::artifacts::{self, BENCHES, Build, CAMPAIGN, DEMO, PEERS, TESTS, TOOLS, Test, Tool};
use crate::contents::{Contents, TOOLSTACK};
use crate::dom0::Dom0;
use crate::host;
use crate::image;
use crate::job::{Executable, Job, Plan, Terminal, Work};
use crate::machine::{self, Limits, Outcome};
use crate::paths;
use crate::progress::say;
use crate::qemu::Processors;
use crate::suite::{SUITES, Suite};
use crate::terminal;

/// What the user wants to have booted.
pub(crate) struct System {
    suite: &'static Suite,
    dom0: &'static Dom0,
    processors: Processors,
    fixed_addresses: bool,
}

impl System {
    pub(crate) fn new(suite: &'static Suite, dom0: &'static Dom0, processors: Processors) -> Self {
        Self {
            suite,
            dom0,
            processors,
            fixed_addresses: false,
        }
    }

    /// The same, where dom0 does not randomise the addresses of its processes: faster.
    pub(crate) fn at_fixed_addresses(&self) -> Self {
        Self {
            fixed_addresses: true,
            ..*self
        }
    }

    /// Boots and runs the jobs. The first status that is not 0 becomes ours.
    ///
    /// # Errors
    /// The boot fails; what a job does is no error here.
    pub(crate) fn run(&self, work: &Work) -> Result<ExitCode> {
        self.run_within(work, Limits::DEFAULT)
    }

    /// The same for jobs that take longer.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(crate) fn run_within(&self, work: &Work, limits: Limits) -> Result<ExitCode> {
        let outcome = self.boot(work, None, limits, End::Well)?;
        let mut code = ExitCode::SUCCESS;
        for (job, &status) in work.jobs.iter().zip(&outcome.statuses).rev() {
            if status != 0 {
                say(&format!("FAILED: {} ended with status {status}", job.name));
                code = ExitCode::from(u8::try_from(status).unwrap_or(1));
            }
        }
        if code == ExitCode::SUCCESS {
            say("all ended well");
        }
        Ok(code)
    }

    /// Boots once for all tests that run together, and once for each that runs alone. Goes
    /// on after a failure.
    ///
    /// # Errors
    /// A boot fails, or this system has none of these tests.
    pub(crate) fn test(&self, tests: &Tests) -> Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        let together = !tests.together.jobs.is_empty();
        ensure!(
            together || self.alone(tests).next().is_some(),
            "there is no such test"
        );
        if together {
            code = self.test_together(tests)?;
        }
        match self.test_alone(tests) {
            ExitCode::SUCCESS => Ok(code),
            failed => Ok(failed),
        }
    }

    /// Boots once, for all tests that run together.
    ///
    /// # Errors
    /// The boot fails.
    pub(crate) fn test_together(&self, tests: &Tests) -> Result<ExitCode> {
        self.run(&tests.together)
    }

    /// Boots once for each test that runs alone. Goes on after a failure.
    pub(crate) fn test_alone(&self, tests: &Tests) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for (one, end) in self.alone(tests) {
            if let Err(error) = self.run_alone(one, end) {
                say(&format!("FAILED: {}: {error:#}", one.test.test));
                code = ExitCode::FAILURE;
            }
        }
        code
    }

    /// Those that this system has, and how they end here.
    fn alone<'a>(&self, tests: &'a Tests) -> impl Iterator<Item = (&'a OneAlone, End)> {
        let tests = tests.alone.iter();
        tests.filter_map(|one| Some((one, one.test.end(self.suite, self.dom0)?)))
    }

    fn run_alone(&self, one: &OneAlone, end: End) -> Result<()> {
        say(&format!("in a boot of its own: {}", one.test.test));
        let outcome = self.boot(&one.work, None, end.limits(), end)?;
        let failed = outcome.statuses.iter().find(|status| **status != 0);
        match failed {
            Some(status) if end == End::Well => bail!("it ended with status {status}"),
            _ => say(&format!("as it should: {}", end.in_words())),
        }
        Ok(())
    }

    /// Boots to a prompt.
    ///
    /// # Errors
    /// The boot fails.
    pub(crate) fn shell(&self, contents: &'static Contents) -> Result<ExitCode> {
        let work = Work::new(contents, tools()?);
        self.boot(&work, Some(terminal::size()), Limits::NONE, End::Well)?;
        Ok(ExitCode::SUCCESS)
    }

    fn boot(
        &self,
        work: &Work,
        shell: Option<Terminal>,
        limits: Limits,
        end: End,
    ) -> Result<Outcome> {
        host::need(&[host::BOOT, host::BUILD])?;
        let folder = paths::run_folder(&paths::target()?)?;
        paths::need_room(&folder, 200)?;
        let plan = Plan {
            suite: self.suite,
            dom0: self.dom0,
            processors: self.processors,
            fixed_addresses: self.fixed_addresses,
            nonce: &nonce()?,
            guest: artifacts::build_guest()?,
            work,
            shell,
        };
        let image = image::ensure(self.suite, work.contents)?;
        machine::run(&image, &plan, &folder, limits, end)
    }
}

/// Runs the tests on every suite, or on one, and in each of its kinds of dom0, and goes on
/// after a failure; a table comes last.
///
/// # Errors
/// None of its own: a boot that fails is a row of the table.
pub(crate) fn matrix(
    processors: Processors,
    only: Option<&Suite>,
    tests: &Tests,
) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut table = String::new();
    let systems = SUITES
        .iter()
        .filter(|suite| only.is_none_or(|only| only.name == suite.name))
        .flat_map(|suite| suite.dom0s.iter().map(move |&dom0| (suite, dom0)));
    for (suite, dom0) in systems {
        let result = System::new(suite, dom0, processors).test(tests);
        let text = match &result {
            Ok(code) if *code == ExitCode::SUCCESS => "passed",
            Ok(_) => "FAILED",
            Err(error) => {
                say(&format!("{error:#}"));
                "did not boot"
            }
        };
        if text != "passed" {
            code = ExitCode::FAILURE;
        }
        let Suite {
            name, xen, linux, ..
        } = suite;
        let dom0 = dom0.name;
        table += &format!("  {name:10} Xen {xen:6} Linux {linux:6} dom0 {dom0:5} {text}\n");
    }
    say(&format!("the matrix:\n{table}"));
    Ok(code)
}

/// The demonstration.
///
/// # Errors
/// A tool does not build.
pub(crate) fn demo() -> Result<Work> {
    let mut work = Work::new(&TOOLSTACK, tools()?);
    show(&mut work);
    Ok(work)
}

/// Tests, built.
pub(crate) struct Tests {
    together: Work,
    alone: Vec<OneAlone>,
}

struct OneAlone {
    test: &'static Alone,
    work: Work,
}

/// Programs of tests that a suite cannot run: which, where, and why. Each says so there.
const NOT_ON: &[(&str, &str, &str)] = &[(
    "qemu",
    "bullseye",
    "dm-restrict qemu needs mount_setattr, of Linux 5.12",
)];

/// The tests, built; they get the arguments of libtest. Programs that have no test for
/// these stay out. Those that run alone do so without arguments. The tools, which they
/// start, are built in this way.
///
/// # Errors
/// They do not build, or a tool does not.
pub(crate) fn tests(filter: Option<&str>, arguments: &[String], how: Build) -> Result<Tests> {
    let tools = built_tools(how)?;
    let mut programs = Vec::new();
    for Test { program, contents } in TESTS {
        let test = Executable {
            name: format!("{}-test-{}", program.package, program.name),
            path: artifacts::build(program, Build::Dev)?,
        };
        programs.push((test, *contents));
    }
    Ok(Tests {
        together: together(&tools, &programs, filter, arguments)?,
        alone: match arguments {
            [] => alone(&tools, &programs, filter),
            _ => Vec::new(),
        },
    })
}

type Programs = [(Executable, &'static Contents)];

fn alone(tools: &[Executable], programs: &Programs, filter: Option<&str>) -> Vec<OneAlone> {
    let wanted = |test: &&Alone| filter.is_none_or(|filter| test.test.contains(filter));
    let start = |test: &'static Alone| {
        let mut work = Work::new(test.contents, tools.to_owned());
        let row = TESTS.iter().position(|row| row.program == *test.program)?;
        let (executable, _) = programs.get(row)?;
        let arguments = ["--ignored", "--exact", "--nocapture", test.test];
        work.start(executable.clone(), &arguments.map(str::to_owned));
        Some(OneAlone { test, work })
    };
    ALONE.iter().filter(wanted).filter_map(start).collect()
}

fn together(
    tools: &[Executable],
    programs: &Programs,
    filter: Option<&str>,
    arguments: &[String],
) -> Result<Work> {
    let mut arguments: Vec<String> = filter
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .map(str::to_owned)
        .collect();
    let all = arguments.is_empty();
    if std::io::stdout().is_terminal() {
        // In dom0 their output is a pipe.
        arguments.insert(0, "--color=always".to_owned());
    }
    let mut work = Work::new(&TOOLSTACK, tools.to_owned());
    for (test, contents) in programs {
        if all || artifacts::has_tests(&test.path, &arguments)? {
            work.contents = work.contents.or(contents);
            work.start(test.clone(), &arguments);
            if let Some(job) = work.jobs.last_mut() {
                job.line.insert_str(0, &not_everywhere(&test.name));
            }
        }
    }
    Ok(work)
}

/// The lines of dom0's shell that end a job where it cannot run.
fn not_everywhere(program: &str) -> String {
    let rows = NOT_ON
        .iter()
        .filter(|(name, ..)| program.rsplit("-test-").next() == Some(name));
    let line = |(_, suite, why): &(&str, &str, &str)| {
        format!("case $XEN_LAB_SUITE in {suite}) echo 'lab: not on {suite}: {why}'; exit;; esac\n")
    };
    rows.map(line).collect()
}

/// The campaign; without a seed, one that it chooses itself and tells.
///
/// # Errors
/// Something does not build.
pub(crate) fn campaign(seconds: u32, seed: Option<u64>) -> Result<Work> {
    let mut work = Work::new(&TOOLSTACK, tools()?);
    let program = Executable {
        name: CAMPAIGN.name.to_owned(),
        path: artifacts::build(&CAMPAIGN, Build::Dev)?,
    };
    work.start(program, &[]);
    for job in &mut work.jobs {
        let seed = seed.map(|seed| format!("export XEN_LAB_SEED={seed}\n"));
        let seed = seed.unwrap_or_default();
        job.line = format!("export XEN_LAB_SECONDS={seconds}\n{seed}{}", job.line);
    }
    Ok(work)
}

/// All tests, then the demonstration.
///
/// # Errors
/// Something does not build.
pub(crate) fn everything() -> Result<Tests> {
    let mut tests = tests(None, &[], Build::Dev)?;
    show(&mut tests.together);
    Ok(tests)
}

/// An executable that somebody else built.
///
/// # Errors
/// A tool does not build.
pub(crate) fn other(
    contents: &'static Contents,
    executable: &Path,
    arguments: &[String],
) -> Result<Work> {
    let mut work = Work::new(contents, tools()?);
    let program = Executable {
        name: "program".to_owned(),
        path: executable.to_owned(),
    };
    work.start(program, arguments);
    Ok(work)
}

fn show(work: &mut Work) {
    work.jobs.extend(DEMO.iter().map(|&(name, line)| Job {
        name: format!("demo-{name}"),
        line: line.to_owned(),
    }));
}

/// The benches, one after the other, next to their peers.
///
/// # Errors
/// Something does not build.
pub(crate) fn benches() -> Result<Work> {
    let how = match std::env::var_os("BENCH_TRIAL") {
        Some(_) => Build::Dev,
        None => Build::Release,
    };
    let mut executables = built_tools(how)?;
    for peer in PEERS {
        executables.push(Executable {
            name: peer.name.to_owned(),
            path: artifacts::build_peer(peer)?,
        });
    }
    let mut work = Work::new(&TOOLSTACK, executables);
    for program in BENCHES {
        let bench = Executable {
            name: program.name.to_owned(),
            path: artifacts::build(program, how)?,
        };
        work.start(bench, &[]);
    }
    Ok(work)
}

/// The tools, built.
fn tools() -> Result<Vec<Executable>> {
    built_tools(Build::Dev)
}

fn built_tools(how: Build) -> Result<Vec<Executable>> {
    host::need(&[host::BUILD])?;
    TOOLS
        .iter()
        .map(|Tool { program, .. }| {
            Ok(Executable {
                name: program.name.to_owned(),
                path: artifacts::build(program, how)?,
            })
        })
        .collect()
}

/// A word that no output has in it by accident.
fn nonce() -> Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::SUITES;

    #[test]
    fn what_is_left_out_somewhere_is_a_program_and_a_suite() {
        for (program, suite, why) in NOT_ON {
            assert!(TESTS.iter().any(|test| test.program.name == *program));
            assert!(SUITES.iter().any(|known| known.name == *suite));
            assert!(not_everywhere(program).contains(why));
        }
        assert_eq!(not_everywhere("xen"), "");
    }
}
