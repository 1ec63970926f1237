// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables, compared with the kernel's own C headers by a C compiler.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use super::{super::bpf::Arch, all};
use crate::confine::arguments::{CHECKED, Test};

const REMEDY: &str = "a C compiler and the kernel's headers are needed: \
                      `apt-get install gcc libc6-dev linux-libc-dev`";
/// The last number that the tables have.
const NEWEST: i32 = 470;

fn cc(arguments: &[&str], source: &str) -> String {
    let mut cc = Command::new("cc")
        .args(arguments)
        .args(["-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cc: {error}: {REMEDY}"));
    cc.stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    let output = cc.wait_with_output().unwrap();
    assert!(output.status.success(), "{REMEDY}");
    String::from_utf8(output.stdout).unwrap()
}

/// Each `__NR_` of a header; some stand for another macro.
fn numbers(source: &str) -> BTreeMap<String, i32> {
    let text = cc(&["-E", "-dM"], source);
    let macros: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#define ")?.split_once(' '))
        .collect();
    let number = |name: &str| {
        let value = macros[name];
        macros.get(value).unwrap_or(&value).parse().ok()
    };
    let calls = macros.keys().filter_map(|name| {
        let call = name.strip_prefix("__NR_")?;
        // These say where numbers begin and end.
        (!matches!(call, "syscalls" | "arch_specific_syscall")).then_some(())?;
        Some((call.to_owned(), number(name)?))
    });
    calls.collect()
}

fn agree(arch: Arch, header: &BTreeMap<String, i32>) {
    assert!(header.len() > 280, "{header:?}: {REMEDY}");
    let mut compared = 0;
    for (_, call) in all() {
        match (call.number(arch), header.get(call.name)) {
            (Some(ours), Some(theirs)) => assert_eq!(ours, *theirs, "{}", call.name),
            (None, Some(theirs)) => panic!("{arch:?} has {}: {theirs}", call.name),
            (Some(ours), None) => assert!(!header.values().any(|n| *n == ours), "{}", call.name),
            (None, None) => {}
        }
        compared += usize::from(header.contains_key(call.name));
    }
    let missing: Vec<_> = header
        .iter()
        .filter(|(name, number)| **number <= NEWEST && all().all(|(_, call)| call.name != *name))
        .collect();
    assert!(missing.is_empty(), "not in the tables: {missing:?}");
    assert!(compared > 280, "{compared}");
}

#[test]
fn the_numbers_here_are_the_headers() {
    agree(Arch::NATIVE.unwrap(), &numbers("#include <asm/unistd.h>\n"));
}

#[test]
fn the_numbers_of_aarch64_are_the_generic_headers() {
    // What the kernel's arch/arm64 asks the generic list for.
    let wants = [
        "RENAMEAT",
        "NEW_STAT",
        "SET_GET_RLIMIT",
        "MEMFD_SECRET",
        "SYS_CLONE3",
    ];
    let wants = wants
        .map(|want| format!("#define __ARCH_WANT_{want}\n"))
        .concat();
    let generic = numbers(&format!("{wants}#include <asm-generic/unistd.h>\n"));
    agree(Arch::Aarch64, &generic);
}

#[test]
fn the_ioctls_are_the_headers() {
    let ioctls = CHECKED
        .iter()
        .find(|checked| checked.call == "ioctl")
        .unwrap();
    let mut source = "#include <stddef.h>\n#include <sys/ioctl.h>\n#include <asm/termbits.h>\n\
                      #include <linux/fs.h>\n#include <linux/if_tun.h>\n"
        .to_owned();
    for case in ioctls.cases {
        let [Test::Is(1, number)] = *case.tests else {
            panic!("{case:?}")
        };
        let name = case.what;
        source += &format!("_Static_assert(({name}) == {number:#x}u, \"{name}\");\n");
    }
    cc(&["-fsyntax-only"], &source);
}
