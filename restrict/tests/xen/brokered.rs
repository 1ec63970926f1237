// SPDX-License-Identifier: MIT OR Apache-2.0
//! Grants of a confined process, which its broker maps: `examples/grant_probe` is started
//! by `dm-restrict run --grants brokered`, and what it did is looked at from outside.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Output, Stdio},
};

use xen_restrict::{Access, Gfn, GuestId, GuestMemory, PAGE_SIZE, PrivCmd};

use crate::support::{Field, LabGuest, Order, a, b, eventually, guest_a};

/// Of the guest's grant table, and what Xen sets in an entry while it is mapped
/// (`GTF_reading`, `GTF_writing`).
pub(crate) const GRANT_TABLE: u64 = 0x231;
const IN_USE: u16 = 1 << 3 | 1 << 4;
/// What the probe writes into each page, and where.
const MARK: u64 = 0x6d61_726b_6d61_726b;
const MARK_AT: usize = 8;
/// The words of a page that the probe changes.
const BULK_BASE: u64 = 1024;

pub(crate) fn tool(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("{variable}: run this by `cargo lab test`"))
}

/// The probe, confined, with `options` for its launch.
pub(crate) fn probe(guest: GuestId, instance: &str, options: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new(tool("XEN_LAB_DM_RESTRICT"));
    command
        .args(["run", "--domid", &guest.get().to_string()])
        .args(["--instance", instance])
        .args(options)
        .args(["--", &tool("XEN_LAB_GRANT_PROBE")])
        .args(words)
        .stdin(Stdio::null());
    command
}

/// A probe that goes on. Ended when dropped.
pub(crate) struct Started(pub(crate) Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn started(command: &mut Command) -> Started {
    Started(command.stdout(Stdio::piped()).spawn().unwrap())
}

pub(crate) const BROKERED: [&str; 2] = ["--grants", "brokered"];

fn outcome(options: &[&str], words: &[&str]) -> Output {
    probe(a(), "grants", options, words).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It did what it should.
fn holds(options: &[&str], words: &[&str]) -> String {
    let output = outcome(options, words);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{words:?}: {out}{err}");
    assert!(out.contains("as it should be"), "{words:?}: {out}{err}");
    err
}

pub(crate) fn word(guest: &LabGuest, field: Field) -> String {
    guest.get(field).to_string()
}

pub(crate) fn bulk(guest: &LabGuest) -> GuestMemory {
    let first = guest.get(Field::BulkGfn);
    let gfns: Vec<_> = (first..first + guest.get(Field::BulkCount))
        .map(Gfn::new)
        .collect();
    let privcmd = PrivCmd::open().unwrap();
    privcmd.guest(a()).map(&gfns, Access::ReadWrite).unwrap()
}

/// Grants of A's that Xen has mapped for somebody.
pub(crate) fn mapped_grants() -> Vec<usize> {
    let privcmd = PrivCmd::open().unwrap();
    let table = privcmd
        .guest(a())
        .map(
            &[Gfn::new(GRANT_TABLE), Gfn::new(GRANT_TABLE + 1)],
            Access::Read,
        )
        .unwrap();
    // The first are xenstored's and the console's.
    let entries = 8..2 * PAGE_SIZE / 8;
    entries
        .filter(|entry| table.get::<u16>(entry * 8).unwrap() & IN_USE != 0)
        .collect()
}

#[test]
fn pages_of_the_guest_are_mapped_for_both_sides() {
    let (_lock, guest) = guest_a();
    let count = word(&guest, Field::BulkCount);
    let words = ["map", &word(&guest, Field::FirstBulk), &count, "1024"];
    holds(&BROKERED, &words);
    let memory = bulk(&guest);
    let domid = u64::from(a().get());
    for page in 0..memory.pages() {
        let at = page * PAGE_SIZE + MARK_AT;
        assert_eq!(memory.get::<u64>(at).unwrap(), MARK);
        let was = domid << 48 | (BULK_BASE + page as u64) << 32 | MARK_AT as u64;
        memory.set(at, &was).unwrap();
    }
    assert_eq!(mapped_grants(), [0_usize; 0]);
}

#[test]
fn what_is_granted_for_reading_is_not_written() {
    let (_lock, guest) = guest_a();
    let first = word(&guest, Field::FirstReadOnly);
    holds(
        &BROKERED,
        &["read-only", &first, &word(&guest, Field::ReadOnlyCount)],
    );
}

#[test]
fn what_is_not_granted_is_refused_also_where_another_guest_granted_it() {
    let (_lock, guest) = guest_a();
    // B grants more under these numbers than A does.
    let other = LabGuest::new(b());
    assert_eq!(other.get(Field::FirstBulk), guest.get(Field::FirstBulk));
    holds(
        &["--grants", "brokered=64"],
        &["refused", "400", "5000", "4294967295"],
    );
}

#[test]
fn copies_go_both_ways() {
    let (_lock, guest) = guest_a();
    let words = ["copy", &word(&guest, Field::FirstBulk), "300"];
    holds(&BROKERED, &words);
}

#[test]
fn no_request_on_the_descriptor_is_possible() {
    let (_lock, _guest) = guest_a();
    holds(&BROKERED, &["requests"]);
    for way in ["int80", "x32"] {
        let output = outcome(&BROKERED, &[way]);
        let err = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(128 + libc::SIGSYS),
            "{way}: {err}"
        );
    }
}

/// Holds pages of A until it is ended.
pub(crate) fn holder(guest: &LabGuest) -> Started {
    let words = ["hold", &word(guest, Field::FirstBulk), "64"];
    let mut child = started(&mut probe(a(), "grants", &BROKERED, &words));
    line(&mut child, "holds 64");
    assert_eq!(mapped_grants().len(), 64);
    child
}

pub(crate) fn line(child: &mut Started, expected: &str) {
    let stdout = child.0.stdout.as_mut().unwrap();
    let mut line = String::new();
    // By bytes, so that what follows is not lost.
    let mut reader = BufReader::with_capacity(1, stdout);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), expected);
}

