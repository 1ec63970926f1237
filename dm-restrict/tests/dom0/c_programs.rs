// SPDX-License-Identifier: MIT OR Apache-2.0
//! The C interface of the library: programs of `capi/`, linked statically by the lab.

use std::process::Command;

use crate::support::{a, alone, b, from_lab, nothing_is_left, outcome};

const SERVED: &str = "answered 2048 I/O requests of domain";
const RIGHT: &str = "the guest found 0 answers wrong";

#[test]
fn a_device_model_in_c_serves_its_guest() {
    let _alone = alone();
    let outcome = outcome(Command::new(from_lab("XEN_LAB_C_DEVICE_MODEL")).arg(a()));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let text = &outcome.stdout;
    assert!(text.contains(SERVED) && text.contains(RIGHT), "{text}");
}

#[test]
fn a_launcher_in_c_starts_it_confined() {
    let _alone = alone();
    let mut launcher = Command::new(from_lab("XEN_LAB_C_LAUNCHER"));
    let outcome = outcome(launcher.args([&a(), &from_lab("XEN_LAB_C_DEVICE_MODEL")]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let text = &outcome.stdout;
    assert!(text.contains(SERVED) && text.contains(RIGHT), "{text}");
    nothing_is_left(&a());
}

#[test]
fn each_handle_of_c_does_its_work_and_refuses_the_rest() {
    let _alone = alone();
    let outcome = outcome(Command::new(from_lab("XEN_LAB_C_ON_XEN")).args([a(), b()]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout, "all as it should be\n");
}

#[test]
fn grants_are_mapped_from_c_by_a_broker() {
    let _alone = alone();
    let outcome = outcome(Command::new(from_lab("XEN_LAB_C_BROKERED")).args([a(), b()]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout, "mapped and copied by a broker\n");
    nothing_is_left(&a());
}
