// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hands the linker script over by its full path, so that the linker's own directory does
//! not matter.

use std::env;

fn main() {
    let dir = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    println!("cargo::rustc-link-arg-bins=-T{dir}/link.ld");
    println!("cargo::rerun-if-changed=link.ld");
}
