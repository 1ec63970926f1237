// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles opened, used, restricted and closed in any order, next to a model. Without Xen
//! no handle can be restricted, so each restriction is one that fails or revokes: after
//! it there must be no unrestricted descriptor, and an error where the model has one.

use std::{os::fd::AsFd, path::PathBuf};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    handle::Ticket,
    ids::{IoreqServerId, Port},
    leftover::Held,
};

/// Which of the handles that there are.
type Which = prop::sample::Index;

#[derive(Clone, Debug)]
enum Step {
    Open(Device),
    /// As one that was handed over, restricted to a guest.
    Adopt(Device, GuestId),
    Record(Which, Option<GuestId>, Held),
    /// Undoes the oldest that is held.
    Undo(Which),
    Restrict(Which, GuestId),
    RestrictAll(GuestId),
    Close(Which),
}

fn guest() -> impl Strategy<Value = GuestId> {
    (1_u16..4).prop_map(|domid| GuestId::new(domid).unwrap())
}

fn device() -> impl Strategy<Value = Device> {
    use Device::{EventChannel, GrantAllocator, GrantDevice, PrivCmd};
    prop::sample::select(vec![PrivCmd, EventChannel, GrantDevice, GrantAllocator])
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        Just(Held::Port(Port::new(9))),
        Just(Held::Memory(1)),
        Just(Held::Grants(2)),
        Just(Held::IoreqServer(IoreqServerId::new(0))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<Which>;
    prop_oneof![
        4 => device().prop_map(Step::Open),
        2 => (device(), guest()).prop_map(|(device, guest)| Step::Adopt(device, guest)),
        4 => (which(), prop::option::of(guest()), held())
            .prop_map(|(which, domain, held)| Step::Record(which, domain, held)),
        2 => which().prop_map(Step::Undo),
        3 => (which(), guest()).prop_map(|(which, guest)| Step::Restrict(which, guest)),
        1 => guest().prop_map(Step::RestrictAll),
        1 => which().prop_map(Step::Close),
    ]
}

/// What becomes of a restriction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Fine,
    Leftovers,
    Failed,
}

impl From<&Result<()>> for End {
    fn from(result: &Result<()>) -> Self {
        match result {
            Ok(()) => Self::Fine,
            Err(error) if matches!(error.cause, Cause::Leftovers(_)) => Self::Leftovers,
            Err(_) => Self::Failed,
        }
    }
}

/// A handle, and what is known of it.
struct Known {
    handle: Arc<Handle>,
    restricted: Option<GuestId>,
    revoked: bool,
    held: Vec<(Option<GuestId>, Held, Ticket)>,
}

impl Known {
    fn behind(&self) -> PathBuf {
        let number = self.handle.as_fd().as_raw_fd();
        std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap()
    }

    fn can_be_restricted(&self) -> bool {
        matches!(self.handle.device(), Device::PrivCmd | Device::EventChannel)
    }

    /// `of_all`: that one was revoked before is no error there.
    fn restrict(&mut self, guest: GuestId, of_all: bool) -> End {
        let revoked = std::mem::replace(&mut self.revoked, true);
        let foreign = |(domain, held, _): &&(Option<GuestId>, Held, Ticket)| {
            let closed = revoked && matches!(held, Held::Port(_));
            *domain != Some(guest) && !closed
        };
        if self.held.iter().find(foreign).is_some() {
            return End::Leftovers;
        }
        match (self.can_be_restricted(), revoked, self.restricted) {
            (true, true, _) if of_all => End::Fine,
            // The kernel has no such request for /dev/zero.
            (true, ..) => End::Failed,
            (false, true, _) | (false, false, None) => End::Fine,
            (false, false, Some(to)) if to == guest => {
                self.revoked = false;
                End::Fine
            }
            (false, false, Some(_)) => End::Failed,
        }
    }

    /// No usable descriptor that is not what the model says.
    fn is_as_known(&self) {
        let expected = if self.revoked {
            "/dev/null"
        } else {
            "/dev/zero"
        };
        assert_eq!(self.behind(), PathBuf::from(expected));
        assert_eq!(self.handle.state().is_revoked(), self.revoked);
        assert_eq!(self.handle.state().restricted(), self.restricted);
    }
}

#[derive(Default)]
struct Process {
    registry: Registry,
    known: Vec<Known>,
}

impl Process {
    fn admit(&mut self, device: Device, restricted: Option<GuestId>) {
        let mut opened = false;
        let outcome = self.registry.admit(device, restricted, || {
            opened = true;
            Ok(File::open("/dev/zero").unwrap().into())
        });
        let latch = self.registry.latch;
        let allowed = latch.is_none() || latch == restricted;
        assert_eq!((outcome.is_ok(), opened), (allowed, allowed), "{outcome:?}");
        if let Ok(handle) = outcome {
            self.known.push(Known {
                handle,
                restricted,
                revoked: false,
                held: Vec::new(),
            });
        }
    }

    fn one(&mut self, which: &Which) -> Option<&mut Known> {
        let count = self.known.len();
        (count > 0).then(|| &mut self.known[which.index(count)])
    }

    fn restrict_all(&mut self, guest: GuestId) {
        let latch = self.registry.latch;
        let outcome = self.registry.restrict_all(guest);
        if latch.is_some_and(|to| to != guest) {
            assert_eq!(End::from(&outcome), End::Failed);
            assert_eq!(self.registry.latch, latch);
            return;
        }
        assert_eq!(self.registry.latch, Some(guest));
        // Each of them, whatever became of the others; the first error is told.
        let ends = self
            .known
            .iter_mut()
            .map(|known| known.restrict(guest, true));
        let ends: Vec<_> = ends.collect();
        let first = ends.into_iter().find(|end| *end != End::Fine);
        assert_eq!(
            End::from(&outcome),
            first.unwrap_or(End::Fine),
            "{outcome:?}"
        );
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open(device) => self.admit(device, None),
            Step::Adopt(device, guest) => self.admit(device, Some(guest)),
            Step::Record(which, domain, held) => {
                if let Some(known) = self.one(&which) {
                    let recorded = known.handle.record(domain, || Ok(((), held.clone())));
                    known.held.push((domain, held, recorded.unwrap().1));
                }
            }
            Step::Undo(which) => {
                if let Some(known) = self.one(&which)
                    && !known.held.is_empty()
                {
                    known.held.remove(0);
                }
            }
            Step::Restrict(which, guest) => {
                if let Some(known) = self.one(&which) {
                    let outcome = known.handle.restrict(guest);
                    assert_eq!(
                        End::from(&outcome),
                        known.restrict(guest, false),
                        "{outcome:?}"
                    );
                }
            }
            Step::RestrictAll(guest) => self.restrict_all(guest),
            Step::Close(which) => {
                if let Some(at) = (!self.known.is_empty()).then(|| which.index(self.known.len())) {
                    let known = self.known.remove(at);
                    // What `dismiss` does for the process's own registry.
                    self.registry
                        .handles
                        .retain(|other| !other.is(known.handle.state()));
                }
            }
        }
        self.known.iter().for_each(Known::is_as_known);
    }
}

proptest! {
    #[test]
    fn no_unrestricted_descriptor_is_left_behind(steps in vec(step(), 0..40)) {
        let mut process = Process::default();
        steps.into_iter().for_each(|step| process.take(step));
        // In the end, all at once.
        let guest = process.registry.latch.unwrap_or(GuestId::MIN);
        process.restrict_all(guest);
        for known in &process.known {
            assert!(known.revoked || known.restricted == Some(guest));
        }
    }
}
