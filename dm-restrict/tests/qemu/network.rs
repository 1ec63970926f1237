// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest's network card at a bridge of dom0. Its driver is on the disk's third sector, where
//! the first one calls it: it sends one frame, waits for one, and says what that has for it.

use std::{
    arch::global_asm,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::Path,
    process::Command,
    ptr,
};

use nix::{
    errno::Errno,
    sys::{socket::setsockopt, socket::sockopt::ReceiveTimeout, time::TimeVal},
};

use crate::disk::SECTOR;

pub(crate) const BRIDGE: &str = "xenbr0";
/// The line of the guest's config.
pub(crate) const CARD: &str = "vif=[\"mac=00:16:3e:01:02:03,bridge=xenbr0,model=rtl8139\"]";
const ADDRESS: [u8; 6] = [0x00, 0x16, 0x3e, 0x01, 0x02, 0x03];
/// For experiments, by IEEE 802.
const PROTOCOL: u16 = 0x88b5;
const QUESTION: &str = "a frame of the guest";
/// What the guest says when it got it.
pub(crate) const ANSWER: &str = ", and from the bridge";
/// The shortest frame.
const SHORTEST: usize = 60;

// Of the card's data sheet, RTL8139C: 0x00 its address, 0x10 and 0x20 status and place of what
// is sent, 0x30 the ring of what is received, 0x37 the command, 0x44 what is received.
global_asm!(
    ".pushsection .rodata",
    ".globl network_sector",
    "network_sector:",
    ".code16",
    "cld",
    "mov ax, 0xb102", // find the device
    "mov cx, 0x8139",
    "mov dx, 0x10ec",
    "xor si, si",
    "int 0x1a",
    "jc 9f",
    "mov ax, 0xb10c", // it may use its ports, and memory
    "mov di, 4",
    "mov cx, 7",
    "int 0x1a",
    "jc 9f",
    "mov ax, 0xb10a", // its ports
    "mov di, 0x10",
    "int 0x1a",
    "jc 9f",
    "and cx, 0xfffc",
    "mov bp, cx",
    "lea dx, [bp + 0x37]",
    "mov al, 0x10", // reset
    "out dx, al",
    "2: in al, dx",
    "test al, 0x10",
    "jnz 2b",
    "mov al, 0x0c", // send and receive
    "out dx, al",
    "lea dx, [bp + 0x30]",
    "mov eax, 0x9000",
    "out dx, eax",
    "lea dx, [bp + 0x44]",
    "mov eax, 0x82", // what is for it alone, unbroken at the ring's end
    "out dx, eax",
    "mov di, 0x8600", // to all
    "mov ax, 0xffff",
    "mov cx, 3",
    "rep stosw",
    "mov dx, bp", // from it
    "mov cx, 6",
    "3: in al, dx",
    "stosb",
    "inc dx",
    "loop 3b",
    "mov ax, {protocol}",
    "xchg al, ah",
    "stosw",
    "mov si, {question}",
    "mov cx, {length}",
    "rep movsb",
    "lea dx, [bp + 0x20]",
    "mov eax, 0x8600",
    "out dx, eax",
    "lea dx, [bp + 0x10]",
    "mov eax, {shortest}",
    "out dx, eax",
    "lea dx, [bp + 0x37]",
    "4: hlt", // until the next tick
    "in al, dx",
    "test al, 1",
    "jnz 4b",
    "mov si, 0x9012", // behind its length, addresses and protocol
    "ret",
    "9: mov si, {none}",
    "ret",
    ".globl network_sector_end",
    "network_sector_end:",
    ".code64",
    ".popsection",
    protocol = const PROTOCOL,
    question = const LOADED + QUESTION_AT,
    none = const LOADED + NONE_AT,
    length = const QUESTION.len(),
    shortest = const SHORTEST,
);

/// Where the first sector puts it.
const LOADED: usize = 0x8400;
/// Texts of the sector.
const QUESTION_AT: usize = 0x140;
const NONE_AT: usize = 0x180;
const NONE: &str = "the card failed\0";

