// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one process has, and the steps it takes.

use std::{
    array,
    collections::HashMap,
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg},
};

use crate::{
    kernel::{self, Answer, Page},
    places::Places,
    step::{Action, Handle, PLACES, Step},
    world::{STATUS, World},
};

/// No frame of the lab's guests, which have 16 MB.
const ABSENT: u64 = 0x00ff_ffff;

/// What all processes have in common, from before the first fork.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) table: Arc<Vec<Step>>,
    pub(crate) world: Arc<World>,
    /// Descriptors travel through it; one is under way at a time.
    pub(crate) mailbox: Arc<(UnixStream, UnixStream)>,
}

/// What a process is told: a step by its place in the table, or the other half of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Step(u32),
    /// Takes what such a step of another process has sent.
    Receive(u32),
    /// Closes and unmaps all.
    End,
}

impl From<Order> for u64 {
    fn from(order: Order) -> Self {
        match order {
            Order::Step(place) => place.into(),
            Order::Receive(place) => Self::from(place) | 1 << 32,
            Order::End => 1 << 33,
        }
    }
}

impl From<u64> for Order {
    fn from(word: u64) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
        let place = word as u32;
        match word >> 32 {
            0 => Self::Step(place),
            1 => Self::Receive(place),
            _ => Self::End,
        }
    }
}

pub(crate) struct Process {
    shared: Shared,
    handles: HashMap<Handle, OwnedFd>,
    pages: [Option<Page>; PLACES as usize],
}

impl Process {
    pub(crate) fn new(shared: Shared) -> Self {
        let (handles, pages) = (HashMap::new(), array::from_fn(|_| None));
        Self {
            shared,
            handles,
            pages,
        }
    }

    pub(crate) fn obey(&mut self, mut places: Places, orders: &[Order]) -> Vec<Answer> {
        let one = |&order: &Order| {
            let step = |place: u32| self.shared.table[place as usize];
            match order {
                Order::End => {
                    self.pages = array::from_fn(|_| None);
                    self.handles.clear();
                    Ok(0)
                }
                Order::Receive(place) => self.receive(step(place).handle),
                Order::Step(place) => {
                    let step = step(place);
                    let answer = self.perform(step, places.named_by(step.action))?;
                    places.keep(step.action, answer);
                    Ok(answer)
                }
            }
        };
        orders.iter().map(one).collect()
    }

    fn perform(&mut self, step: Step, number: u64) -> Answer {
        let Step { handle, action, .. } = step;
        let page = |place: u8| usize::from(place);
        match action {
            Action::Open => {
                let fd = kernel::open(handle.device)?;
                self.handles.insert(handle, fd);
            }
            Action::Duplicate => {
                let copy = self.fd(handle)?.try_clone_to_owned();
                let slot = 1 - handle.slot;
                self.handles
                    .insert(Handle { slot, ..handle }, copy.map_err(|_| Errno::last())?);
            }
            Action::Send(_) => self.send(handle)?,
            Action::Close => drop(self.handles.remove(&handle).ok_or(Errno::EBADF)?),
            Action::Read(place) => {
                let page = self.pages[page(place)].as_ref();
                return page.map(Page::word).ok_or(Errno::EFAULT);
            }
            Action::Unmap(place) => drop(self.pages[page(place)].take().ok_or(Errno::EFAULT)?),
            Action::Map(whom, there, place) => {
                let gfn = if there { STATUS.get() } else { ABSENT };
                let domid = self.shared.world.domid(whom);
                self.pages[page(place)] = Some(kernel::map_frame(self.fd(handle)?, domid, gfn)?);
            }
            Action::MapGrant(_, writable, place) => {
                let new = kernel::map_grant(self.fd(handle)?, number, writable)?;
                self.pages[page(place)] = Some(new);
            }
            _ => return self.request(handle, action, number),
        }
        Ok(0)
    }

