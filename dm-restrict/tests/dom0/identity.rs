// SPDX-License-Identifier: MIT OR Apache-2.0
//! `identity` with the users of the lab.

use crate::support::{a, dm_restrict, outcome, uid_of};

#[test]
fn guest_a_has_a_uid_of_its_own() {
    let (domid, uid) = (a(), uid_of(&a()));
    let shown = outcome(dm_restrict().args(["identity", "--domid", &domid]));
    let expected = format!(
        "uid {uid}, gid 65534: xen-qemuuser-range-base (uid 65536) + domain {domid}\n\
         this domain's alone; reaped when it has ended\n"
    );
    assert_eq!(
        (shown.code, shown.stdout, shown.stderr.as_str()),
        (0, expected, "")
    );
}
