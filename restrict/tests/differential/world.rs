// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is there before the first step: the guests, and which kernel answers.

use std::{env, fs};

use xen_restrict::{Access, Gfn, GuestId, PrivCmd, Unrestricted};

use crate::step::{Reference, Whom};

pub(crate) const STATUS: Gfn = Gfn::new(0x200);

/// A guest of the lab: words of its status page (`docs/lab.md`).
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) id: u16,
    pub(crate) ports: [u32; 2],
    first_writable: u32,
    first_read_only: u32,
}

impl Guest {
    fn look(privcmd: &PrivCmd<Unrestricted>, variable: &str) -> Self {
        let text = env::var(variable).expect("run with `cargo lab test`");
        let id: GuestId = text.parse().unwrap();
        let view = privcmd.guest(id);
        let status = view.map(&[STATUS], Access::Read).unwrap();
        let word = |offset| u32::try_from(status.get::<u64>(offset).unwrap()).unwrap();
        Self {
            id: id.get(),
            ports: [word(0x80), word(0x88)],
            first_writable: word(0x48),
            first_read_only: word(0x58),
        }
    }

    pub(crate) fn reference(&self, kind: Reference) -> u32 {
        match kind {
            Reference::Writable => self.first_writable,
            Reference::ReadOnly => self.first_read_only,
            Reference::Absent => 400,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) a: Guest,
    pub(crate) b: Guest,
    /// Xen's, as the hypercall tells it.
    pub(crate) version: u64,
    pub(crate) linux: (u32, u32),
    pub(crate) pvh: bool,
}

impl World {
    pub(crate) fn look() -> Self {
        let privcmd = PrivCmd::open().unwrap();
        let xen = privcmd.xen_version().unwrap();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map(|n| n.parse().unwrap());
        let kind = fs::read_to_string("/sys/hypervisor/guest_type").unwrap();
        Self {
            a: Guest::look(&privcmd, "XEN_LAB_A"),
            b: Guest::look(&privcmd, "XEN_LAB_B"),
            version: u64::from(xen.0) << 16 | u64::from(xen.1),
            linux: (numbers.next().unwrap(), numbers.next().unwrap()),
            pvh: kind.trim() == "PVH",
        }
    }

    /// One that is nowhere, for the model alone.
    pub(crate) fn made_up() -> Self {
        let guest = |id| Guest {
            id,
            ports: [4, 5],
            first_writable: 8,
            first_read_only: 16,
        };
        Self {
            a: guest(1),
            b: guest(2),
            version: 4 << 16 | 20,
            linux: (6, 12),
            pvh: false,
        }
    }

    pub(crate) fn xen(&self) -> (u64, u64) {
        (self.version >> 16, self.version & 0xffff)
    }

    pub(crate) fn domid(&self, whom: Whom) -> u16 {
        match whom {
            Whom::A => self.a.id,
            Whom::B => self.b.id,
            Whom::Nobody => 32_000,
            Whom::Dom0 => xen_sys::domid::DOM0,
            Whom::Myself => xen_sys::domid::SELF,
            Whom::Invalid => xen_sys::domid::INVALID,
            Whom::Last => 0xffff,
        }
    }

    pub(crate) fn guest(&self, whom: Whom) -> Option<&Guest> {
        match whom {
            Whom::A => Some(&self.a),
            Whom::B => Some(&self.b),
            _ => None,
        }
    }
}
