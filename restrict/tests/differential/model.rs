// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the drivers remember, and what they will answer: the reference that the kernel is
//! compared with. No code of theirs, and no descriptor, is in it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use nix::errno::Errno;

use crate::{
    kernel::Answer,
    places::Places,
    rules,
    step::{Action, Device, Handle, Reference, Step, Whom},
    world::World,
};

/// What a step is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Is(Answer),
    /// A port that nobody has here: Xen chooses it.
    APort,
}

/// A reserved index of gntdev.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    index: u64,
    whom: Whom,
    kind: Reference,
    /// One mmap of it was tried: there is no second.
    spent: bool,
}

/// An open file description.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) restricted_to: Option<u16>,
    pub(crate) ports: BTreeSet<u64>,
    reserved: Vec<Reserved>,
}

/// Who has bound what of the things of which there is one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Single {
    Remote(Whom, u8),
    DebugInterrupt,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) world: Arc<World>,
    handles: HashMap<(u8, Handle), usize>,
    files: HashMap<usize, File>,
    opened: usize,
    pub(crate) places: Places,
    /// The word that each process reads.
    pages: HashMap<(u8, u8), u64>,
    pub(crate) taken: HashMap<Single, u64>,
}

impl Model {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self {
            world,
            handles: HashMap::new(),
            files: HashMap::new(),
            opened: 0,
            places: Places::EMPTY,
            pages: HashMap::new(),
            taken: HashMap::new(),
        }
    }

    pub(crate) fn file(&self, step: Step) -> Option<&File> {
        self.files
            .get(self.handles.get(&(step.process, step.handle))?)
    }

    /// What the kernel is to answer.
    pub(crate) fn expect(&self, step: Step) -> Expected {
        let page = |place| self.pages.get(&(step.process, place));
        match step.action {
            Action::Open => return Expected::Is(Ok(0)),
            Action::Read(place) => {
                return Expected::Is(page(place).copied().ok_or(Errno::EFAULT));
            }
            Action::Unmap(place) => {
                return Expected::Is(page(place).map(|_| 0).ok_or(Errno::EFAULT));
            }
            _ => {}
        }
        let Some(file) = self.file(step) else {
            return Expected::Is(Err(Errno::EBADF));
        };
        match (step.action, step.handle.device) {
            (Action::Duplicate | Action::Send(_) | Action::Close, _) => Expected::Is(Ok(0)),
            (_, Device::PrivCmd) => Expected::Is(rules::privcmd(&self.world, file, step.action)),
            (_, Device::EventChannel) => rules::event_channel(self, file, step.action),
            (_, Device::Grants) => Expected::Is(self.grants(file, step.action)),
        }
    }

    fn grants(&self, file: &File, action: Action) -> Answer {
        let found = file
            .reserved
            .iter()
            .find(|r| r.index == self.places.named_by(action));
        match action {
            Action::Grant(..) => Ok(file.free_index()),
            Action::MapGrant(_, writable, _) => {
                let reserved = found.ok_or(Errno::EINVAL)?;
                let granted = self.world.guest(reserved.whom).is_some()
                    && match reserved.kind {
                        Reference::Writable => true,
                        Reference::ReadOnly => !writable,
                        Reference::Absent => false,
                    };
                if granted && !reserved.spent {
                    Ok(0)
                } else {
                    Err(Errno::EINVAL)
                }
            }
            Action::GiveBack(_) => found.map(|_| 0).ok_or(Errno::ENOENT),
            Action::GrantNothing => Err(Errno::EINVAL),
            // It has nothing that restricts it.
            _ => Err(Errno::ENOTTY),
        }
    }

    /// Takes over what a step did, which was answered as expected.
    pub(crate) fn learn(&mut self, step: Step, answer: Answer) {
        let Step {
            process,
            handle,
            action,
        } = step;
        let value = self.places.named_by(action);
        if let Action::MapGrant(..) = action {
            let reserved = self
                .file_mut(step)
                .and_then(|file| file.reserved_mut(value));
            let reserved = reserved.map(|r| std::mem::replace(r, Reserved { spent: true, ..*r }));
            if let (Action::MapGrant(_, _, place), Ok(_), Some(r)) = (action, answer, reserved) {
                let domid = u64::from(self.world.domid(r.whom));
                // The first granted page, of both kinds (docs/lab.md).
                self.pages.insert((process, place), domid << 48 | 8);
            }
        }
        let Ok(answer) = answer else {
            return;
        };
        self.places.keep(action, answer);
        match action {
            Action::Open => {
                self.opened += 1;
                self.files.insert(self.opened, File::new());
                self.put(process, handle, Some(self.opened));
            }
            Action::Duplicate => {
                let slot = 1 - handle.slot;
                let file = self.handles.get(&(process, handle)).copied();
                self.put(process, Handle { slot, ..handle }, file);
            }
            Action::Send(to) => {
                let file = self.handles.get(&(process, handle)).copied();
                self.put(to, handle, file);
            }
            Action::Close => self.put(process, handle, None),
            Action::Restrict(whom) => self.restrict(step, self.world.domid(whom)),
            Action::Map(whom, _, place) => {
                self.pages
                    .insert((process, place), self.world.domid(whom).into());
            }
            Action::Unmap(place) => drop(self.pages.remove(&(process, place))),
            Action::Bind(whom, port, _) => {
                self.bound(step, answer, Some(Single::Remote(whom, port)));
            }
            Action::Virq(..) => self.bound(step, answer, Some(Single::DebugInterrupt)),
            Action::Unbound(..) => self.bound(step, answer, None),
            Action::Unbind(_) => {
                self.file_mut(step).unwrap().ports.remove(&value);
                self.taken.retain(|_, port| *port != value);
            }
            Action::Grant(whom, kind, _) => {
                let reserved = Reserved {
                    index: answer,
                    whom,
                    kind,
                    spent: false,
                };
                self.file_mut(step).unwrap().reserved.push(reserved);
            }
            Action::GiveBack(_) => {
                self.file_mut(step)
                    .unwrap()
                    .reserved
                    .retain(|r| r.index != value);
            }
            _ => {}
        }
    }

    fn file_mut(&mut self, step: Step) -> Option<&mut File> {
        self.files
            .get_mut(self.handles.get(&(step.process, step.handle))?)
    }

    fn restrict(&mut self, step: Step, domid: u16) {
        // privcmd says yes to it, and restricts nothing.
        if domid != xen_sys::domid::INVALID {
            self.file_mut(step).unwrap().restricted_to = Some(domid);
        }
    }

    fn bound(&mut self, step: Step, port: u64, single: Option<Single>) {
        self.file_mut(step).unwrap().ports.insert(port);
        self.taken.extend(single.map(|single| (single, port)));
    }

    /// Puts a file into a slot; one that nobody has any more is gone, with its ports.
    fn put(&mut self, process: u8, handle: Handle, file: Option<usize>) {
        let before = match file {
            Some(file) => self.handles.insert((process, handle), file),
            None => self.handles.remove(&(process, handle)),
        };
        if let Some(before) = before
            && self.handles.values().all(|&other| other != before)
        {
            let gone = self.files.remove(&before).unwrap();
            self.taken.retain(|_, port| !gone.ports.contains(port));
        }
    }

    /// Is a port bound by any file?
    pub(crate) fn is_bound(&self, port: u64) -> bool {
        self.files.values().any(|file| file.ports.contains(&port))
    }
}

impl File {
    fn new() -> Self {
        Self {
            restricted_to: None,
            ports: BTreeSet::new(),
            reserved: Vec::new(),
        }
    }

    fn reserved_mut(&mut self, index: u64) -> Option<&mut Reserved> {
        self.reserved.iter_mut().find(|r| r.index == index)
    }

    /// gntdev puts an index behind the first ones without a gap of more than one page
    /// after them: it wants one more than it needs.
    fn free_index(&self) -> u64 {
        let mut taken: Vec<u64> = self.reserved.iter().map(|r| r.index / 4096).collect();
        taken.sort_unstable();
        let mut index = 0;
        for other in taken {
            if index + 1 < other {
                break;
            }
            index = other + 1;
        }
        index * 4096
    }
}
