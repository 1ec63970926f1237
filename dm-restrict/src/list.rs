// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict list`.

use std::{
    error::Error,
    io::{self, Write as _},
};

use xen_restrict::launch::{Record, running};

pub(crate) fn list(json: bool) -> Result<(), Box<dyn Error>> {
    let running = running()?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &running)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<6} {:<16} {:<8} {:<8} {:<8} PROGRAM",
        "DOMID", "INSTANCE", "PID", "PROFILE", "PHASE"
    )?;
    for record in running {
        let domid = record.domid.map_or("-".into(), |domid| domid.to_string());
        let Record {
            instance,
            pid,
            profile,
            ..
        } = &record;
        let phase = record.phase().name();
        let program = record
            .program
            .first()
            .map_or(String::new(), |program| program.escape_debug().to_string());
        writeln!(
            out,
            "{domid:<6} {instance:<16} {pid:<8} {profile:<8} {phase:<8} {program}"
        )?;
    }
    Ok(())
}
