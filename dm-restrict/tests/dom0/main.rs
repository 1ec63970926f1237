// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command in dom0 of real Xen: `cargo lab test` boots one and runs these tests there.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, process::Command};

/// What the lab says: see `docs/lab.md`.
fn from_lab(variable: &str) -> String {
    env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run these tests with `cargo lab test`"))
}

#[test]
fn guest_a_has_a_uid_of_its_own() {
    let domid: u32 = from_lab("XEN_LAB_A").parse().unwrap();
    let output = Command::new(from_lab("XEN_LAB_DM_RESTRICT"))
        .args(["identity", "--domid", &domid.to_string()])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!(
            "uid {}, gid 65534: xen-qemuuser-range-base (uid 65536) + domain {domid}\n\
             this domain's alone; reaped when it has ended\n",
            65536 + domid
        )
    );
    assert!(output.stderr.is_empty() && output.status.success());
}
