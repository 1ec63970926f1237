// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every number, size and offset of this crate, compared with the kernel's and
//! Xen's own C headers by a C compiler.
#![allow(
    clippy::unwrap_used,
    clippy::cast_lossless,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking, and compares 64-bit patterns"
)]

mod compile;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use table::{Check, kernel, xen};

#[test]
fn the_kernels_headers_agree() {
    let absent = agree("kernel", &kernel());
    let version = Check {
        item: String::new(),
        name: "the headers' version".into(),
        value: 0,
        c: "LINUX_VERSION_CODE".into(),
        newer_than: None,
    };
    let version = compile::evaluate("kernel", &[version])[0].unwrap();
    for name in absent {
        let since = table::NEWER.iter().find(|(newer, _)| *newer == name);
        let (_, (major, minor)) = since.unwrap_or_else(|| panic!("{name} is not in NEWER"));
        assert!(
            version < major << 16 | minor << 8,
            "headers of Linux {major}.{minor} or later lack {name}"
        );
    }
}

#[test]
fn xens_headers_agree() {
    assert_eq!(agree("xen", &xen()), BTreeSet::new());
}

/// Returns the macros whose absence says that the headers are too old.
fn agree(unit: &str, checks: &[Check]) -> BTreeSet<&'static str> {
    let seen = compile::evaluate(unit, checks);
    let mut wrong = Vec::new();
    let mut absent = BTreeSet::new();
    for (check, seen) in checks.iter().zip(&seen) {
        match seen {
            Some(seen) if *seen == check.value => {}
            Some(seen) => wrong.push(format!(
                "{}: {:#x} here, {seen:#x} in C ({})",
                check.name, check.value, check.c
            )),
            None => drop(absent.insert(check.newer_than.unwrap_or("?"))),
        }
    }
    assert!(wrong.is_empty(), "{unit}:\n{}", wrong.join("\n"));
    let compared = seen.iter().flatten().count();
    println!("{unit}: {compared} of {} compared", checks.len());
    println!("{unit}: only in newer headers: {absent:?}");
    absent
}

/// Written by hand from the kernel's source, for hosts whose headers are older.
#[test]
fn requests_of_newer_kernels_are_numbered() {
    use xen_sys::{evtchn, privcmd};
    assert_eq!(privcmd::IRQFD.number(), 0x4018_5008);
    assert_eq!(privcmd::IOEVENTFD.number(), 0x4030_5009);
    assert_eq!(privcmd::PCIDEV_GET_GSI.number(), 0x0008_500a);
    assert_eq!(evtchn::BIND_STATIC.number(), 0x0004_4507);
}

/// The table of `docs/abi.md` has every request, with its number.
#[test]
fn the_documented_numbers_are_these() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/abi.md");
    let page = fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}: run this in a clone", path.display()));
    let documented: BTreeMap<String, u64> = page
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | 0x")?;
            let number = u64::from_str_radix(rest.split(' ').next()?, 16).ok()?;
            Some((name.to_owned(), number))
        })
        .collect();
    let defined: BTreeMap<String, u64> = kernel()
        .into_iter()
        .filter(|check| check.c.starts_with("IOCTL_"))
        .map(|check| (check.item, check.value))
        .collect();
    assert!(defined.len() > 30, "{defined:?}");
    assert_eq!(documented, defined);
}

/// What the source defines, so that nothing is forgotten in the table.
#[test]
fn nothing_is_left_out() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for check in kernel().iter().chain(&xen()) {
        known.insert(check.item.clone());
    }
    let exempt: BTreeSet<&str> = table::EXEMPT.iter().map(|(item, _why)| *item).collect();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut defined = 0;
    let mut missing = Vec::new();
    for file in fs::read_dir(source).unwrap() {
        let path = file.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for name in definitions(&fs::read_to_string(&path).unwrap()) {
            defined += 1;
            let item = format!("{module}::{name}");
            if !known.contains(&item) && !exempt.contains(item.as_str()) {
                missing.push(item);
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in the table of tests/headers: {missing:#?}"
    );
    assert!(
        defined > 200,
        "{defined} definitions found: the search is broken"
    );
    for (item, _) in table::EXEMPT {
        assert!(!known.contains(*item), "{item} is compared and exempt");
    }
}

/// Names behind `pub const`, `pub struct`, and in the two macros that define
/// constants: `operations!` and `bitflags!`.
fn definitions(source: &str) -> Vec<&str> {
    let name = |rest: &'static str, line| -> Option<&str> {
        let line: &str = line;
        let rest = line.strip_prefix(rest)?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        (end > 0).then(|| &rest[..end])
    };
    let lines = source.lines().map(str::trim);
    lines
        .filter(|line| !line.contains('$'))
        .filter_map(|line| {
            let operation = line.split_once(" = ").filter(|(left, right)| {
                left.chars().all(|c| c.is_ascii_uppercase() || c == '_') && right.contains(": ")
            });
            let function = line.starts_with("pub const fn");
            (!function).then(|| {
                name("pub const ", line)
                    .or_else(|| name("pub struct ", line))
                    .or_else(|| name("const ", line).filter(|_| line.ends_with(';') && flag(line)))
                    .or(operation.map(|(left, _)| left))
            })?
        })
        .collect()
}

/// `const NAME = value;` without a type is a flag of `bitflags!`.
fn flag(line: &str) -> bool {
    !line.split('=').next().unwrap_or("").contains(':')
}
