// SPDX-License-Identifier: MIT OR Apache-2.0
//! A launcher: runs a device model for a guest, confined, and ends as it ends.

use std::{env, error::Error, process::ExitCode};

use xen_restrict::{
    GuestId,
    launch::{Launch, XenDevice},
};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let (Some(domid), Some(program)) = (words.next(), words.next()) else {
        return Err("usage: launcher DOMID PROGRAM [ARG...]".into());
    };
    let guest: GuestId = domid.parse()?;

    // What is not named is not given: no file, descriptor, variable or device.
    let mut running = Launch::new(guest)
        .devices([XenDevice::PrivCmd, XenDevice::EventChannel])
        .bind_linked()
        .program(program, words)
        .spawn()?;
    println!("process {} runs for {guest}", running.pid());
    let ended = running.wait()?;
    println!("it ended: {ended:?}");
    Ok(ExitCode::from(ended.exit_code()))
}
