// SPDX-License-Identifier: MIT OR Apache-2.0
//! Header, library and source are of one mind: names, numbers, sizes and places.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeSet, env, fmt::Write as _, fs, mem::offset_of, path::Path, process::Command,
};

use object::{Object as _, ObjectSymbol as _, SymbolKind};
use xenrestrict as x;

const SONAME: &str = "libxenrestrict.so.1";

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> String {
    fs::read_to_string(folder().join("include/xen_restrict.h")).unwrap()
}

fn source() -> String {
    let files = fs::read_dir(folder().join("src")).unwrap();
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    texts.collect()
}

/// What stands between `before` and `after`, wherever it is a name.
fn names(text: &str, before: &str, after: char) -> BTreeSet<String> {
    let found = text.split(before).skip(1);
    let name = |rest: &str| rest.split(after).next().map(str::to_owned);
    let found = found.filter_map(name);
    found
        .filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        .collect()
}

/// Functions that the header declares, with what it says of each.
fn declared() -> Vec<(String, String)> {
    let (mut found, mut comment) = (Vec::new(), String::new());
    for line in header().lines() {
        match line.strip_prefix("//") {
            Some(text) => comment += &format!("{text}\n"),
            None => {
                let before = line.split('(').next().unwrap_or_default();
                let name = before.rsplit([' ', '*']).next().unwrap_or_default();
                let is_function = line.contains('(') && !line.starts_with([' ', '#', 't']);
                if is_function && name.starts_with("xr_") {
                    found.push((name.to_owned(), comment.clone()));
                }
                comment.clear();
            }
        }
    }
    found
}

#[test]
fn the_library_has_what_the_header_declares_and_nothing_else() {
    let declared: BTreeSet<_> = declared().into_iter().map(|(name, _)| name).collect();
    let mut written = names(&source(), "extern \"C\" fn ", '(');
    written.retain(|name| name.starts_with("xr_"));
    assert_eq!(declared, written);
    assert!(declared.len() > 80, "{declared:?}");

    let library = env::current_exe().unwrap();
    let library = library.with_file_name("libxenrestrict.so");
    let bytes = fs::read(library).unwrap();
    let library = object::File::parse(&*bytes).unwrap();
    let mut exported = BTreeSet::new();
    let mut versions = BTreeSet::new();
    for symbol in library
        .dynamic_symbols()
        .filter(|symbol| !symbol.is_undefined())
    {
        let name = symbol.name().unwrap().to_owned();
        match symbol.kind() {
            SymbolKind::Text => exported.insert(name),
            _ => versions.insert(name),
        };
    }
    assert_eq!(exported, declared);
    assert_eq!(versions, BTreeSet::from([SONAME.to_owned()]));
}

#[test]
fn every_number_of_the_source_is_in_the_header() {
    let numbers = names(&source(), "pub const XR_", ':');
    let header = header();
    for number in &numbers {
        assert!(
            header.contains(&format!("#define XR_{number} ")),
            "{number}"
        );
    }
    assert_eq!(numbers, names(&header, "#define XR_", ' '));
}

#[test]
fn each_function_says_what_one_has_to_know() {
    for (name, comment) in declared() {
        for part in ["\n Returns ", "\n Errors: ", "\n Threads: ", "\n Fork: "] {
            assert!(comment.contains(part), "{name} says nothing of {part:?}");
        }
        let words: Vec<_> = comment.split_whitespace().collect();
        let words = words.join(" ");
        let told = !words.contains("`*out`") || words.contains("the caller's");
        assert!(told, "{name} does not say whose it is");
    }
}

#[test]
fn the_soname_is_the_abi_version_and_cargo_cs() {
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let (_, section) = manifest
        .split_once("[package.metadata.capi.library]")
        .unwrap();
    let abi = x::XR_ABI_VERSION;
    assert!(
        section.contains(&format!("\nversion = \"{abi}.")),
        "{section}"
    );
    assert_eq!(SONAME, format!("libxenrestrict.so.{abi}"));
    let build = fs::read_to_string(folder().join("build.rs")).unwrap();
    assert!(build.contains(&format!("\"{SONAME}\"")));
}

/// Each structure with its fields, as Rust lays them out.
macro_rules! layouts {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        [$((
            stringify!($name),
            size_of::<x::$name>(),
            align_of::<x::$name>(),
            vec![$((stringify!($field), offset_of!(x::$name, $field))),*],
        )),*]
    };
}

#[test]
fn structures_are_laid_out_as_c_does() {
    let layouts = layouts! {
        xr_missing_page { page, errnum, reserved }
        xr_event { kind, error_code, extra, vector, instruction_length, reserved }
        xr_extent { first, count, reserved }
        xr_buffer { data, size }
        xr_io_range { kind, reserved, first, last }
        xr_io_request { kind, flags, vcpu, size, count, reserved, address, data }
        xr_served { answered, others }
        xr_grant_copy {
            way, status, grant, to_grant, domid, to_domid, offset, to_offset, local, length,
        }
        xr_handover { domid, reserved, privcmd, evtchn, gntdev }
        xr_seal_options { size, without, read_only, read_write, flags }
        xr_named_fd { name, fd, reserved }
        xr_launch_options {
            size, domid, devices, flags, grant_quota, program, arguments, instance, profile,
            without, require, user, read_only, read_write, environment, limits, cgroup_limits,
            fds, fd_count, tmp, seal_after, helper,
        }
        xr_ended { status, signal }
        xr_identity_info { uid, gid, rule, exclusive }
        xr_audit_options { size, pid, domid, filters, profile, without }
    };
    let known: BTreeSet<_> = layouts.iter().map(|layout| layout.0.to_owned()).collect();
    let defined = names(&header().replace(" {", "{"), "typedef struct ", '{');
    assert_eq!(known, defined);

    let mut program =
        String::from("#include <stdio.h>\n#include <xen_restrict.h>\nint main(void) {\n");
    let mut expected = String::new();
    for (name, size, align, fields) in layouts {
        let line = "printf(\"%s %zu %zu\\n\"";
        let _ = writeln!(
            program,
            "{line}, \"{name}\", sizeof(struct {name}), _Alignof(struct {name}));"
        );
        let _ = writeln!(expected, "{name} {size} {align}");
        let count = fields.len();
        for (field, offset) in fields {
            let line = "printf(\"%s %zu\\n\"";
            let _ = writeln!(
                program,
                "{line}, \"{field}\", offsetof(struct {name}, {field}));"
            );
            let _ = writeln!(expected, "{field} {offset}");
        }
        // As many as C has: none is left out here.
        let body = header();
        let (_, body) = body
            .split_once(&format!("typedef struct {name} {{"))
            .unwrap();
        let body = body.split_once("\n}").unwrap().0;
        assert_eq!(
            body.matches(';').count() - comment_semicolons(body),
            count,
            "{name}"
        );
    }
    program += "return 0;\n}\n";
    let temporary = tempfile::tempdir().unwrap();
    let (source, executable) = (temporary.path().join("a.c"), temporary.path().join("a"));
    fs::write(&source, program).unwrap();
    let mut compiler = Command::new("gcc");
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"]);
    compiler
        .arg(folder().join("include"))
        .arg(&source)
        .arg("-o")
        .arg(&executable);
    assert!(compiler.status().unwrap().success());
    let output = Command::new(executable).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

fn comment_semicolons(body: &str) -> usize {
    let comments = body
        .lines()
        .filter(|line| line.trim_start().starts_with("//"));
    comments.map(|line| line.matches(';').count()).sum()
}
