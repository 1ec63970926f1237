// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program in the place of QEMU gets out of its connections to xenstored while it is root,
//! and later: nothing. What it asks of xenstored here, xenstored does for who is dom0's root.

use std::process::Command;

use crate::{
    keeps::{keeping, keeping_with},
    stock::from_lab,
    support::alone,
};

/// Where libxl has the password of a guest's screen, for example.
const PASSWORD: &str = "/vm/another/vncpasswd";
const SECRET: &str = "a-secret";

fn xenstore(what: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(format!("xenstore-{what}"));
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nothing_is_read_written_or_heard() {
    let _alone = alone();
    let other = from_lab("XEN_LAB_B");
    xenstore("write", &[PASSWORD, SECRET]);
    let script = "local/domain/0/backend/vbd/DOMID/768/script";
    // By the numbers of `enum xsd_sockmsg_type` in Xen's `io/xs_wire.h`; 0 is CONTROL, 7
    // TRANSACTION_END, 15 and 16 come from xenstored only, 20 is unknown to most versions.
    let says = [
        "0:help|".into(),
        "1:/local/domain/0/backend|".into(),
        "22:/local/domain/0/backend|0|".into(),
        format!("2:{PASSWORD}|"),
        format!("2:../../..{PASSWORD}|"),
        "2:domid|".into(),
        format!("3:{PASSWORD}|"),
        "6:|".into(),
        "7:T|".into(),
        "8:DOMID|1|1|".into(),
        "9:DOMID|".into(),
        format!("10:{other}|"),
        format!("17:{other}|"),
        "18:DOMID|".into(),
        format!("19:DOMID|{other}|"),
        // Of its own guest, too.
        format!("11:/{script}|/tmp/script"),
        format!("11:/local/../{script}|/tmp/script"),
        format!("11:{}|/tmp/script", &script["local/domain/0/".len()..]),
        "11:/libxl/DOMID/device/vbd/768/params|aio:/etc/shadow".into(),
        "11:/local/domain/DOMID/name|another".into(),
        "11:device-model/DOMID/state|running".into(),
        format!("11:{PASSWORD}|known"),
        format!("12:/local/domain/{other}/data/made|"),
        format!("13:{PASSWORD}|"),
        format!("14:{PASSWORD}|bDOMID|"),
        "15:a|b|".into(),
        "16:EINVAL|".into(),
        "20:DOMID|".into(),
        "21:|".into(),
        "99:|".into(),
        "4294967295:|".into(),
    ];
    let says = says.map(|message: String| format!("says={message}"));
    let watches = ["@introduceDomain", "/", PASSWORD].map(|path| format!("watches={path}"));
    let tried = [says.as_slice(), &watches].concat();
    let said = keeping(&tried.join(","));
    for what in &tried {
        let (how, value) = what.split_once('=').unwrap();
        assert!(said.contains(&format!("{how} {value}: ")), "{what}: {said}");
    }
    for how in &says {
        let refused = format!("{}: EACCES\n", how.replacen('=', " ", 1));
        assert!(said.contains(&refused), "no {refused:?} in {said}");
    }
    assert!(!said.contains(": reached"), "{said}");
    assert!(said.contains("it goes on with "), "{said}");
    assert_eq!(xenstore("read", &[PASSWORD]).trim(), SECRET);
    let around = xenstore("ls", &["-p", "/vm/another"]);
    let known = format!("vncpasswd = \"{SECRET}\" ");
    assert!(
        around.starts_with(&known) && around.ends_with(" (n0)\n"),
        "{around}"
    );
}

#[test]
fn what_is_malformed_or_unread_holds_nobody_up() {
    let _alone = alone();
    let tried = "too-long-a-message,much-that-is-not-finished";
    let said = keeping_with(tried, "without = fds\n", &[]);
    for part in [
        "too long a message: Err(",
        "of 100 more it uses ",
        "it goes on with ",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

/// Where nobody looks for it: else it is ended ([`crate::keeps`]).
#[test]
fn a_connection_that_is_kept_leads_to_nobody() {
    let _alone = alone();
    let said = keeping_with("a-connection-for-later", "without = fds\n", &[]);
    for part in ["it goes on with ", "after that nobody answers"] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
