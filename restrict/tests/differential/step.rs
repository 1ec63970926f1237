// SPDX-License-Identifier: MIT OR Apache-2.0
//! The alphabet: one thing that one process does to one handle. A sequence reads like a
//! script, and a step travels to its process as its place in the table of all steps.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Device {
    PrivCmd,
    EventChannel,
    Grants,
}

pub(crate) const DEVICES: [Device; 3] = [Device::PrivCmd, Device::EventChannel, Device::Grants];

/// A place for a descriptor in each process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) device: Device,
    pub(crate) slot: u8,
}

pub(crate) const PROCESSES: u8 = 3;
pub(crate) const SLOTS: u8 = 2;
/// Places for numbers of ports, of grants, and, in each process, for mapped pages.
pub(crate) const PLACES: u8 = 2;

/// Whom a step names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whom {
    A,
    B,
    /// A domid that no domain has.
    Nobody,
    Dom0,
    /// `DOMID_SELF`
    Myself,
    /// `DOMID_INVALID`
    Invalid,
    /// 0xFFFF
    Last,
}

const NAMED: &[Whom] = &[Whom::A, Whom::B, Whom::Nobody];
const ALL: &[Whom] = &[
    Whom::A,
    Whom::B,
    Whom::Nobody,
    Whom::Dom0,
    Whom::Myself,
    Whom::Invalid,
    Whom::Last,
];

/// What a reference is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reference {
    Writable,
    ReadOnly,
    /// Nothing is granted by it.
    Absent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Open,
    /// To the other slot.
    Duplicate,
    /// To the same slot of another process.
    Send(u8),
    Close,
    Restrict(Whom),
    /// A request that the driver does not have.
    Unknown,

    Hypercall,
    /// `DM_OP` without buffers.
    Probe(Whom),
    /// `DM_OP` nr_vcpus.
    Vcpus(Whom),
    /// `DM_OP` with one buffer more than the driver takes.
    TooMany(Whom),
    /// `MMAP` of nothing.
    OldMap(Whom),
    /// `MMAPBATCH_V2` of nothing.
    MapNothing(Whom),
    /// `MMAPBATCH_V2` of the status page, or of a frame that is not there, into a place.
    Map(Whom, bool, u8),
    /// The same over what a place has.
    MapAgain(Whom, u8),
    /// `MMAP_RESOURCE` that asks for the size of the grant table.
    Frames(Whom),

    /// `BIND_INTERDOMAIN` to one of a guest's ports; the port goes to a place.
    Bind(Whom, u8, u8),
    BindImpossible(Whom),
    Unbound(Whom, u8),
    Virq(u32, u8),
    /// `BIND_STATIC` of a port that cannot be.
    StaticImpossible,
    Notify(u8),
    Unbind(u8),
    UnbindImpossible,
    Reset,

    /// `MAP_GRANT_REF`; the index goes to a place.
    Grant(Whom, Reference, u8),
    GrantNothing,
    /// mmap of a place's index into a place, writable or not.
    MapGrant(u8, bool, u8),
    /// `UNMAP_GRANT_REF`
    GiveBack(u8),

    /// Reads a place's page.
    Read(u8),
    Unmap(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    pub(crate) process: u8,
    pub(crate) handle: Handle,
    pub(crate) action: Action,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.device {
            Device::PrivCmd => "privcmd",
            Device::EventChannel => "evtchn",
            Device::Grants => "gntdev",
        };
        write!(f, "{name}.{}", self.slot)
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:?}", self.action);
        let (verb, rest) = text.split_at(text.find('(').unwrap_or(text.len()));
        let rest = rest.trim_matches(['(', ')']);
        let (process, handle) = (self.process, self.handle);
        let text = format!("process {process}: {handle:?} {verb} {rest}");
        f.write_str(text.trim_end())
    }
}

/// All that can be done to a handle of a device.
fn actions(device: Device, process: u8) -> Vec<Action> {
    let others = (0..PROCESSES).filter(|&other| other != process);
    let places = || 0..PLACES;
    let mut all = vec![
        Action::Open,
        Action::Duplicate,
        Action::Close,
        Action::Unknown,
    ];
    all.extend(others.map(Action::Send));
    all.extend(ALL.iter().map(|&whom| Action::Restrict(whom)));
    let each = |whoms: &[Whom], make: &dyn Fn(Whom) -> Vec<Action>| {
        whoms
            .iter()
            .flat_map(|&whom| make(whom))
            .collect::<Vec<_>>()
    };
    all.extend(match device {
        Device::PrivCmd => [
            vec![Action::Hypercall],
            each(ALL, &|whom| {
                vec![
                    Action::Probe(whom),
                    Action::Vcpus(whom),
                    Action::TooMany(whom),
                    Action::OldMap(whom),
                    Action::MapNothing(whom),
                    Action::Frames(whom),
                ]
            }),
            // Not dom0: its pages would really be mapped.
            each(NAMED, &|whom| {
                let map = |place| [true, false].map(|there| Action::Map(whom, there, place));
                let again = |place| Action::MapAgain(whom, place);
                places().flat_map(map).chain(places().map(again)).collect()
            }),
        ]
        .concat(),
        Device::EventChannel => [
            vec![
                Action::StaticImpossible,
                Action::UnbindImpossible,
                Action::Reset,
            ],
            places()
                .flat_map(|place| [Action::Notify(place), Action::Unbind(place)])
                .collect(),
            // VIRQ_DEBUG is bound by nobody; there is no 1000.
            places()
                .flat_map(|place| [1, 1000].map(|virq| Action::Virq(virq, place)))
                .collect(),
            each(ALL, &|whom| vec![Action::BindImpossible(whom)]),
            each(NAMED, &|whom| {
                places().map(|place| Action::Unbound(whom, place)).collect()
            }),
            each(NAMED, &|whom| {
                let bind = |place| (0..2).map(move |port| Action::Bind(whom, port, place));
                places().flat_map(bind).collect()
            }),
        ]
        .concat(),
        Device::Grants => [
            vec![Action::GrantNothing],
            places().map(Action::GiveBack).collect(),
            places()
                .flat_map(|place| [false, true].map(|w| (place, w)))
                .flat_map(|(place, w)| places().map(move |page| Action::MapGrant(place, w, page)))
                .collect(),
            // Not dom0: such a grant corrupts its memory where it is a PVH guest.
            each(NAMED, &|whom| {
                let kinds = [Reference::Writable, Reference::ReadOnly, Reference::Absent];
                let grant = |place| kinds.map(|kind| Action::Grant(whom, kind, place));
                places().flat_map(grant).collect()
            }),
        ]
        .concat(),
    });
    if device != Device::EventChannel {
        all.extend(places().flat_map(|place| [Action::Read(place), Action::Unmap(place)]));
    }
    all
}

/// Every step there is.
pub(crate) fn table() -> Vec<Step> {
    let handle = |device| (0..SLOTS).map(move |slot| Handle { device, slot });
    let mut table = Vec::new();
    for process in 0..PROCESSES {
        for handle in DEVICES.into_iter().flat_map(handle) {
            let step = |action| Step {
                process,
                handle,
                action,
            };
            table.extend(actions(handle.device, process).into_iter().map(step));
        }
    }
    table
}
