// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must stay as it was: guest B, as somebody sees it whose handle is not restricted.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use xen_restrict::{
    Access, Gfn, Guest, GuestId, GuestMemory, IoRange, IoreqServer, PrivCmd, Unrestricted,
};
use xen_sys::dm_op::{Frame, GetIoreqServerInfo, NO_GFNS};

use crate::victim::{run, xl};

const STATUS: Gfn = Gfn::new(0x200);
const PAGE_SIZE: usize = 4096;
/// 16 MB.
const PAGES: u64 = 4096;
/// Pages that B changes by itself: its status, stack, and what it shares with Xen.
const LIVE: usize = 16;

/// What is compared.
#[derive(PartialEq, Eq)]
struct Looks {
    ports: String,
    servers: Vec<Result<(u32, u64, u64), i32>>,
    listed: String,
}

pub(crate) struct Witness {
    guest: Guest,
    id: GuestId,
    _privcmd: PrivCmd<Unrestricted>,
    _server: IoreqServer,
    looks: Looks,
    pages: Vec<Option<Vec<u8>>>,
    live: Vec<usize>,
    orders: u64,
}

impl Witness {
    pub(crate) fn look(id: GuestId) -> Self {
        let privcmd = PrivCmd::open().unwrap();
        let guest = privcmd.guest(id);
        // One that is there, with a range, and answers nothing.
        let server = guest.create_ioreq_server(false).unwrap();
        server.map_range(&IoRange::Ports(0x600..=0x603)).unwrap();
        let mut this = Self {
            looks: looks(&guest, id),
            pages: Vec::new(),
            live: Vec::new(),
            orders: 0,
            guest,
            id,
            _privcmd: privcmd,
            _server: server,
        };
        // What changes while it works is told by comparing twice.
        this.pages = this.memory();
        this.works();
        thread::sleep(Duration::from_millis(100));
        let again = this.memory();
        this.live = this.changed(&again);
        assert!(this.live.contains(&0x200), "its status page did not change");
        assert!(
            this.live.len() <= LIVE,
            "{:x?} changed by themselves",
            this.live
        );
        this
    }

    /// Nothing that B does not do itself has happened to it.
    pub(crate) fn check(&mut self) {
        let changed = self.changed(&self.memory());
        let strange: Vec<_> = changed
            .iter()
            .filter(|page| !self.live.contains(page))
            .collect();
        assert!(strange.is_empty(), "pages {strange:x?} of B changed");
        let looks = looks(&self.guest, self.id);
        assert_eq!(looks.ports, self.looks.ports, "B's event channels");
        assert_eq!(looks.servers, self.looks.servers, "B's ioreq servers");
        assert_eq!(looks.listed, self.looks.listed, "B in `xl list`");
        self.works();
    }

    /// How much is compared, in words.
    pub(crate) fn extent(&self) -> String {
        let there = self.pages.iter().flatten().count();
        format!(
            "{there} pages of B, of which {} change by themselves",
            self.live.len()
        )
    }

    fn memory(&self) -> Vec<Option<Vec<u8>>> {
        let gfns: Vec<_> = (0..PAGES).map(Gfn::new).collect();
        let memory = self.guest.map(&gfns, Access::Read).unwrap();
        let page = |page: usize| {
            let mut bytes = vec![0; PAGE_SIZE];
            memory
                .read(page * PAGE_SIZE, &mut bytes)
                .ok()
                .map(|()| bytes)
        };
        (0..gfns.len()).map(page).collect()
    }

    fn changed(&self, now: &[Option<Vec<u8>>]) -> Vec<usize> {
        let pairs = self.pages.iter().zip(now).enumerate();
        pairs
            .filter(|(_, (old, new))| old != new)
            .map(|(page, _)| page)
            .collect()
    }

    /// It does what it is told: three writes and reads of a port that nobody answers.
    fn works(&mut self) {
        const COMMAND: usize = 0x10;
        const ARGUMENT: usize = 0x18;
        const DONE: usize = 0x20;
        const ITERATIONS: usize = 0x28;
        let status: GuestMemory = self.guest.map(&[STATUS], Access::ReadWrite).unwrap();
        let get = |offset| status.get::<u64>(offset).unwrap();
        let (done, before) = (get(DONE), get(ITERATIONS));
        status.set(ARGUMENT, &3_u64).unwrap();
        status.set(COMMAND, &1_u64).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while get(DONE) == done {
            assert!(Instant::now() < deadline, "B does not answer any more");
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!((get(DONE), get(ITERATIONS)), (done + 1, before + 3));
        self.orders += 1;
    }
}

fn looks(guest: &Guest, id: GuestId) -> Looks {
    let info = |id| {
        let body = GetIoreqServerInfo {
            id,
            flags: NO_GFNS,
            ..Default::default()
        };
        let mut frame = Frame::new(&body);
        match guest.dm_op_raw(&mut [frame.as_mut_bytes()]) {
            Ok(()) => {
                let body = frame.body();
                Ok((body.bufioreq_port, body.ioreq_gfn, body.bufioreq_gfn))
            }
            Err(error) => Err(error
                .cause
                .raw_os_error()
                .unwrap_or(Errno::UnknownErrno as i32)),
        }
    };
    // Its state and its processor time go on.
    let listed = xl(&["list", &id.get().to_string()]);
    let row: Vec<_> = listed
        .lines()
        .last()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    Looks {
        ports: run("lsevtchn", &[&id.get().to_string()]),
        servers: (0..8).map(info).collect(),
        listed: row[..4].join(" "),
    }
}
