// SPDX-License-Identifier: MIT OR Apache-2.0
//! Exchanges data with a guest by vchan, as its client, strictly confined:
//!
//!     dm-restrict run --domid N --grants brokered -- vchan REFERENCE PORT [MEBIBYTES]
//!
//! REFERENCE and PORT are what the guest's server offers: the grant of its control page,
//! and its event channel. (With libxenvchan they are in xenstore, as `ring-ref` and
//! `event-channel`.) The lab's guest sends back what it gets with all bits inverted, which
//! is checked here.
//!
//! `channel.rs` is the part to take along.

mod channel;

use std::{env, error::Error, time::Instant};

use channel::Channel;
use xen_restrict::{GrantRef, Handover, Port, confine::Seal};

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: vchan REFERENCE PORT [MEBIBYTES]";
    let numbers: Result<Vec<u32>, _> = env::args().skip(1).map(|word| word.parse()).collect();
    let (reference, port, mebibytes) = match *numbers.map_err(|_| usage)? {
        [reference, port] => (reference, port, 4),
        [reference, port, mebibytes] => (reference, port, mebibytes),
        _ => return Err(usage.into()),
    };
    // SAFETY: first thing in this program that takes descriptors, and only here.
    let handover = unsafe { Handover::receive() }?;
    let grants = handover
        .grants
        .ok_or("start this with `--grants brokered`")?;
    let events = handover
        .events
        .ok_or("start this with `--xen evtchn,gntdev`")?;

    let mut channel =
        Channel::connect(&grants, &events, GrantRef::new(reference), Port::new(port))?;
    // From here on the guest can influence it.
    Seal::new().apply()?;
    let total = u64::from(mebibytes) << 20;
    let begin = Instant::now();
    let wakeups = exchange(&mut channel, total)?;
    let seconds = begin.elapsed().as_secs_f64();
    channel.close();
    println!(
        "{total} bytes there and back, all inverted: {:.1} MiB/s each way, {wakeups} wake-ups",
        f64::from(mebibytes) / seconds
    );
    Ok(())
}

/// Sends a pattern and checks what comes back. How often it had to wait.
fn exchange(channel: &mut Channel, total: u64) -> Result<u64, Box<dyn Error>> {
    let pattern: Vec<u8> = (0..=250_u8).cycle().take(1 << 16).collect();
    let inverted: Vec<u8> = pattern.iter().map(|byte| !byte).collect();
    let period = 251;
    let at = |position: u64| usize::try_from(position % period).unwrap_or(0);
    let mut buffer = vec![0; 1 << 16];
    let (mut sent, mut received, mut wakeups) = (0_u64, 0_u64, 0);
    while received < total {
        let left = usize::try_from(total - sent).unwrap_or(usize::MAX);
        let rest = &pattern[at(sent)..];
        let written = channel.write(&rest[..rest.len().min(left)])?;
        sent += written as u64;
        let read = channel.read(&mut buffer)?;
        let mut got = &buffer[..read];
        while !got.is_empty() {
            let expected = &inverted[at(received)..];
            let (piece, rest) = got.split_at(got.len().min(expected.len()));
            if !expected.starts_with(piece) {
                return Err(format!("not what was sent, after {received} bytes").into());
            }
            received += piece.len() as u64;
            got = rest;
        }
        if written == 0 && read == 0 {
            channel.wait(sent < total)?;
            wakeups += 1;
        }
    }
    Ok(wakeups)
}
