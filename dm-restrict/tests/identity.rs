// SPDX-License-Identifier: MIT OR Apache-2.0
//! `dm-restrict identity`, on users that the test makes up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{dm_restrict, with_users};

const BASE: &str = "xen-qemuuser-range-base:x:65536:65534::/nonexistent:/usr/sbin/nologin\n";
const SHARED: &str = "xen-qemuuser-shared:x:65000:65534::/nonexistent:/usr/sbin/nologin\n";
const MOVE: &str = "`usermod --uid 65536 xen-qemuuser-range-base`";
const FIX: &str = "adduser --no-create-home --uid 65536 --system xen-qemuuser-range-base";

#[test]
fn a_range_base_gives_each_domain_a_uid() {
    let run = with_users(BASE, "", &["identity", "--domid", "7"]);
    assert_eq!(
        run.stdout,
        "uid 65543, gid 65534: xen-qemuuser-range-base (uid 65536) + domain 7\n\
         this domain's alone; reaped when it has ended\n"
    );
    assert_eq!((run.stderr.as_str(), run.code), ("", 0));
}

#[test]
fn the_shared_user_comes_with_a_warning() {
    let run = with_users(SHARED, "", &["identity", "--domid", "7"]);
    assert_eq!(
        run.stdout,
        "uid 65000, gid 65534: user xen-qemuuser-shared, as there is no other\n\
         not this domain's alone; not reaped\n"
    );
    assert!(
        run.stderr
            .starts_with("dm-restrict: warning: all guests' device models"),
        "{run:?}"
    );
    assert!(run.stderr.contains(FIX) && run.code == 0, "{run:?}");
}

/// sysusers.d chooses one where 65536 is taken.
#[test]
fn a_range_among_the_machines_users_is_refused() {
    let low = |uid| BASE.replace("65536", uid);
    let refused = with_users(&low("994"), "", &["identity", "--domid", "7"]);
    assert_eq!((refused.stdout.as_str(), refused.code), ("", 1));
    assert!(
        refused.stderr.contains("has uid 994") && refused.stderr.contains(MOVE),
        "{refused:?}"
    );
    // Somebody chose it, and it is free.
    let told = with_users(&low("20000"), "", &["identity", "--domid", "7"]);
    assert!(told.stdout.starts_with("uid 20007, "), "{told:?}");
    assert!(
        told.stderr.starts_with("dm-restrict: warning: ") && told.stderr.contains(MOVE),
        "{told:?}"
    );
}

#[test]
fn a_named_user_comes_first() {
    let run = with_users(
        &[BASE, "ann:x:70000:70000::/:/bin/sh\n"].concat(),
        "",
        &["identity", "--domid", "7", "--user", "ann"],
    );
    assert!(
        run.stdout
            .starts_with("uid 70000, gid 70000: user ann, as given\n"),
        "{run:?}"
    );
    assert_eq!((run.stderr.as_str(), run.code), ("", 0));
}

#[test]
fn what_is_refused_is_named_with_its_remedy() {
    let domid = ["identity", "--domid", "7"];
    for (passwd, subuid, arguments, message) in [
        ("", "", &domid[..], FIX),
        (
            "",
            "",
            &["identity", "--domid", "7", "--user", "root"],
            "uid 0, of root, is root's",
        ),
        (
            "",
            "",
            &["identity", "--domid", "7", "--user", "bob"],
            "there is no user \"bob\"",
        ),
        (
            BASE,
            "a:98000:9\n",
            &domid,
            "line 1 of /etc/subuid, \"a:98000:9\"",
        ),
        (
            &[BASE, "eve:x:65543:1::/:\n"].concat(),
            "",
            &domid,
            "also that of \"eve\"",
        ),
        (
            "broken\n",
            "",
            &domid,
            "of /etc/passwd is malformed, 1 fields instead of 7",
        ),
    ] {
        let run = with_users(passwd, subuid, arguments);
        assert!(run.stderr.starts_with("dm-restrict: "), "{run:?}");
        assert!(run.stderr.contains(message), "{run:?}");
        assert_eq!((run.stdout.as_str(), run.code), ("", 1), "{run:?}");
    }
}

#[test]
fn a_domid_that_is_no_guests_is_refused_in_the_types_own_words() {
    for (domid, message) in [
        (
            "0",
            "domid 0 is domain 0, not a guest: guests are 1 to 32751; `xl list` shows them",
        ),
        ("32752", "DOMID_SELF"),
        ("65536", "\"65536\" is not a domid"),
        ("x", "`xl domid NAME` prints it"),
    ] {
        let run = dm_restrict(&["identity", "--domid", domid]);
        assert!(run.stderr.contains(message), "{run:?}");
        assert_eq!((run.stdout.as_str(), run.code), ("", 2), "{run:?}");
    }
    let run = dm_restrict(&["identity"]);
    assert!(
        run.stderr.contains("--domid <N>") && run.code == 2,
        "{run:?}"
    );
}
