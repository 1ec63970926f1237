// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device model that is confined to its guest, and then tries to get out.
//!
//! `cargo lab demo` runs it in dom0 of an emulated machine, with the domids of
//! two guests: A is its own, B is somebody else's. It runs twice: restricting itself,
//! with all else that root may do; and, with `--confined`, started by `dm-restrict run
//! --seal-mapping`, which restricted its handles before and leaves it next to nothing of
//! dom0.

mod attempts;
mod confined;

use std::{env, error::Error, io, process::ExitCode, time::Duration};

use xen_restrict::{
    Access, EventChannel, Gfn, GrantDevice, GuestId, IoRange, IoRequest, Port, PrivCmd, Restricted,
    SharedMemory, restrict_all,
};

/// The page through which guest A is told what to do (`lab/guest`).
const STATUS: Gfn = Gfn::new(0x200);
const DOMID: usize = 0x08;
const COMMAND: usize = 0x10;
const ITERATIONS: usize = 0x18;
const DONE: usize = 0x20;
const ERRORS: usize = 0x30;
const PORT_IO: u64 = 1;

/// The device: the guest reads the complement of what it wrote last.
#[derive(Default)]
struct Complement {
    last: u32,
    answered: u32,
}

impl Complement {
    fn answer(&mut self, request: &IoRequest) -> u64 {
        self.answered += 1;
        if !request.read {
            self.last = u32::try_from(request.data & 0xffff_ffff).unwrap_or(0);
        }
        u64::from(!self.last)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprint!("device_model: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(a), Some(b), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err(
            "usage: device_model DOMID_A DOMID_B, or device_model --confined DOMID_B".into(),
        );
    };
    if a == "--confined" {
        return run_confined(b.parse()?);
    }
    let (a, b): (GuestId, GuestId) = (a.parse()?, b.parse()?);

    // What an unrestricted process can do, for comparison.
    let before = attempts::unrestricted(a, b)?;

    // A device model opens its handles while it may ...
    let privcmd = PrivCmd::open()?;
    let events = EventChannel::open()?;
    let grants = GrantDevice::open()?;
    let attacker = attempts::Handles::open()?;

    // ... and gives up everything that is not about its guest.
    restrict_all(a)?;
    let privcmd = privcmd.restrict(a)?;
    let events = events.restrict(a)?;
    let _revoked = grants.restrict(a)?;
    println!("restricted to {a}: every Xen handle of this process, for good\n");

    serve(&privcmd, &events, || Ok(()))?;

    // The guest has taken the device model over. What can it reach?
    let after = attacker.all(a, b);
    Ok(attempts::print(a, b, &before, &after))
}

/// The same device model, as a launcher starts it.
fn run_confined(b: GuestId) -> Result<bool, Box<dyn Error>> {
    let given = confined::receive()?;
    println!(
        "handed over: handles restricted to {}\n",
        given.privcmd.restricted_to()
    );
    serve(&given.privcmd, &given.events, || confined::ready(&given))?;
    Ok(confined::attack(&given, b))
}

/// Does the device model's work, with restricted handles only. Calls `ready` when
/// nothing is left to set up.
fn serve(
    privcmd: &PrivCmd<Restricted>,
    events: &EventChannel<Restricted>,
    ready: impl FnOnce() -> io::Result<()>,
) -> Result<(), Box<dyn Error>> {
    let guest = privcmd.guest();
    let status = guest.map(&[STATUS], Access::ReadWrite)?;

    let server = guest.create_ioreq_server(false)?;
    server.map_range(&IoRange::Ports(0x500..=0x503))?;
    let mut requests = server.start(events, 1)?;
    ready()?;

    let mut queue = [Port::new(0); 16];
    let mut device = Complement::default();
    let errors = status.get::<u64>(ERRORS)?;
    let done = order(&status, 1024)?;
    while status.get::<u64>(DONE)? == done {
        let timeout = Duration::from_secs(10);
        let served = requests.serve(events, timeout, &mut queue, |r| device.answer(r))?;
        events.unmask(served.others)?;
    }
    let wrong = status.get::<u64>(ERRORS)? - errors;
    let domid = status.get::<u64>(DOMID)?;
    println!(
        "answered {} I/O requests of {}",
        device.answered,
        guest.id()
    );
    println!("  the guest found {wrong} answers wrong");
    println!("  the guest's memory says that it is domain {domid}\n");
    if device.answered < 2000 || wrong != 0 || domid != u64::from(guest.id().get()) {
        return Err("the device model could not do its work".into());
    }
    server.close()?;
    Ok(())
}

/// Tells the guest to write and read its port so often; returns what `DONE` is
/// until it has.
fn order(status: &SharedMemory, iterations: u64) -> Result<u64, Box<dyn Error>> {
    let done = status.get(DONE)?;
    status.set(ITERATIONS, &iterations)?;
    status.set(COMMAND, &PORT_IO)?;
    Ok(done)
}
