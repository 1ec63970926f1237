// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that a process chose to fool whoever reads them.

use std::fs;

use xen_restrict::confine::Mechanism::Fds;

use crate::support::Subject;

#[test]
fn no_name_reaches_a_terminal_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let hostile = directory
        .path()
        .join("x\u{1b}]0;title\u{7}\n\"holds\"\u{202e}");
    fs::write(&hostile, "").unwrap();
    let plain = directory.path().join("link");
    std::os::unix::fs::symlink(&hostile, &plain).unwrap();
    let subject = Subject::with(&["harmless", "renamed", &format!("file={}", plain.display())]);
    let report = subject.audit().unwrap();
    let seen = &report.finding(Fds).unwrap().seen;
    assert!(
        seen.contains(r#"x\x1b]0;title\x07\n\"holds\"\xe2\x80\xae"#),
        "{seen}"
    );
    assert_eq!(report.processes[0].name, r"c\x1b[31m");
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.is_ascii() && !json.contains("\\u00"), "{json}");
}

#[test]
fn a_file_is_not_what_its_name_says() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "memfd:x (deleted)",
        "socket:[1]",
        "pipe:[1]",
        "anon_inode:[eventfd]",
    ] {
        let path = directory.path().join(name);
        fs::write(&path, "").unwrap();
        let plain = directory.path().join("link");
        let _ = fs::remove_file(&plain);
        std::os::unix::fs::symlink(&path, &plain).unwrap();
        let report = Subject::with(&[&format!("file={}", plain.display())])
            .audit()
            .unwrap();
        let seen = &report.finding(Fds).unwrap().seen;
        assert!(seen.contains("a file from outside"), "{name}: {seen}");
    }
}
