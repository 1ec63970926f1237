// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs in C, C++ and Python that use the library, on this machine: as they are, under
//! AddressSanitizer and under valgrind.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    env,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

/// A compiler, its language, and what any program of ours has to stand.
const C: (&str, &[&str]) = ("gcc", &["-std=c11", "-x", "c"]);
const CXX: (&str, &[&str]) = ("g++", &["-std=c++17", "-x", "c++"]);
const STRICT: [&str; 7] = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pedantic",
    "-g",
    "-pthread",
    "-D_DEFAULT_SOURCE",
];
/// What the static library needs besides, as its `.pc` file says.
const PRIVATE: [&str; 4] = ["-lgcc_s", "-lm", "-ldl", "-lc"];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Where cargo has put what it built for this test.
fn built() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn dm_restrict() -> PathBuf {
    let command = built().parent().unwrap().join("dm-restrict");
    let remedy = "`cargo build -p dm-restrict`";
    assert!(
        command.exists(),
        "{} is missing: {remedy}",
        command.display()
    );
    command
}

/// The program, and the shared library under the name by which it is loaded.
struct Program {
    folder: TempDir,
    path: PathBuf,
}

fn run(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo lab check` installs what is missing")
    });
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

impl Program {
    fn build((compiler, language): (&str, &[&str]), name: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(
            built().join("libxenrestrict.so"),
            folder.path().join("libxenrestrict.so.1"),
        )
        .unwrap();
        let path = folder.path().join("program");
        let mut command = Command::new(compiler);
        command
            .args(STRICT)
            .args(more)
            .arg("-I")
            .arg(source("include"))
            .args(language)
            .arg(source(name))
            .args(["-x", "none", "-o"])
            .arg(&path);
        if more.contains(&"-static-libgcc") {
            command.arg(built().join("libxenrestrict.a")).args(PRIVATE);
        } else {
            command.arg(folder.path().join("libxenrestrict.so.1"));
        }
        run(&mut command);
        Self { folder, path }
    }

    /// Under `tool`, if there is one; it prints nothing but what it means to.
    fn run(&self, tool: &[&str], arguments: &[&Path]) -> String {
        let mut line = tool.iter().map(Path::new).chain([self.path.as_path()]);
        let mut command = Command::new(line.next().unwrap());
        command
            .args(line)
            .args(arguments)
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("UBSAN_OPTIONS", "halt_on_error=1");
        let output = run(&mut command);
        // Other processes may say something: supervisors.
        let text = String::from_utf8_lossy(&output.stderr);
        let other = |line: &str| line.starts_with("dm-restrict: ");
        assert!(text.lines().all(other), "{command:?}: {text}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn misuse_is_refused() {
    for language in [C, CXX] {
        let program = Program::build(language, "tests/c/misuse.c", &[]);
        assert_eq!(program.run(&[], &[&dm_restrict()]), "all refused\n");
    }
}

#[test]
fn misuse_is_refused_by_the_static_library() {
    let program = Program::build(C, "tests/c/misuse.c", &["-static-libgcc"]);
    assert_eq!(program.run(&[], &[&dm_restrict()]), "all refused\n");
}

#[test]
fn misuse_under_sanitizers_touches_nothing_else() {
    let sanitizers = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"];
    let program = Program::build(C, "tests/c/misuse.c", &sanitizers);
    assert_eq!(program.run(&[], &[&dm_restrict()]), "all refused\n");
}

#[test]
fn misuse_under_valgrind_touches_nothing_else() {
    let program = Program::build(C, "tests/c/misuse.c", &[]);
    let valgrind = [
        "valgrind",
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        "--show-leak-kinds=definite",
    ];
    let arguments = [&dm_restrict(), Path::new("no audit")];
    assert_eq!(program.run(&valgrind, &arguments), "all refused\n");
}

#[test]
fn handles_have_owners_in_cxx() {
    let program = Program::build(CXX, "tests/c/owned.cpp", &[]);
    let text = program.run(&[], &[&dm_restrict()]);
    assert!(text.starts_with("refused: "), "{text}");
}

#[test]
fn python_launches_by_ctypes() {
    let mut command = Command::new("python3");
    command
        .arg("-I")
        .arg(source("examples/launcher.py"))
        .arg(built().join("libxenrestrict.so"))
        .arg(dm_restrict())
        .args(["games", "sh", "-c", "while :; do :; done"]);
    let text = String::from_utf8(run(&mut command).stdout).unwrap();
    assert!(
        text.starts_with("closed twice: this is no handle"),
        "{text}"
    );
    assert!(
        text.contains("\npython-") && text.contains(" ended: status 143, signal 0\n"),
        "{text}"
    );
}
