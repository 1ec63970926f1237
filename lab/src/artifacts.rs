// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds what runs in dom0, statically, so that it runs in any suite's dom0; and the
//! guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::c_program;
use crate::contents::{Contents, STOCK_QEMU, SYSTEMD, TOOLSTACK};
use crate::paths;
use crate::process;
use crate::progress::say;

/// What dom0 and this machine run.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A program of the workspace that runs in dom0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) package: &'static str,
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) features: &'static [&'static str],
}

/// How cargo knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Test,
    Example,
    Bin,
    /// A C program, by its source, that is linked with the package's static library.
    C(&'static str),
}

/// A program of tests, and what they need in dom0.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) program: Program,
    pub(crate) contents: &'static Contents,
}

/// What `cargo lab campaign` runs for long, and every check for a short time.
pub(crate) const CAMPAIGN: Program = Program {
    package: "xen-restrict",
    kind: Kind::Test,
    name: "campaign",
    features: &[],
};

/// What needs a kernel of the lab's.
pub(crate) const KERNEL: Program = Program {
    package: "xen-restrict",
    kind: Kind::Test,
    name: "kernel",
    features: &[],
};

/// What Linux does not check on a restricted handle.
pub(crate) const HOLES: Program = Program {
    package: "dm-restrict",
    kind: Kind::Test,
    name: "holes",
    features: &[],
};

/// The suite's QEMU under its `xl`, through `dm-restrict qemu`.
pub(crate) const QEMU: Program = Program {
    package: "dm-restrict",
    kind: Kind::Test,
    name: "qemu",
    features: &[],
};

/// The tests that need real Xen: add a row to have one more run. Dom0 has what the most
/// demanding of those needs that run.
pub(crate) const TESTS: &[Test] = &[
    Test {
        program: Program {
            package: "xen-restrict",
            kind: Kind::Test,
            name: "xen",
            features: &["tokio"],
        },
        contents: &TOOLSTACK,
    },
    Test {
        program: Program {
            package: "xen-restrict",
            kind: Kind::Test,
            name: "differential",
            features: &[],
        },
        contents: &TOOLSTACK,
    },
    Test {
        program: CAMPAIGN,
        contents: &TOOLSTACK,
    },
    Test {
        program: KERNEL,
        contents: &TOOLSTACK,
    },
    Test {
        program: Program {
            package: "dm-restrict",
            kind: Kind::Test,
            name: "dom0",
            features: &[],
        },
        contents: &SYSTEMD,
    },
    Test {
        program: HOLES,
        contents: &TOOLSTACK,
    },
    Test {
        program: Program {
            package: "xen-restrict",
            kind: Kind::Test,
            name: "stock_qemu",
            features: &[],
        },
        contents: &STOCK_QEMU,
    },
    Test {
        program: QEMU,
        contents: &STOCK_QEMU,
    },
];

/// A program that tests and demonstration start in dom0: it is in `PATH` there, and a
/// variable of the environment has its path.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) variable: &'static str,
    pub(crate) program: Program,
}