#[test]
fn misuse_is_refused_and_counted() {
    let (_lock, guest) = guest_a();
    let first = word(&guest, Field::FirstBulk);
    holds(&["--grants", "brokered=64"], &["misuse", &first, "64"]);
    assert_eq!(mapped_grants(), [0_usize; 0]);
}

/// The driver would write into pages that are not there, or not writable: dom0's kernel
/// would fault.
#[test]
fn no_notification_makes_the_kernel_write_where_it_cannot() {
    let (_lock, guest) = guest_a();
    let memory = bulk(&guest);
    let was: [u64; 2] = [0, 8].map(|at| memory.get(at).unwrap());
    memory.set(0, &u64::MAX).unwrap();
    memory.set(8, &u64::MAX).unwrap();
    holds(
        &BROKERED,
        &["traps", &word(&guest, Field::FirstBulk), "400"],
    );
    // Each is done, whatever becomes of the mapping.
    eventually("all bytes are cleared", || {
        (5..10).all(|at| memory.get::<u8>(at).unwrap() == 0)
    });
    assert_eq!(memory.get::<u8>(4).unwrap(), 0xff);
    assert_eq!(memory.get::<u8>(10).unwrap(), 0xff);
    [0, 8]
        .into_iter()
        .zip(was)
        .for_each(|(at, was)| memory.set(at, &was).unwrap());
    assert_eq!(mapped_grants(), [0_usize; 0]);
}

#[test]
fn ports_of_others_cannot_be_named() {
    let (_lock, guest) = guest_a();
    let events = xen_restrict::EventChannel::open().unwrap();
    let theirs = events.bind_unbound_port(b()).unwrap();
    let port = theirs.port().get().to_string();
    let first = word(&guest, Field::FirstBulk);
    holds(&BROKERED, &["other-port", &first, &port]);
}

#[test]
fn ten_thousand_cycles_leak_nothing() {
    let (_lock, guest) = guest_a();
    let words = ["cycles", &word(&guest, Field::FirstBulk), "2", "10000"];
    let options = ["--grants", "brokered=8", "--proc"];
    let mut child = started(&mut probe(a(), "grants", &options, &words));
    let supervisor = |pid: u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        let resident: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        (files, resident)
    };
    line(&mut child, "warm");
    let (files, resident) = supervisor(child.0.id());
    line(&mut child, "cycled");
    let after = supervisor(child.0.id());
    assert_eq!(after.0, files);
    assert!(
        after.1 <= resident + 16,
        "{resident} pages, then {}",
        after.1
    );
    assert!(child.0.wait().unwrap().success());
    assert_eq!(mapped_grants(), [0_usize; 0]);
}

