// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tracing forbidden. Once it is, it stays so until the next boot.

use std::process::Command;

use xen_restrict::audit::{AuditError, Expectation, audit};

/// In a boot of its own.
#[test]
#[ignore = "nobody can trace on this machine afterwards"]
fn where_yama_forbids_it_that_is_said() {
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    std::fs::write("/proc/sys/kernel/yama/ptrace_scope", "3").unwrap();
    let error = audit(sleep.id().cast_signed(), &Expectation::default()).unwrap_err();
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert!(matches!(error, AuditError::Yama), "{error}");
}