    /// One request to a driver, and nothing around it.
    fn request(&self, handle: Handle, action: Action, number: u64) -> Answer {
        let fd = self.fd(handle)?;
        let world = &self.shared.world;
        let domid = |whom| world.domid(whom);
        let port = u32::try_from(number).unwrap_or_default();
        match action {
            Action::Restrict(whom) => kernel::restrict(handle.device, fd, domid(whom)),
            Action::Unknown => kernel::unknown(fd),

            Action::Hypercall => kernel::xen_version(fd),
            Action::Probe(whom) => kernel::dm_op_of(fd, domid(whom), 0),
            Action::Vcpus(whom) => kernel::nr_vcpus(fd, domid(whom)),
            Action::TooMany(whom) => kernel::dm_op_of(fd, domid(whom), 17),
            Action::OldMap(whom) => kernel::old_map(fd, domid(whom)),
            Action::MapNothing(whom) => kernel::map_nothing(fd, domid(whom)),
            Action::MapAgain(whom, place) => {
                let page = self.pages[usize::from(place)].as_ref();
                kernel::map_again(fd, domid(whom), STATUS.get(), page)
            }
            Action::Frames(whom) => kernel::resource_size(fd, domid(whom)),

            Action::Bind(whom, remote, _) => {
                // Nobody has no port: any number will do.
                let guest = world.guest(whom);
                let remote = guest.map_or(1, |guest| guest.ports[usize::from(remote)]);
                kernel::bind(fd, domid(whom), remote)
            }
            Action::BindImpossible(whom) => kernel::bind(fd, domid(whom), u32::MAX),
            Action::Unbound(whom, _) => kernel::unbound(fd, domid(whom)),
            Action::Virq(number, _) => kernel::virq(fd, number),
            Action::StaticImpossible => kernel::static_impossible(fd),
            Action::Notify(_) => kernel::notify(fd, port),
            Action::Unbind(_) => kernel::unbind(fd, port),
            Action::UnbindImpossible => kernel::unbind(fd, u32::MAX),
            Action::Reset => kernel::reset(fd),

            Action::Grant(whom, kind, _) => {
                let guest = world.guest(whom);
                let reference = guest.map_or(8, |guest| guest.reference(kind));
                kernel::grant(fd, domid(whom), reference)
            }
            Action::GrantNothing => kernel::grant_nothing(fd),
            Action::GiveBack(_) => kernel::give_back(fd, number),
            _ => unreachable!("{action:?} is more than a request"),
        }
    }

    fn fd(&self, handle: Handle) -> Result<BorrowedFd<'_>, Errno> {
        self.handles
            .get(&handle)
            .map(AsFd::as_fd)
            .ok_or(Errno::EBADF)
    }

    fn send(&self, handle: Handle) -> Result<(), Errno> {
        let rights = [self.fd(handle)?.as_raw_fd()];
        let mailbox = self.shared.mailbox.0.as_raw_fd();
        let (data, rights) = ([IoSlice::new(&[0])], [ControlMessage::ScmRights(&rights)]);
        sendmsg::<UnixAddr>(mailbox, &data, &rights, MsgFlags::empty(), None).map(drop)
    }

    fn receive(&mut self, handle: Handle) -> Answer {
        let mut space = nix::cmsg_space!(i32);
        let mut byte = [0];
        let mut data = [IoSliceMut::new(&mut byte)];
        let mailbox = self.shared.mailbox.1.as_raw_fd();
        // Nothing comes where nothing could be sent.
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<UnixAddr>(mailbox, &mut data, Some(&mut space), flags);
        let message = match message {
            Err(Errno::EAGAIN) => return Err(Errno::EBADF),
            other => other?,
        };
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = control {
                // SAFETY: the kernel has just made it, for this process alone.
                let fd = unsafe { OwnedFd::from_raw_fd(numbers[0]) };
                self.handles.insert(handle, fd);
                return Ok(0);
            }
        }
        Err(Errno::EPROTO)
    }
}
