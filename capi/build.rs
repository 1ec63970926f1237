// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the shared library is linked.

/// Its first number is that of `package.metadata.capi.library` in Cargo.toml.
const SONAME: &str = "libxenrestrict.so.1";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for argument in [
        // Symbols get a version, the soname: rustc's own list of them, without versions, and
        // one with cannot be together. Only GNU ld can do this.
        "-fuse-ld=bfd",
        "-Wl,--default-symver",
        &format!("-Wl,-soname,{SONAME}"),
        // What forked children and ending threads run stays where it is.
        "-Wl,-z,nodelete",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}
