// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/profiles.md, made of the tables that are applied.

use std::{env, fmt::Write as _, fs, path::Path};

use super::{
    Mechanism, Profile, qemu, rlimits,
    syscalls::{ALLOWED, Group, MISSING, REFUSED},
    xen_requests::{Mapping, POLICY},
};

const HEAD: &str = "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->
# The profiles, from the tables of the code

Made by a test, which says when this is out of date. What the mechanisms are for, and the
order in which they are applied: [how a program is confined](confinement.md). What they come
to for one command line: `dm-restrict run --dry-run`.
";

fn mark(is_there: bool) -> &'static str {
    if is_there { "yes" } else { "-" }
}

fn limit(profile: Profile, name: &str) -> String {
    let limits = rlimits::of_profile(profile, &[]);
    let found = limits.iter().find(|limit| limit.name() == name);
    found
        .and_then(|limit| limit.value())
        .map_or("-".into(), |value| value.to_string())
}

fn groups(text: &mut String, groups: &[Group]) {
    for group in groups {
        let calls: Vec<_> = group.calls.iter().map(|call| call.name).collect();
        writeln!(
            text,
            "| {} | {} | {} |",
            group.title,
            group.why,
            calls.join(", ")
        )
        .unwrap();
    }
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    text += "\n## Mechanisms\n\n| mechanism | what it does | libxl | qemu | strict |\n|---|---|---|---|---|\n";
    for mechanism in Mechanism::ALL {
        let [libxl, qemu, strict] = Profile::ALL.map(|profile| {
            match profile.has(mechanism) && mechanism.depends_on_host() {
                true => "where the machine has it",
                false => mark(profile.has(mechanism)),
            }
        });
        let does = mechanism.does();
        writeln!(
            text,
            "| {mechanism} | {does} | {libxl} | {qemu} | {strict} |"
        )
        .unwrap();
    }
    text += "\n## Limits of a process\n\nSoft and hard alike. Those of qemu are those of strict, but a guest whose disk is a \
             file may write all of it: fsize is unlimited then, and memlock is 1 MiB, for the list of frames of a graphics card.\n\n\
             | limit | libxl | strict | why |\n|---|---|---|---|\n";
    for of_strict in rlimits::of_profile(Profile::Strict, &[]) {
        let name = of_strict.name();
        let [libxl, strict] = [Profile::Libxl, Profile::Strict].map(|of| limit(of, name));
        writeln!(
            text,
            "| {name} | {libxl} | {strict} | {} |",
            of_strict.reason()
        )
        .unwrap();
    }
    text += "\n## Requests on Xen's devices\n\nAny other number of the types of these devices is \
             refused in both phases.\n\n\
             | request | allowed | with `--seal-mapping` | why |\n|---|---|---|---|\n";
    for row in POLICY {
        let seal_mapping = match row.until(Mapping::UntilSealed) {
            until if until == row.allowed => "the same".to_owned(),
            until => until.to_string(),
        };
        writeln!(
            text,
            "| {} | {} | {seal_mapping} | {} |",
            row.request, row.allowed, row.reason
        )
        .unwrap();
    }
    text += "\n## System calls of profile strict\n";
    for (title, of) in [
        ("Allowed", ALLOWED),
        ("Refused: EPERM", REFUSED),
        ("Refused: ENOSYS, as what is in no table", MISSING),
    ] {
        write!(
            text,
            "\n### {title}\n\n| group | why | calls |\n|---|---|---|\n"
        )
        .unwrap();
        groups(&mut text, of);
    }
    text += "\n## System calls of profile qemu\n\nThose of strict, but:\n\n\
             | call | allowed | why |\n|---|---|---|\n";
    for (allowed, of) in [
        ("until root is given up", qemu::UNTIL_GIVEN_UP),
        ("never", qemu::NEVER),
    ] {
        for calls in of {
            let names = calls.names.join(", ");
            writeln!(text, "| {names} | {allowed} | {} |", calls.why).unwrap();
        }
    }
    for checked in qemu::UNTIL_ARGUMENTS {
        for case in checked.cases {
            let (call, what, why) = (checked.call, case.what, case.why);
            writeln!(text, "| {call}: {what} | until root is given up | {why} |").unwrap();
        }
    }
    text += "| ioctl: MMAP_RESOURCE | never | kernels check it too little; QEMU can map the pages of I/O requests without it |\n";
    text += "| clone | for threads only | it has no other process |\n";
    text += "\nOf some that are allowed, only certain arguments are: `--dry-run` prints them.\n";
    text
}

/// Write it anew by setting `UPDATE_DOCS`.
#[test]
fn the_document_is_made_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/profiles.md");
    let expected = document();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/profiles.md is not what the tables say: `UPDATE_DOCS=1 cargo test -p xen-restrict \
         the_document_is_made_of_the_tables`"
    );
}
