// SPDX-License-Identifier: MIT OR Apache-2.0
//! A PVH guest of one vcpu for tests in dom0.
//!
//! It has no devices. Dom0 talks to it through its *status page* (guest frame 0x200), whose
//! words `layout::word` names and docs/lab.md explains, through four event channels, and
//! through pages it grants. What it does all day is one loop: answer events, do what the
//! command word says, or sleep.

#![no_std]
#![no_main]

mod cpu;
mod layout;
mod mem;
mod ring;
mod xen;

use core::arch::global_asm;

use layout::word;

global_asm!(include_str!("boot.s"), options(att_syntax));

const IDLE_NANOSECONDS: u64 = 5_000_000;

/// What dom0 writes into the command word.
mod command {
    pub(crate) const PORT_IO: u64 = 1;
    pub(crate) const MMIO: u64 = 2;
    pub(crate) const SHUTDOWN: u64 = 3;
    pub(crate) const PORT_IO_SIZES: u64 = 4;
    pub(crate) const RING: u64 = 5;
    pub(crate) const CONSOLE: u64 = 6;
}

fn status(offset: u64) -> u64 {
    mem::read(layout::STATUS * 4096 + offset)
}

fn set_status(offset: u64, value: u64) {
    mem::write(layout::STATUS * 4096 + offset, value);
}

fn count(offset: u64) {
    set_status(offset, status(offset).wrapping_add(1));
}

/// Where boot.s arrives.
#[unsafe(no_mangle)]
extern "C" fn rust_main() -> ! {
    if let Some(ports) = set_up() {
        set_status(word::MAGIC, layout::MAGIC);
        serve(&ports);
    }
    // Not set up: the magic never appears. The domain stays for dom0 to look at.
    loop {
        core::hint::spin_loop();
    }
}

fn set_up() -> Option<[u32; 4]> {
    for offset in (0..4096).step_by(8) {
        set_status(offset, 0);
    }
    let domid = xen::start()?;
    set_status(word::DOMID, domid);
    if !xen::map_shared_pages() {
        return None;
    }

    mem::fill(layout::PATTERN, domid << 48);
    set_status(word::PATTERN_FRAME, layout::PATTERN);

    for i in 0..layout::GRANTED_RW_COUNT {
        mem::fill(layout::GRANTED_RW + i, domid << 48 | i << 32);
    }
    for i in 0..layout::GRANTED_RO_COUNT {
        mem::fill(layout::GRANTED_RO + i, domid << 48 | i << 32);
    }
    for i in 0..layout::BULK_COUNT {
        let name = layout::BULK_BASE + i;
        mem::fill(layout::BULK + i, domid << 48 | name << 32);
    }
    xen::grant(
        layout::FIRST_BULK_REFERENCE,
        layout::BULK,
        layout::BULK_COUNT,
        false,
    );
    set_status(word::BULK_REFERENCE, layout::FIRST_BULK_REFERENCE);
    set_status(word::BULK_COUNT, layout::BULK_COUNT);
    set_status(word::BULK_FRAME, layout::BULK);
    xen::grant(
        layout::FIRST_RW_REFERENCE,
        layout::GRANTED_RW,
        layout::GRANTED_RW_COUNT,
        false,
    );
    xen::grant(
        layout::FIRST_RO_REFERENCE,
        layout::GRANTED_RO,
        layout::GRANTED_RO_COUNT,
        true,
    );
    set_status(word::RW_REFERENCE, layout::FIRST_RW_REFERENCE);
    set_status(word::RW_COUNT, layout::GRANTED_RW_COUNT);
    set_status(word::RW_FRAME, layout::GRANTED_RW);
    set_status(word::RO_REFERENCE, layout::FIRST_RO_REFERENCE);
    set_status(word::RO_COUNT, layout::GRANTED_RO_COUNT);
    set_status(word::RO_FRAME, layout::GRANTED_RO);

    let mut ports = [0; 4];
    for (port, offset) in ports.iter_mut().zip(word::PORTS) {
        *port = xen::port_for_dom0()?;
        set_status(offset, u64::from(*port));
    }
    Some(ports)
}

