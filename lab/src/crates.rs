// SPDX-License-Identifier: MIT OR Apache-2.0
//! The crates that can be published: each is packed, and built from what was packed.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::paths;
use crate::process;

/// What each must say of itself.
const METADATA: &[&str] = &[
    "description",
    "license",
    "readme",
    "rust_version",
    "keywords",
    "categories",
];
/// What each must bring.
const FILES: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md", "Cargo.lock"];

/// # Errors
/// One of them cannot be published.
pub(crate) fn check() -> Result<()> {
    let output =
        process::run(paths::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    // An empty list of registries is `publish = false`.
    let mut names = Vec::new();
    for package in packages.iter().filter(|p| p["publish"].is_null()) {
        let name = package["name"].as_str().context("no name")?;
        for field in METADATA {
            let value = &package[field];
            let empty = value.as_str() == Some("") || value.as_array().is_some_and(Vec::is_empty);
            ensure!(!value.is_null() && !empty, "{name} has no {field}");
        }
        let list = process::run(paths::cargo().args([
            "package",
            "--list",
            "--allow-dirty",
            "--package",
            name,
        ]))?;
        let list = String::from_utf8(list.stdout)?;
        for file in FILES {
            ensure!(
                list.lines().any(|line| line == *file),
                "{name} has no {file}"
            );
        }
        names.extend(["--package", name]);
    }
    // All at once: each finds the others where it would find them published. Cargo takes what
    // it unpacked and built of a version once for what there is; ours changes meanwhile.
    forget_unpacked()?;
    let output = process::run(
        paths::cargo()
            .args(["package", "--allow-dirty", "--offline"])
            .args(names)
            // As the workspace has it, which a crate by itself does not see: what is built
            // already serves again.
            .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only")
            .env("CARGO_PROFILE_DEV_BUILD_OVERRIDE_DEBUG", "false"),
    )?;
    // Lints see all features: here is none.
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!said.contains(" generated "), "there are warnings:\n{said}");
    forget_unpacked()
}

/// Removes what cargo unpacked of registries that were folders: their names have no host.
fn forget_unpacked() -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let unpacked = home.context("no home folder")?.join("registry/src");
    let Ok(entries) = fs::read_dir(unpacked) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with('-')) {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}