unsafe extern "C" {
    static network_sector: u8;
    static network_sector_end: u8;
}

/// Adds the driver to a disk.
pub(crate) fn add(path: &Path) {
    let (begin, end) = (&raw const network_sector, &raw const network_sector_end);
    let length = end.addr() - begin.addr();
    assert!(length <= QUESTION_AT, "{length} bytes are too many");
    // SAFETY: the bytes between the two symbols, which are in one section of this program.
    let code = unsafe { ptr::slice_from_raw_parts(begin, length).as_ref() };
    let mut sector = [0; SECTOR];
    sector[..length].copy_from_slice(code.unwrap());
    sector[QUESTION_AT..][..QUESTION.len()].copy_from_slice(QUESTION.as_bytes());
    sector[NONE_AT..][..NONE.len()].copy_from_slice(NONE.as_bytes());
    let disk = File::options().write(true).open(path).unwrap();
    disk.write_all_at(&sector, 2 * SECTOR as u64).unwrap();
}

fn run(line: &str) {
    let status = Command::new("sh").args(["-c", line]).status().unwrap();
    assert!(status.success(), "{line}: {status}");
}

/// A bridge of dom0, up, without an address, and what listens there.
pub(crate) struct Bridge {
    socket: OwnedFd,
}

impl Bridge {
    pub(crate) fn new() -> Self {
        run(&format!(
            "brctl addbr {BRIDGE} && echo 0 >/sys/class/net/{BRIDGE}/bridge/forward_delay && \
             ifconfig {BRIDGE} up"
        ));
        let index = fs::read_to_string(format!("/sys/class/net/{BRIDGE}/ifindex")).unwrap();
        let protocol = PROTOCOL.to_be();
        // SAFETY: makes a descriptor.
        let socket = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                protocol.into(),
            )
        };
        Errno::result(socket).unwrap();
        // SAFETY: it is new and ours.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).unwrap(),
            sll_protocol: protocol,
            sll_ifindex: index.trim().parse().unwrap(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let length = libc::socklen_t::try_from(size_of_val(&address)).unwrap();
        // SAFETY: the kernel reads the address, which lives.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        Errno::result(bound).unwrap();
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(180, 0)).unwrap();
        Self { socket }
    }

    /// Waits for the guest's frame, and answers.
    pub(crate) fn answers(&self) {
        let mut frame = [0; 1600];
        let length = nix::unistd::read(&self.socket, &mut frame);
        let length = length.unwrap_or_else(|error| panic!("no frame of the guest: {error}"));
        let (to, from) = (&frame[..6], &frame[6..12]);
        assert_eq!((to, from), (&[0xff; 6][..], &ADDRESS[..]));
        let text = &frame[14..length];
        assert!(text.starts_with(QUESTION.as_bytes()), "{text:?}");

        let mut answer = [0; SHORTEST];
        answer[..6].copy_from_slice(&ADDRESS);
        // Another's, which no device has.
        answer[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 1]);
        answer[12..14].copy_from_slice(&PROTOCOL.to_be_bytes());
        answer[14..][..ANSWER.len()].copy_from_slice(ANSWER.as_bytes());
        let sent = nix::unistd::write(&self.socket, &answer).unwrap();
        assert_eq!(sent, answer.len());
    }

    /// Its ports, by their names.
    pub(crate) fn ports() -> io::Result<Vec<String>> {
        let ports = fs::read_dir(format!("/sys/class/net/{BRIDGE}/brif"))?;
        let name = |port: io::Result<fs::DirEntry>| Ok(port?.file_name().into_string().unwrap());
        let mut ports: Vec<_> = ports.map(name).collect::<io::Result<_>>()?;
        ports.sort();
        Ok(ports)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let line = format!("ifconfig {BRIDGE} down; brctl delbr {BRIDGE}");
        let _ = Command::new("sh").args(["-c", &line]).status();
    }
}
