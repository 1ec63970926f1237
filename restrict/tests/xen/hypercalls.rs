// SPDX-License-Identifier: MIT OR Apache-2.0
//! Raw hypercalls, before restriction only.

use xen_restrict::{Cause, PrivCmd, restrict_all};
use xen_sys::{hvm_op, hypercall, version};

use crate::support::{a, alone, nobody};

#[test]
fn xen_tells_its_version_by_value_and_by_buffer() {
    let privcmd = PrivCmd::open().unwrap();
    let (major, minor) = privcmd.xen_version().unwrap();
    assert_eq!(major, 4);
    let release = std::fs::read_to_string("/sys/hypervisor/version/minor").unwrap();
    assert_eq!(release.trim(), minor.to_string());
    let buffer = privcmd.hypercall_buffer(64).unwrap();
    let arguments = [version::EXTRAVERSION.into(), buffer.address(), 0, 0, 0];
    // SAFETY: the operation writes 16 bytes into the buffer.
    unsafe { privcmd.hypercall(hypercall::XEN_VERSION, arguments) }.unwrap();
    let extra = buffer.memory().get::<[u8; 16]>(0).unwrap();
    let text = std::fs::read_to_string("/sys/hypervisor/version/extra").unwrap();
    assert!(
        extra.starts_with(text.trim().as_bytes()),
        "{extra:?} {text}"
    );
}

#[test]
fn parameters_of_a_guest_are_read() {
    let privcmd = PrivCmd::open().unwrap();
    let store = privcmd
        .hvm_param(a(), hvm_op::HVM_PARAM_STORE_EVTCHN)
        .unwrap();
    assert_ne!(store, 0);
    let error = privcmd.hvm_param(a(), 10_000).unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
    let error = privcmd
        .hvm_param(nobody(), hvm_op::HVM_PARAM_STORE_EVTCHN)
        .unwrap_err();
    assert!(matches!(error.cause, Cause::NoSuchDomain), "{error:#}");
}

#[test]
fn an_empty_buffer_is_refused() {
    let error = PrivCmd::open().unwrap().hypercall_buffer(0).unwrap_err();
    assert_eq!(error.cause.raw_os_error(), Some(libc::EINVAL), "{error:#}");
}

alone! {
    fn restrict_all_ends_hypercalls() {
        let privcmd = PrivCmd::open().unwrap();
        restrict_all(a()).unwrap();
        let error = privcmd.xen_version().unwrap_err();
        assert!(matches!(error.cause, Cause::Restricted), "{error:#}");
    }
}
