// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whose uid it is, by what a machine's users are.

use proptest::prelude::*;

use super::*;

const BASE: &str = "xen-qemuuser-range-base:x:65536:65534::/nonexistent:/usr/sbin/nologin\n";
const SHARED_LINE: &str = "xen-qemuuser-shared:x:110:65534::/nonexistent:/usr/sbin/nologin\n";
const DOMID7: &str = "xen-qemuuser-domid7:x:107:117::/nonexistent:/usr/sbin/nologin\n";
const PEOPLE: &str = "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

fn guest(domid: u16) -> GuestId {
    GuestId::new(domid).unwrap()
}

fn db(passwd: &[&str], subuid: &str) -> UserDb {
    let passwd = [&[PEOPLE], passwd].concat().concat();
    UserDb::from_text(passwd.as_bytes(), subuid.as_bytes()).unwrap()
}

fn chosen(domid: u16, user: Option<&str>, passwd: &[&str]) -> Identity {
    Identity::choose(guest(domid), user, &db(passwd, "")).unwrap()
}

fn refusal(domid: u16, user: Option<&str>, passwd: &[&str], subuid: &str) -> IdentityError {
    Identity::choose(guest(domid), user, &db(passwd, subuid)).unwrap_err()
}

fn base_at(uid: u32) -> String {
    BASE.replace("65536", &uid.to_string())
}

#[test]
fn the_user_given_comes_first() {
    let identity = chosen(7, Some("ann"), &[BASE, SHARED_LINE, DOMID7]);
    assert_eq!((identity.uid(), identity.gid()), (1000, 1000));
    assert_eq!(identity.rule(), &Rule::Explicit { user: "ann".into() });
    assert_eq!(
        identity.to_string(),
        "uid 1000, gid 1000: user ann, as given"
    );
    assert!(!identity.is_exclusive() && identity.warning().is_none());
    // Even where another rule would give it: it was named by a person.
    assert!(!chosen(7, Some("xen-qemuuser-domid7"), &[DOMID7]).is_exclusive());
}

#[test]
fn then_the_range_base() {
    let identity = chosen(7, None, &[SHARED_LINE, DOMID7, BASE]);
    assert_eq!((identity.uid(), identity.gid()), (65543, 65534));
    assert_eq!(identity.rule(), &Rule::RangeBase { base: 65536 });
    assert_eq!(
        identity.to_string(),
        "uid 65543, gid 65534: xen-qemuuser-range-base (uid 65536) + domain 7"
    );
    assert!(identity.is_exclusive() && identity.warning().is_none());
    assert_eq!(identity.guest(), Some(guest(7)));
    assert_eq!(chosen(32751, None, &[BASE]).uid(), 65536 + 32751);
}

#[test]
fn then_the_older_user_of_the_domain() {
    let identity = chosen(7, None, &[SHARED_LINE, DOMID7]);
    assert_eq!((identity.uid(), identity.gid()), (107, 117));
    assert!(identity.is_exclusive());
    assert!(
        identity.to_string().contains("xen-qemuuser-domid7"),
        "{identity}"
    );
    // Another domain's is not ours.
    assert_eq!(
        chosen(8, None, &[SHARED_LINE, DOMID7]).rule(),
        &Rule::Shared
    );
}

#[test]
fn then_the_shared_user_with_a_warning() {
    let identity = chosen(8, None, &[SHARED_LINE]);
    assert_eq!((identity.uid(), identity.gid()), (110, 65534));
    assert!(!identity.is_exclusive());
    let warning = identity.warning().unwrap();
    assert!(
        warning.contains("not protected from each other"),
        "{warning}"
    );
    assert!(warning.contains(ADD_RANGE_BASE), "{warning}");
}

#[test]
fn else_there_is_none_and_the_error_has_the_command() {
    let error = refusal(8, None, &[DOMID7], "").to_string();
    assert!(
        error.contains("domain 8") && error.contains(ADD_RANGE_BASE),
        "{error}"
    );
}

