// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header is what the source says, and says of each function what one has to know.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{env, fs, path::Path};

/// To have it written anew.
const WRITE: &str = "XEN_RESTRICT_WRITE_HEADER";

fn made() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let header = cbindgen::generate_with_config(folder, config).unwrap();
    let mut text = Vec::new();
    header.write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn it_is_made_of_the_source() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/xen_restrict.h");
    let made = made();
    if env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "include/xen_restrict.h is stale: `{WRITE}=1 cargo test -p xen-restrict-capi --test header`"
    );
}
