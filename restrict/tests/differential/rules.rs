// SPDX-License-Identifier: MIT OR Apache-2.0
//! What privcmd and evtchn answer, each as one table. Where kernels or hypervisors differ,
//! the row says since when.

use nix::errno::Errno;

use crate::{
    kernel::Answer,
    model::{Expected, File, Model, Single},
    step::{Action, Whom},
    world::World,
};

/// Xen's answer to what only a guest of its own kind can be asked.
fn xen(whom: Whom, of_a_guest: Answer) -> Answer {
    match whom {
        Whom::A | Whom::B => of_a_guest,
        // Of dom0, by dom0.
        Whom::Dom0 => Err(Errno::EPERM),
        Whom::Nobody | Whom::Myself | Whom::Invalid | Whom::Last => Err(Errno::ESRCH),
    }
}

pub(crate) fn privcmd(world: &World, file: &File, action: Action) -> Answer {
    let refused = |whom| file.restricted_to.is_some_and(|to| to != world.domid(whom));
    match action {
        Action::Unknown => Err(Errno::ENOTTY),
        Action::Restrict(whom) if refused(whom) => Err(Errno::EINVAL),
        Action::Restrict(_) => Ok(0),
        Action::Hypercall if file.restricted_to.is_some() => Err(Errno::EPERM),
        Action::Hypercall => Ok(world.version),
        // Before the restriction is looked at.
        Action::OldMap(_) if world.pvh => Err(Errno::ENOSYS),
        Action::Probe(whom)
        | Action::Vcpus(whom)
        | Action::TooMany(whom)
        | Action::OldMap(whom)
        | Action::MapNothing(whom)
        | Action::Map(whom, ..)
        | Action::MapAgain(whom, _)
        | Action::Frames(whom)
            if refused(whom) =>
        {
            Err(Errno::EPERM)
        }
        Action::Probe(_) | Action::OldMap(_) => Ok(0),
        // There is no such question before 4.15.
        Action::Vcpus(whom) if world.xen() < (4, 15) => xen(whom, Err(Errno::EOPNOTSUPP)),
        Action::Vcpus(whom) => xen(whom, Ok(1)),
        Action::TooMany(_) => Err(Errno::E2BIG),
        Action::MapNothing(_) | Action::MapAgain(..) => Err(Errno::EINVAL),
        // Before, what one call maps is told, and no domain looked for.
        Action::Frames(_) if world.xen() < (4, 15) || world.linux < (5, 12) => Ok(0),
        Action::Frames(whom) => xen(whom, Ok(0)),
        Action::Map(whom, there, _) => match whom {
            Whom::A | Whom::B if there => Ok(0),
            Whom::A | Whom::B => Err(Errno::EINVAL),
            _ => Err(Errno::ESRCH),
        },
        _ => unreachable!("{action:?} is no request of privcmd"),
    }
}

pub(crate) fn event_channel(model: &Model, file: &File, action: Action) -> Expected {
    let domid = |whom| model.world.domid(whom);
    let restricted = file.restricted_to.is_some();
    let refused = |whom| file.restricted_to.is_some_and(|to| to != domid(whom));
    let port = model.places.named_by(action);
    let is = |answer| Expected::Is(answer);
    let no = |errno| Expected::Is(Err(errno));
    match action {
        Action::Unknown => no(Errno::ENOSYS),
        Action::Restrict(_) if restricted => no(Errno::EACCES),
        Action::Restrict(whom) => match domid(whom) {
            1..xen_sys::domid::SELF => is(Ok(0)),
            _ => no(Errno::EINVAL),
        },
        Action::Virq(..) | Action::Unbound(..) if restricted => no(Errno::EACCES),
        Action::Bind(whom, ..) | Action::BindImpossible(whom) if refused(whom) => no(Errno::EACCES),
        Action::Virq(1, _) if model.taken.contains_key(&Single::DebugInterrupt) => {
            no(Errno::EEXIST)
        }
        Action::Virq(1, _) | Action::Unbound(..) => Expected::APort,
        Action::Virq(..) => no(Errno::EINVAL),
        Action::Bind(whom, port, _) => match whom {
            Whom::A | Whom::B if model.taken.contains_key(&Single::Remote(whom, port)) => {
                no(Errno::EINVAL)
            }
            Whom::A | Whom::B => Expected::APort,
            _ => no(Errno::ESRCH),
        },
        Action::BindImpossible(whom) => match whom {
            Whom::A | Whom::B | Whom::Dom0 | Whom::Myself => no(Errno::EINVAL),
            _ => no(Errno::ESRCH),
        },
        // The request is there, and not looked at, since 6.6.
        Action::StaticImpossible if model.world.linux < (6, 6) => no(Errno::ENOSYS),
        Action::StaticImpossible => no(Errno::ENOMEM),
        Action::Notify(_) | Action::Unbind(_) if file.ports.contains(&port) => is(Ok(0)),
        Action::Notify(_) | Action::Unbind(_) => no(Errno::ENOTCONN),
        Action::UnbindImpossible => no(Errno::EINVAL),
        Action::Reset => is(Ok(0)),
        _ => unreachable!("{action:?} is no request of evtchn"),
    }
}