#[test]
fn an_attacked_broker_lives_and_others_are_served() {
    let (_lock, guest) = guest_a();
    let first = word(&guest, Field::FirstBulk);
    for (verb, says) in [
        ("unread", ""),
        ("half", "grants are not served any more"),
        ("descriptor", ""),
        ("closed", ""),
    ] {
        let err = holds(&BROKERED, &[verb]);
        assert!(err.contains(says), "{verb}: {err}");
    }
    let mut flood = started(&mut probe(a(), "flood", &BROKERED, &["flood", &first]));
    line(&mut flood, "floods");
    let output = probe(b(), "grants", &BROKERED, &["map", &first, "16", "1024"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(flood.0.try_wait().unwrap().is_none(), "it still floods");
    // SAFETY: a child that was not waited for.
    let ended = unsafe { libc::kill(flood.0.id().cast_signed(), libc::SIGTERM) };
    assert_eq!(ended, 0);
    let status = flood.0.wait().unwrap();
    assert_eq!(status.code(), Some(128 + libc::SIGTERM));
    restore_b();
}

/// What the probe wrote.
fn restore_b() {
    let guest = LabGuest::new(b());
    let first = guest.get(Field::BulkGfn);
    let gfns: Vec<_> = (first..first + 16).map(Gfn::new).collect();
    let privcmd = PrivCmd::open().unwrap();
    let memory = privcmd.guest(b()).map(&gfns, Access::ReadWrite).unwrap();
    for page in 0..gfns.len() {
        let at = page * PAGE_SIZE + MARK_AT;
        let was = u64::from(b().get()) << 48 | (BULK_BASE + page as u64) << 32 | MARK_AT as u64;
        memory.set(at, &was).unwrap();
    }
}

/// `srv_live` of the guest's control page.
const SERVER_LIVE: usize = 21;

#[test]
fn a_confined_process_talks_with_its_guest_by_vchan() {
    let (_lock, guest) = guest_a();
    let memory = bulk(&guest);
    memory.set(SERVER_LIVE, &0_u8).unwrap();
    let running = guest.order(Order::Ring, 0);
    eventually("the server is there", || {
        memory.get::<u8>(SERVER_LIVE).unwrap() == 1
    });
    let (reference, port) = (word(&guest, Field::FirstBulk), word(&guest, Field::Port3));
    let output = Command::new(tool("XEN_LAB_DM_RESTRICT"))
        .args(["run", "--domid", &a().get().to_string()])
        .args(["--xen", "evtchn,gntdev", "--grants", "brokered=64"])
        .args(["--", &tool("XEN_LAB_VCHAN"), &reference, &port, "4"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    assert!(out.contains("all inverted"), "{out}{err}");
    assert_eq!(running.errors(), 0);
    drop(running);
    eventually("the pages are what they were", || {
        memory.get::<u64>(32 * PAGE_SIZE + 8).unwrap() & 0xffff_ffff == 8
    });
}

#[test]
fn a_broker_needs_what_makes_the_boundary() {
    let (_lock, _guest) = guest_a();
    for (options, says) in [
        (vec!["--without", "xen-requests"], "xen-requests"),
        (vec!["--without", "parent-death"], "parent-death"),
        (vec!["--without", "pid-ns"], "pid-ns"),
        (vec!["--without", "identity"], "identity"),
        (vec!["--without", "capabilities"], "capabilities"),
        (vec!["--profile", "libxl"], "parent-death"),
        (vec!["--xen", "privcmd"], "gntdev"),
    ] {
        let options = [&BROKERED[..], &options].concat();
        let output = outcome(&options, &["requests"]);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{options:?}: {err}");
        assert!(err.contains(says), "{options:?}: {err}");
    }
}

/// The filter that keeps the handle here is loaded by then.
#[test]
fn why_a_program_does_not_start_is_told() {
    let (_lock, _guest) = guest_a();
    for (program, code) in [("/etc/passwd", 126), ("/no/such/program", 127)] {
        let output = Command::new(tool("XEN_LAB_DM_RESTRICT"))
            .args(["run", "--domid", &a().get().to_string()])
            .args(BROKERED)
            .args(["--", program])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{program}: {err}");
        assert!(err.contains(program), "{program}: {err}");
    }
    // Found out by exec alone.
    let script = "/tmp/no-interpreter";
    fs::write(script, "#!/no/such/interpreter\n").unwrap();
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(script, executable).unwrap();
    let output = Command::new(tool("XEN_LAB_DM_RESTRICT"))
        .args(["run", "--domid", &a().get().to_string()])
        .args(BROKERED)
        .args(["--", script])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    fs::remove_file(script).unwrap();
    let err = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(126 | 127)), "{err}");
    assert!(err.contains(script), "{err}");
}

#[test]
fn an_audit_tells_that_it_can_only_be_mapped() {
    let (_lock, guest) = guest_a();
    let _holder = holder(&guest);
    for filters in [&[][..], &["--filters"]] {
        let output = Command::new(tool("XEN_LAB_DM_RESTRICT"))
            .args(["audit", "--json", "--domid", &a().get().to_string()])
            .args(filters)
            .output()
            .unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{filters:?}: {out}{err}");
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let handles = report["reports"][0]["handles"].as_array().unwrap();
        let gntdev = handles
            .iter()
            .find(|handle| handle["device"] == "gntdev" && !handle["fd"].is_null())
            .unwrap();
        assert_eq!(gntdev["state"]["kind"], "brokered", "{gntdev}");
        assert_eq!(gntdev["verdict"], "holds", "{gntdev}");
    }
}
