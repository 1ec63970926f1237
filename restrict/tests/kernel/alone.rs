// SPDX-License-Identifier: MIT OR Apache-2.0
//! A test in a process of its own: what it gives up, it gives up for good.

use std::{any::type_name, env, process::Command};

const ALONE: &str = "XEN_RESTRICT_TEST_ALONE";

/// Runs the rest of a test, a closure, in this program started anew for that one test.
pub(crate) fn alone<F: FnOnce()>(rest: F) {
    if env::var_os(ALONE).is_some() {
        return rest();
    }
    // The name of the closure, without the crate's and its own.
    let name = type_name::<F>().trim_end_matches("::{{closure}}");
    let (_, name) = name.split_once("::").unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{name}, alone: {:?}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