/// In each boot: add a row to have one more.
pub(crate) const TOOLS: &[Tool] = &[
    Tool {
        variable: "XEN_LAB_DM_RESTRICT",
        program: Program {
            package: "dm-restrict",
            kind: Kind::Bin,
            name: "dm-restrict",
            features: &[],
        },
    },
    Tool {
        variable: "XEN_LAB_DEVICE_MODEL",
        program: Program {
            package: "xen-restrict",
            kind: Kind::Example,
            name: "device_model",
            features: &[],
        },
    },
    Tool {
        variable: "XEN_LAB_VCHAN",
        program: Program {
            package: "xen-restrict",
            kind: Kind::Example,
            name: "vchan",
            features: &[],
        },
    },
    Tool {
        variable: "XEN_LAB_GRANT_PROBE",
        program: Program {
            package: "xen-restrict",
            kind: Kind::Example,
            name: "grant_probe",
            features: &[],
        },
    },
    Tool {
        variable: "XEN_LAB_CONSOLE_DEVICE",
        program: Program {
            package: "xen-restrict",
            kind: Kind::Example,
            name: "console_device",
            features: &[],
        },
    },
    Tool {
        variable: "XEN_LAB_LAUNCHER",
        program: Program {
            package: "xen-restrict",
            kind: Kind::Example,
            name: "launcher",
            features: &[],
        },
    },
    c_tool(
        "XEN_LAB_C_DEVICE_MODEL",
        "c_device_model",
        "capi/examples/device_model.c",
    ),
    c_tool(
        "XEN_LAB_C_LAUNCHER",
        "c_launcher",
        "capi/examples/launcher.c",
    ),
    c_tool("XEN_LAB_C_ON_XEN", "c_on_xen", "capi/tests/c/on_xen.c"),
    c_tool(
        "XEN_LAB_C_BROKERED",
        "c_brokered",
        "capi/tests/c/brokered.c",
    ),
    Tool {
        variable: "XEN_LAB_HOLE_PROBE",
        program: Program {
            package: "xen-restrict",
            kind: Kind::Example,
            name: "hole_probe",
            features: &[],
        },
    },
    Tool {
        variable: "XEN_LAB_KEEPER",
        program: Program {
            package: "dm-restrict",
            kind: Kind::Example,
            name: "keeper",
            features: &[],
        },
    },
    Tool {
        variable: "XEN_LAB_COSTLY",
        program: Program {
            package: "xen-restrict",
            kind: Kind::Example,
            name: "costly",
            features: &[],
        },
    },
];

const fn c_tool(variable: &'static str, name: &'static str, source: &'static str) -> Tool {
    let program = Program {
        package: "xen-restrict-capi",
        kind: Kind::C(source),
        name,
        features: &[],
    };
    Tool { variable, program }
}

/// What `cargo lab bench` runs in dom0, in this order; built to be fast, as are the tools.
pub(crate) const BENCHES: &[Program] = &[Program {
    package: "xen-restrict-benches",
    kind: Kind::Example,
    name: "on_xen",
    features: &[],
}];

/// A C program that benches are measured against, in `PATH` of dom0.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    source: &'static str,
    libraries: &'static [&'static str],
}

/// Xen's own libraries, of this machine's package.
pub(crate) const PEERS: &[Peer] = &[
    Peer {
        name: "xen_libraries",
        source: "benches/on_xen/peer.c",
        libraries: &[
            "xenvchan",
            "xengnttab",
            "xenevtchn",
            "xenstore",
            "xentoollog",
            "xentoolcore",
        ],
    },
    Peer {
        name: "xen_device_model",
        source: "benches/on_xen/device_model.c",
        libraries: &[
            "xendevicemodel",
            "xenforeignmemory",
            "xenevtchn",
            "xencall",
            "xentoollog",
            "xentoolcore",
        ],
    },
];

