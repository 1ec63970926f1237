// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device model that serves its guest, confined, and cannot do anything else.

use std::fs;

use crate::support::{
    Idle, a, alone, b, dm_restrict, from_lab, nothing_is_left, outcome, records, run,
};

#[test]
fn a_device_model_serves_its_guest_and_nothing_else() {
    let _alone = alone();
    let model = from_lab("XEN_LAB_DEVICE_MODEL");
    let outcome = outcome(run(&a()).args(["--seal-mapping", "--", &model, "--confined", &b()]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains("the guest found 0 answers wrong"),
        "{outcome:?}"
    );
    assert!(
        outcome.stdout.contains(" attempts, 0 surprises"),
        "{outcome:?}"
    );
    nothing_is_left(&a());
}

#[test]
fn sealed_before_it_starts_it_cannot_set_itself_up() {
    let _alone = alone();
    let model = from_lab("XEN_LAB_DEVICE_MODEL");
    let outcome = outcome(run(&a()).args(["--seal-after", "0", "--", &model, "--confined", &b()]));
    assert_ne!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stderr.contains("EPERM") || outcome.stderr.contains("not permitted"),
        "{outcome:?}"
    );
    nothing_is_left(&a());
}

#[test]
fn the_program_has_what_was_handed_over_and_its_supervisor_next_to_nothing() {
    let _alone = alone();
    let idle = Idle::start(&mut run(&a()));
    let record = idle.record();
    let names: Vec<_> = record["fds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fd| fd["name"].clone())
        .collect();
    assert_eq!(
        names,
        [
            "stdin",
            "stdout",
            "stderr",
            "xen-privcmd",
            "xen-evtchn",
            "xen-gntdev"
        ]
    );

    let pid = &record["pid"];
    let mut links: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            (
                number,
                fs::read_link(path).unwrap().to_string_lossy().into_owned(),
            )
        })
        .collect();
    links.sort();
    let links: Vec<_> = links
        .iter()
        .map(|(_, link)| link.split(':').next().unwrap())
        .collect();
    let expected = [
        "/dev/null",
        "pipe",
        "pipe",
        "/dev/xen/privcmd",
        "/dev/xen/evtchn",
        "/dev/null",
    ];
    assert_eq!(links, expected);

    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(
        environment.contains("LISTEN_FDNAMES=xen-privcmd:xen-evtchn:xen-gntdev\0"),
        "{environment}"
    );
    assert!(environment.contains("LISTEN_PID=2\0"), "{environment}");
    assert!(
        environment.contains(&format!("XEN_RESTRICT_DOMID={}\0", a())),
        "{environment}"
    );

    // CAP_KILL and CAP_SETUID; until it is sealed, what it takes to look into requests.
    assert_eq!(effective(&idle), "00000000000800a4");
    let sealed = outcome(dm_restrict().args(["seal", "--domid", &a()]));
    assert_eq!((sealed.code, sealed.stderr.as_str()), (0, ""));
    assert_eq!(records()[0]["sealed"], true);
    assert_eq!(effective(&idle), "00000000000000a0");
    assert_eq!(idle.end().code, 128 + 15);
    nothing_is_left(&a());
}

fn effective(idle: &Idle) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", idle.0.id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("CapEff:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}