fn serve(ports: &[u32; 4]) -> ! {
    loop {
        answer_events(ports);
        let command = status(word::COMMAND);
        match command {
            command::PORT_IO => run(command, ports, port_io),
            command::MMIO => run(command, ports, mmio),
            command::PORT_IO_SIZES => run(command, ports, port_io_sizes),
            command::RING => serve_ring(ports),
            command::CONSOLE => run(command, ports, console),
            command::SHUTDOWN => xen::power_off(),
            _ => xen::sleep(ports, IDLE_NANOSECONDS),
        }
    }
}

fn answer_events(ports: &[u32]) {
    for (&port, counter) in ports.iter().zip(word::EVENTS) {
        if xen::take_event(port) {
            count(counter);
            xen::notify(port);
        }
    }
}

/// Repeats one iteration as often as the argument says, or until the command changes.
fn run(command: u64, ports: &[u32; 4], iteration: fn(u32) -> bool) {
    let wanted = status(word::ARGUMENT);
    let mut k: u64 = 0;
    while (wanted == 0 || k < wanted) && status(word::COMMAND) == command {
        if !iteration(k as u32) {
            count(word::ERRORS);
        }
        count(word::ITERATIONS);
        k += 1;
        answer_events(ports);
    }
    finish(command);
}

fn finish(command: u64) {
    // A command that dom0 wrote meanwhile is not overwritten.
    if status(word::COMMAND) == command {
        set_status(word::COMMAND, 0);
    }
    count(word::DONE);
}

/// Until the command changes. The last port is the ring's: its events are not answered.
fn serve_ring(ports: &[u32; 4]) {
    let [others @ .., rings] = ports;
    ring::open();
    while status(word::COMMAND) == command::RING {
        answer_events(others);
        xen::take_event(*rings);
        match ring::step(|| xen::notify(*rings)) {
            ring::Step::Moved => count(word::ITERATIONS),
            ring::Step::Idle => xen::sleep(ports, IDLE_NANOSECONDS),
            ring::Step::Nonsense => {
                count(word::ERRORS);
                break;
            }
        }
    }
    ring::close(status(word::DOMID));
    finish(command::RING);
}

fn port_io(k: u32) -> bool {
    cpu::out32(layout::IO_PORT, k);
    cpu::in32(layout::IO_PORT) == !k
}

fn port_io_sizes(k: u32) -> bool {
    cpu::out8(layout::IO_PORT, k as u8);
    let byte = cpu::in8(layout::IO_PORT) == !(k as u8);
    cpu::out16(layout::IO_PORT, k as u16);
    let half = cpu::in16(layout::IO_PORT) == !(k as u16);
    byte & half & port_io(k)
}

/// Writes a line to the first serial port, as a driver does that polls.
fn console(k: u32) -> bool {
    let mut fine = true;
    let mut send = |byte: u8| {
        let status = loop {
            let status = cpu::in8(layout::SERIAL + layout::SERIAL_LINE_STATUS);
            if status & layout::SERIAL_EMPTY != 0 {
                break status;
            }
        };
        // All ones: nobody is there.
        fine &= status != 0xff;
        cpu::out8(layout::SERIAL, byte);
    };
    for byte in *b"line " {
        send(byte);
    }
    let mut divisor = 1_000_000_000;
    while divisor > 1 && k < divisor {
        divisor /= 10;
    }
    while divisor > 0 {
        send(b'0' + (k / divisor % 10) as u8);
        divisor /= 10;
    }
    send(b'\n');
    fine
}

fn mmio(k: u32) -> bool {
    mem::write32(layout::MMIO, k);
    mem::read32(layout::MMIO) == !k
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
