// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device model from scratch: the guest's first serial port. What the guest writes there
//! goes to standard output.
//!
//! `dm-restrict run --domid N -- console_device`. Killed and started again, it goes on where
//! it was, and the guest notices nothing but that a byte takes longer.

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use xen_restrict::{
    EventChannel, Guest, Handover, IoRange, IoRequest, IoreqServer, IoreqServerId, Port,
    Restricted, VcpuRequests,
};

/// The ports of a PC's COM1.
const COM1: u64 = 0x3f8;
const RANGE: IoRange = IoRange::Ports(0x3f8..=0x3ff);
/// The register that says whether a byte can be sent, and its value when one can.
const LINE_STATUS: u64 = 5;
const EMPTY: u64 = 0x60;

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: nothing in this process has taken or opened a descriptor before.
    let given = unsafe { Handover::receive() }?;
    let (Some(privcmd), Some(events)) = (given.privcmd, given.events) else {
        return Err("start me with `--xen privcmd,evtchn`".into());
    };
    // Dropped, the server would be destroyed.
    let (_server, mut requests) = server(&privcmd.guest(), &events)?;
    ready()?;
    let mut queue = [Port::new(0); 16];
    loop {
        let served = requests.serve(&events, Duration::MAX, &mut queue, answer)?;
        events.unmask(served.others)?;
    }
}

/// What the guest reads. A device model believes nothing that a request says: it is compared
/// with what there is.
fn answer(request: &IoRequest) -> u64 {
    match (request.address.wrapping_sub(COM1), request.read) {
        (0, false) if !request.data_is_pointer => {
            let byte = request.data.to_le_bytes()[0];
            // A terminal may be at the end of this.
            let shown = matches!(byte, b' '..=b'~' | b'\n');
            // Not kept in a buffer: what is answered has been written. If nobody takes it, the
            // guest goes on.
            let mut output = io::stdout();
            let _ = output.write_all(&[if shown { byte } else { b'.' }]);
            let _ = output.flush();
            0
        }
        (LINE_STATUS, true) => EMPTY,
        _ => 0,
    }
}

/// The server that a predecessor left behind, with the request that it did not answer; else
/// a new one. This guest has no other device model: all its servers are this one's.
fn server(
    guest: &Guest,
    events: &EventChannel<Restricted>,
) -> Result<(IoreqServer, VcpuRequests), Box<dyn Error>> {
    for id in (0..8).map(IoreqServerId::new) {
        if let Ok((server, requests)) = guest.take_over_ioreq_server(id, events, 1) {
            // EEXIST, unless it was killed before it had claimed them.
            let _ = server.map_range(&RANGE);
            return Ok((server, requests));
        }
    }
    let server = guest.create_ioreq_server(false)?;
    server.map_range(&RANGE)?;
    let requests = server.start(events, 1)?;
    Ok((server, requests))
}

/// Tells the supervisor that all is set up: it refuses from now on what was needed for that.
fn ready() -> io::Result<()> {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET") {
        UnixDatagram::unbound()?.send_to(b"READY=1", socket)?;
    }
    Ok(())
}
