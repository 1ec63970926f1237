// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel does by itself, without this crate in between: the facts
//! that the crate is built on (`docs/kernel-facts.md`).

use nix::errno::Errno;
use xen_sys::{
    dm_op::{Frame, NrVcpus},
    domid, evtchn, privcmd,
};

use crate::support::{Field, LabGuest, a, b, may_bind, may_dm_op, nobody, open, raw};

const PRIVCMD: &str = "/dev/xen/privcmd";
const EVTCHN: &str = "/dev/xen/evtchn";

fn restrict_evtchn(fd: &std::os::fd::OwnedFd, domid: u16) -> Result<i32, Errno> {
    raw(
        fd,
        evtchn::RESTRICT_DOMID,
        &mut evtchn::RestrictDomid { domid },
    )
}

#[test]
fn privcmd_restricts_once_and_for_all_duplicates() {
    let (a, b) = (a().get(), b().get());
    let fd = open(PRIVCMD);
    let duplicate = fd.try_clone().unwrap();
    assert_eq!(may_dm_op(&fd, b), Ok(0));
    assert_eq!(raw(&fd, privcmd::RESTRICT, &mut a.clone()), Ok(0));
    assert_eq!(raw(&fd, privcmd::RESTRICT, &mut a.clone()), Ok(0));
    assert_eq!(
        raw(&fd, privcmd::RESTRICT, &mut b.clone()),
        Err(Errno::EINVAL)
    );
    let mut invalid = domid::INVALID;
    assert_eq!(
        raw(&fd, privcmd::RESTRICT, &mut invalid),
        Err(Errno::EINVAL)
    );
    for fd in [&fd, &duplicate] {
        assert_eq!(may_dm_op(fd, a), Ok(0));
        for other in [b, domid::DOM0, domid::SELF, domid::INVALID, nobody().get()] {
            assert_eq!(may_dm_op(fd, other), Err(Errno::EPERM), "domid {other:#x}");
        }
        let mut version = privcmd::Hypercall {
            op: xen_sys::hypercall::XEN_VERSION,
            ..Default::default()
        };
        assert_eq!(raw(fd, privcmd::HYPERCALL, &mut version), Err(Errno::EPERM));
    }
}

#[test]
fn privcmd_accepts_the_invalid_domid_and_restricts_nothing() {
    let fd = open(PRIVCMD);
    let mut invalid = domid::INVALID;
    assert_eq!(raw(&fd, privcmd::RESTRICT, &mut invalid), Ok(0));
    assert_eq!(may_dm_op(&fd, a().get()), Ok(0));
    assert_eq!(may_dm_op(&fd, b().get()), Ok(0));
}

#[test]
fn privcmd_accepts_reserved_domids_and_restricts_all() {
    for reserved in [domid::SELF, 0xffff] {
        let fd = open(PRIVCMD);
        assert_eq!(raw(&fd, privcmd::RESTRICT, &mut reserved.clone()), Ok(0));
        assert_eq!(may_dm_op(&fd, a().get()), Err(Errno::EPERM));
    }
}

#[test]
fn a_domain_that_is_not_there_is_esrch_and_another_eperm() {
    let fd = open(PRIVCMD);
    let mut domid = nobody().get();
    assert_eq!(raw(&fd, privcmd::RESTRICT, &mut domid), Ok(0));
    let mut frame = Frame::new(&NrVcpus::default());
    let mut buffer = privcmd::DmOpBuf {
        uptr: frame.as_mut_bytes().as_mut_ptr().expose_provenance() as u64,
        size: frame.as_bytes().len() as u64,
    };
    let mut request = privcmd::DmOp {
        dom: domid,
        num: 1,
        ubufs: (&raw mut buffer).expose_provenance() as u64,
        ..Default::default()
    };
    assert_eq!(raw(&fd, privcmd::DM_OP, &mut request), Err(Errno::ESRCH));
    request.dom = b().get();
    assert_eq!(raw(&fd, privcmd::DM_OP, &mut request), Err(Errno::EPERM));
    let mut size = privcmd::MmapResource {
        dom: b().get(),
        type_: xen_sys::memory::RESOURCE_GRANT_TABLE,
        ..Default::default()
    };
    assert_eq!(
        raw(&fd, privcmd::MMAP_RESOURCE, &mut size),
        Err(Errno::EPERM)
    );
}

#[test]
fn evtchn_restricts_once() {
    let (a, b) = (a().get(), b().get());
    let fd = open(EVTCHN);
    let duplicate = fd.try_clone().unwrap();
    assert_eq!(may_bind(&fd, b), Errno::EINVAL);
    assert_eq!(may_bind(&fd, nobody().get()), Errno::ESRCH);
    assert_eq!(restrict_evtchn(&fd, a), Ok(0));
    for again in [a, b] {
        assert_eq!(restrict_evtchn(&fd, again), Err(Errno::EACCES));
    }
    for fd in [&fd, &duplicate] {
        assert_eq!(may_bind(fd, a), Errno::EINVAL);
        for other in [b, domid::DOM0, domid::SELF, nobody().get()] {
            assert_eq!(may_bind(fd, other), Errno::EACCES, "domid {other:#x}");
        }
        let mut unbound = evtchn::BindUnboundPort {
            remote_domain: a.into(),
        };
        let unbound = raw(fd, evtchn::BIND_UNBOUND_PORT, &mut unbound);
        assert_eq!(unbound, Err(Errno::EACCES));
        let virq = raw(fd, evtchn::BIND_VIRQ, &mut evtchn::BindVirq { virq: 0 });
        assert_eq!(virq, Err(Errno::EACCES));
    }
}

#[test]
fn evtchn_refuses_reserved_domids_and_stays_unrestricted() {
    for reserved in [domid::DOM0, domid::SELF, domid::INVALID, 0xffff] {
        let fd = open(EVTCHN);
        assert_eq!(restrict_evtchn(&fd, reserved), Err(Errno::EINVAL));
        assert_eq!(may_bind(&fd, b().get()), Errno::EINVAL);
    }
}

#[test]
fn evtchn_leaves_old_ports_usable() {
    let guest = LabGuest::new(b());
    let fd = open(EVTCHN);
    let mut bind = evtchn::BindInterdomain {
        remote_domain: b().get().into(),
        remote_port: guest.port(Field::Port3).get(),
    };
    let port = raw(&fd, evtchn::BIND_INTERDOMAIN, &mut bind)
        .unwrap()
        .cast_unsigned();
    assert_eq!(restrict_evtchn(&fd, a().get()), Ok(0));
    let notified = raw(&fd, evtchn::NOTIFY, &mut evtchn::Notify { port });
    assert_eq!(notified, Ok(0), "this is why leftovers are refused");
}

/// Linux 6.6 added the request and does not check it against the restriction;
/// the probe names a port that cannot be.
#[test]
fn bind_static_is_unknown_or_unchecked() {
    let fd = open(EVTCHN);
    assert_eq!(restrict_evtchn(&fd, a().get()), Ok(0));
    let mut impossible = evtchn::BindStatic { port: u32::MAX };
    let answer = raw(&fd, evtchn::BIND_STATIC, &mut impossible).unwrap_err();
    assert!([Errno::ENOSYS, Errno::ENOMEM].contains(&answer), "{answer}");
}