#[test]
fn a_user_that_does_not_exist_is_not_replaced_by_another() {
    for user in ["bob", "", "1000", "ann ", "ann\0", "ann\n", "ann:x"] {
        let error = refusal(7, Some(user), &[BASE, SHARED_LINE], "");
        assert!(
            matches!(error, IdentityError::UnknownUser { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_user_that_reaps_is_not_given_out() {
    let reaper = "xen-qemuuser-reaper:x:109:65534::/:/bin/false\n";
    for user in [RANGE_BASE, REAPER] {
        let error = refusal(7, Some(user), &[BASE, reaper], "");
        assert!(matches!(error, IdentityError::ForReaping { .. }), "{error}");
    }
}

#[test]
fn uids_that_are_nobodys_own_are_refused() {
    for uid in [0, 65534, 65535, u32::MAX] {
        let line = SHARED_LINE.replace("110", &uid.to_string());
        for user in [None, Some(SHARED)] {
            let error = refusal(7, user, &[&line], "");
            assert!(
                matches!(error, IdentityError::ForbiddenUid { uid: u, .. } if u == uid),
                "{error}"
            );
        }
    }
    assert!(matches!(
        refusal(7, Some("root"), &[], ""),
        IdentityError::ForbiddenUid { uid: 0, .. }
    ));
    // In a range: just these two domids.
    let base = base_at(60000);
    for domid in [5534, 5535] {
        let error = refusal(domid, None, &[&base], "");
        assert!(error.to_string().contains("usermod --uid 65536"), "{error}");
        assert!(
            matches!(error, IdentityError::ForbiddenUid { .. }),
            "{error}"
        );
    }
    assert_eq!(chosen(5533, None, &[&base]).uid(), 65533);
    assert_eq!(chosen(5536, None, &[&base]).uid(), 65536);
    assert!(matches!(
        refusal(7, None, &[&base_at(0)], ""),
        IdentityError::ForbiddenUid { uid: 0, .. }
    ));
}

#[test]
fn gids_that_are_roots_or_no_gid_are_refused() {
    for gid in [0, 65535, u32::MAX] {
        let line = BASE.replace("65534", &gid.to_string());
        let error = refusal(7, None, &[&line], "");
        assert!(
            matches!(error, IdentityError::ForbiddenGid { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_uid_that_is_somebodys_is_refused() {
    for (domid, user, line) in [
        (7, None, "eve:x:65543:1::/:/bin/sh\n"),
        (7, Some("ann"), "eve:x:1000:1::/:/bin/sh\n"),
    ] {
        let error = refusal(domid, user, &[BASE, line], "");
        assert!(matches!(&error, IdentityError::Taken { others, .. } if others == &["eve"]));
        assert!(error.to_string().contains("\"eve\""), "{error}");
    }
    // A neighbour's is not: only the uid that was chosen counts.
    assert_eq!(
        chosen(8, None, &[BASE, "eve:x:65543:1::/:/bin/sh\n"]).uid(),
        65544
    );
    // Two domains' older users must differ.
    let twin = DOMID7.replace("domid7", "domid8");
    let error = refusal(7, None, &[DOMID7, &twin], "");
    assert!(matches!(error, IdentityError::Taken { .. }), "{error}");
}

#[test]
fn a_range_among_users_is_refused_and_one_that_may_be_later_is_told() {
    let alone = |passwd: &str| UserDb::from_text(passwd.as_bytes(), b"").unwrap();
    for (base, others, shown) in [
        // As sysusers.d chooses where 65536 is taken: with people behind it, or none yet.
        (994, PEOPLE, "now (\"ann\")"),
        (994, "", "sooner or later"),
        (999, "", "sooner or later"),
        (1, "", "sooner or later"),
        (1000, "eve:x:1001:1::/:/bin/sh\n", "now (\"eve\")"),
        (20_000, "eve:x:52751:1::/:/bin/sh\n", "now (\"eve\")"),
        (65_535, "eve:x:65536:1::/:/bin/sh\n", "now (\"eve\")"),
    ] {
        let db = alone(&(base_at(base) + others));
        let error = Identity::choose(guest(7), None, &db).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, IdentityError::AmongUsers { .. }), "{text}");
        assert!(
            text.contains(shown) && text.contains(MOVE_RANGE_BASE),
            "{text}"
        );
        // A user of its own is still to be had.
        assert!(others != PEOPLE || Identity::choose(guest(7), Some("ann"), &db).is_ok());
    }
    for (base, others, told) in [
        (1000, PEOPLE, true),
        (20_000, "eve:x:52752:1::/:/bin/sh\n", true),
        (65_535, "", true),
        (65_536, "eve:x:65544:1::/:/bin/sh\n", false),
    ] {
        let db = alone(&(base_at(base) + others));
        let identity = Identity::choose(guest(7), None, &db).unwrap();
        let warning = identity.warning().unwrap_or_default();
        assert_eq!(warning.contains(MOVE_RANGE_BASE), told, "{base}: {warning}");
    }
    let many = |name: &str| format!("{name}:x:1{name}:1::/:/bin/sh\n");
    let many: String = ["001", "002", "003", "004", "005"].map(many).concat();
    let error = Identity::choose(guest(7), None, &alone(&(base_at(994) + &many)));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("\"003\" and 2 more)"), "{text}");
}

#[test]
fn a_range_ends_below_the_last_uid() {
    for base in [u32::MAX - 32751, u32::MAX - 32750, u32::MAX - 7, u32::MAX] {
        let error = refusal(1, None, &[&base_at(base)], "");
        assert!(
            matches!(error, IdentityError::RangeTooHigh { .. }),
            "{error}"
        );
    }
    let top = base_at(u32::MAX - 32752);
    assert_eq!(chosen(32751, None, &[&top]).uid(), u32::MAX - 1);
}

#[test]
fn a_range_that_overlaps_subordinate_uids_names_the_line() {
    for (base, overlaps) in [
        (100_000, true),
        (165_535, true),
        (165_536, false),
        (100_000 - UIDS_IN_RANGE, false),
        (100_001 - UIDS_IN_RANGE, true),
    ] {
        let db = db(&[&base_at(base)], "# people\nann:100000:65536\n");
        match Identity::choose(guest(1), None, &db) {
            Ok(_) => assert!(!overlaps, "{base}"),
            Err(error) => {
                assert!(overlaps, "{base}: {error}");
                let text = error.to_string();
                assert!(
                    text.contains("line 2 of /etc/subuid, \"ann:100000:65536\""),
                    "{text}"
                );
            }
        }
    }
    let error = refusal(7, Some("ann"), &[], "eve:1000:1\n");
    assert!(
        matches!(error, IdentityError::Subordinate { .. }),
        "{error}"
    );
}

#[test]
fn two_base_users_are_none() {
    let error = refusal(7, None, &[BASE, BASE], "");
    assert!(matches!(error, IdentityError::Users(_)), "{error}");
}

fn any_uid() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0..4_u32,
        65_530..65_545_u32,
        (u32::MAX - 32_760)..=u32::MAX,
        32_780..32_790_u32,
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(RANGE_BASE.into()),
        Just(SHARED.into()),
        Just("xen-qemuuser-domid7".into()),
        Just("ann".into()),
        "[a-z]{1,3}",
    ]
}

proptest! {
    #[test]
    fn an_identity_is_nobody_elses(
        users in proptest::collection::vec((any_name(), any_uid(), any_uid()), 0..6),
        subuid in proptest::collection::vec((any_uid(), any_uid()), 0..3),
        domid in prop_oneof![Just(7_u16), 1..=32751_u16],
        user in proptest::option::of(any_name()),
    ) {
        let passwd: String =
            users.iter().map(|(n, u, g)| format!("{n}:x:{u}:{g}::/:/bin/sh\n")).collect();
        let ranges: String = subuid.iter().map(|(f, c)| format!("ann:{f}:{c}\n")).collect();
        let db = UserDb::from_text(passwd.as_bytes(), ranges.as_bytes()).unwrap();
        match Identity::choose(guest(domid), user.as_deref(), &db) {
            Err(error) => prop_assert!(error.to_string().contains(' ')),
            Ok(identity) => {
                let uid = identity.uid();
                prop_assert!(!matches!(uid, 0 | 65534 | 65535 | u32::MAX));
                prop_assert!(!matches!(identity.gid(), 0 | 65535 | u32::MAX));
                let whose: Vec<_> =
                    users.iter().filter(|(_, u, _)| *u == uid).map(|(n, ..)| n).collect();
                match identity.rule() {
                    Rule::RangeBase { base } => {
                        prop_assert!(whose.is_empty());
                        prop_assert_eq!(base.checked_add(domid.into()), Some(uid));
                    }
                    Rule::Explicit { user } | Rule::PerDomain { user } =>
                        prop_assert_eq!(whose, vec![user]),
                    Rule::Shared => prop_assert_eq!(whose, vec![SHARED]),
                }
                for (first, count) in subuid {
                    let range = u64::from(first)..u64::from(first) + u64::from(count);
                    prop_assert!(!range.contains(&u64::from(uid)));
                }
            }
        }
    }

    #[test]
    fn any_text_is_a_database_or_an_error(
        passwd in "(\\PC|[:\n\0+#]|xen-qemuuser-(shared|range-base|domid7):x:[0-9]{1,10}:1::/:/){0,20}",
        subuid in proptest::collection::vec(any::<u8>(), 0..60),
        domid in 1..=32751_u16,
    ) {
        for subuid in [&[][..], &subuid] {
            if let Ok(db) = UserDb::from_text(passwd.as_bytes(), subuid)
                && let Ok(identity) = Identity::choose(guest(domid), None, &db)
            {
                prop_assert!(!matches!(identity.uid(), 0 | 65534 | 65535 | u32::MAX));
            }
        }
    }
}
