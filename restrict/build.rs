// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds what is preloaded into a QEMU, for the library to have in it.

use std::{env, error::Error, path::Path, process::Command};

const SOURCE: &str = "preload/lib.rs";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={SOURCE}");
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let built = Path::new(&variable("OUT_DIR")?).join("preload.so");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc
        .args(["--crate-name", "preload", "--crate-type", "cdylib"])
        .args(["--edition", "2024", "--target", &variable("TARGET")?])
        .args([
            "-C",
            "opt-level=s",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
        ])
        // It takes what the program has: libc's `syscall`.
        .args(["-C", "link-arg=-nostdlib", "-C", "link-arg=-nostartfiles"])
        .arg(SOURCE)
        .arg("-o")
        .arg(&built);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    match rustc.status()? {
        status if status.success() => Ok(()),
        status => Err(format!("{rustc:?}: {status}").into()),
    }
}
