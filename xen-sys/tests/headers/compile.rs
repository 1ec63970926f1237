// SPDX-License-Identifier: MIT OR Apache-2.0
//! Has the C compiler evaluate expressions over real headers.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use crate::table::Check;

const REMEDY: &str = "install a C compiler and both headers: \
                      `apt-get install gcc libc6-dev linux-libc-dev libxen-dev`";

/// The value of each check's C expression; `None` where the headers are too
/// old for it.
pub(crate) fn evaluate(unit: &str, checks: &[Check]) -> Vec<Option<u64>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/headers");
    let mut source = fs::read_to_string(folder.join(unit).with_extension("c")).unwrap();
    source.push_str("int main(void) {\n");
    for (number, check) in checks.iter().enumerate() {
        let print = format!(
            "printf(\"{number} %llu\\n\", (unsigned long long)({}));\n",
            check.c
        );
        match check.newer_than {
            Some(guard) => write!(source, "#ifdef {guard}\n{print}#endif\n").unwrap(),
            None => source.push_str(&print),
        }
    }
    source.push_str("return 0;\n}\n");
    let directory = tempfile::tempdir().unwrap();
    let (input, program) = (
        directory.path().join("check.c"),
        directory.path().join("check"),
    );
    fs::write(&input, &source).unwrap();
    let compiler = Command::new("cc")
        .args(["-std=gnu11", "-I"])
        .arg(folder.join("stand-in"))
        .arg(&input)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|e| panic!("cc: {e}: {REMEDY}"));
    let errors = String::from_utf8_lossy(&compiler.stderr);
    assert!(compiler.status.success(), "{errors}\n{REMEDY}");
    let output = Command::new(&program).output().unwrap();
    assert!(output.status.success());
    let mut values = vec![None; checks.len()];
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (number, value) = line.split_once(' ').unwrap();
        values[number.parse::<usize>().unwrap()] = Some(value.parse().unwrap());
    }
    for (check, value) in checks.iter().zip(&values) {
        assert!(
            value.is_some() || check.newer_than.is_some(),
            "{} has no value",
            check.name
        );
    }
    values
}
