// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict doctor`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use xen_restrict::doctor::{Report, Verdict, examine};

/// 0 when all that a `run` needs is there, 1 when something is missing, 2 when it could
/// not look, or tell.
pub(crate) fn doctor(json: bool) -> ExitCode {
    let report = examine();
    let code = match report.verdict {
        Verdict::Ready => 0,
        Verdict::NotReady => 1,
        Verdict::Unknown => 2,
    };
    match tell(&report, json) {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            super::say(&format!("cannot write the report: {error}"));
            ExitCode::from(2)
        }
    }
}

fn tell(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    out.flush()
}