/// What `cargo lab demo` shows, one after the other: names, and command lines of dom0's
/// shell, where the tools are in `PATH`.
pub(crate) const DEMO: &[(&str, &str)] = &[
    ("device_model", r#"device_model "$XEN_LAB_A" "$XEN_LAB_B""#),
    (
        "dm-restrict",
        r#"dm-restrict run --domid "$XEN_LAB_A" --seal-mapping -- "$XEN_LAB_DEVICE_MODEL" --confined "$XEN_LAB_B""#,
    ),
    (
        "audit",
        r#"dm-restrict run --domid "$XEN_LAB_A" --audit -- /bin/busybox sleep 20"#,
    ),
    ("reap", r#"dm-restrict reap --domid "$XEN_LAB_A""#),
];

/// Builds a peer; returns the executable's path.
///
/// # Errors
/// It does not build.
pub(crate) fn build_peer(peer: &Peer) -> Result<PathBuf> {
    let folder = paths::target()?.join("lab/peers");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let executable = folder.join(peer.name);
    let mut command = Command::new("gcc");
    command
        .args(["-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&executable)
        .arg(paths::workspace().join(peer.source))
        .args(peer.libraries.iter().map(|name| format!("-l{name}")));
    process::run(&mut command)?;
    Ok(executable)
}

/// How a program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// Quickly.
    Dev,
    /// To be fast.
    Release,
}

/// Builds a program; returns the executable's path.
///
/// # Errors
/// It does not build; cargo's own messages are on the terminal.
pub(crate) fn build(program: &Program, how: Build) -> Result<PathBuf> {
    say(&format!(
        "building {} of {} for dom0",
        program.name, program.package
    ));
    let mut command = paths::cargo();
    match program.kind {
        Kind::C(source) => return c_program::build(program, source, how),
        Kind::Test => command.args(["test", "--no-run", "--test", program.name]),
        Kind::Example => command.args(["build", "--example", program.name]),
        Kind::Bin => command.args(["build", "--bin", program.name]),
    };
    command.args(["--package", program.package, "--target", TARGET]);
    if how == Build::Release {
        command.arg("--release");
    }
    if !program.features.is_empty() {
        command.args(["--features", &program.features.join(",")]);
    }
    command.args(["--message-format=json-render-diagnostics", "--quiet"]);
    static_and_small(&mut command);
    executable(&mut command, program.name)
}

/// Has a test program tests for these arguments of libtest, that are not ignored?
///
/// # Errors
/// It does not start.
pub(crate) fn has_tests(executable: &Path, arguments: &[String]) -> Result<bool> {
    let list = |more: &[&str]| {
        let mut command = Command::new(executable);
        let command = command.args(arguments).arg("--list").args(more);
        let output = command.output();
        output.with_context(|| format!("cannot start {}", executable.display()))
    };
    let count = |output: &[u8]| {
        let text = String::from_utf8_lossy(output);
        text.lines().filter(|line| line.ends_with(": test")).count()
    };
    let (all, ignored) = (list(&[])?, list(&["--ignored"])?);
    // What it does not understand it shall say in dom0, where the user sees it. Both lists
    // are of ignored ones where the arguments say so.
    let understood = all.status.success() && ignored.status.success();
    Ok(!understood || count(&all.stdout) > count(&ignored.stdout))
}

/// Builds the guest; returns its kernel's path.
///
/// # Errors
/// It does not build.
pub(crate) fn build_guest() -> Result<PathBuf> {
    let mut command = paths::cargo();
    // Its flags are in its own .cargo/config.toml, which cargo finds by the current folder.
    command
        .current_dir(paths::workspace().join("lab/guest"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--release", "--locked", "--quiet"])
        .arg("--message-format=json-render-diagnostics")
        .arg("--target-dir")
        .arg(paths::target()?.join("lab/guest"));
    executable(&mut command, "lab-guest")
}

/// Debug information would be most of what dom0 has to unpack. Not by the profile: macros are
/// the same as elsewhere.
const STATIC_AND_SMALL: &str = "-Ctarget-feature=+crt-static -Cdebuginfo=0 -Cstrip=debuginfo";

pub(crate) fn static_and_small(command: &mut Command) {
    // RUSTFLAGS would replace the target's own flags.
    command
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            STATIC_AND_SMALL,
        );
}

/// Runs cargo; returns the executable that its messages name for the target.
fn executable(command: &mut Command, target: &str) -> Result<PathBuf> {
    command.stdin(std::process::Stdio::null());
    command.stderr(std::process::Stdio::inherit());
    process::dies_with_us(command, nix::sys::signal::Signal::SIGTERM);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", process::line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", process::line(command), output.status);
    }
    find_executable(&String::from_utf8_lossy(&output.stdout), target)
        .with_context(|| format!("`{}` made no executable {target}", process::line(command)))
}

fn find_executable(messages: &str, target: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|m| m["reason"] == "compiler-artifact" && m["target"]["name"] == target)
        .find_map(|m| m["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_the_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"xen"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"other"},"executable":"/t/other"}
{"reason":"compiler-artifact","target":{"name":"xen"},"executable":"/t/deps/xen-1"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            find_executable(messages, "xen"),
            Some(PathBuf::from("/t/deps/xen-1"))
        );
        assert_eq!(find_executable(messages, "demo"), None);
    }
}
