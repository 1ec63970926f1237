// SPDX-License-Identifier: MIT OR Apache-2.0
//! What holds for any text in /proc, and for what a process puts there itself: its name,
//! its files' and mounts' paths, its variables.
#![allow(clippy::missing_panics_doc, reason = "a law fails by panicking")]

use super::{
    descriptor, process, procfs,
    status::{self, Limit, Mount, Stat, Status},
    text,
};

pub use super::filters::laws::seccomp_filter;

/// Any text of any file; then the same as what a process has in an otherwise good file.
pub(crate) fn proc_texts(data: &[u8]) {
    read_again_the_same(data);
    for link in [data, b"net:[4026531833]"] {
        let _ = procfs::number_in(link, "net");
        crate::fuzzing::is_one_line(&text::quoted(&descriptor::name_of(link).into_bytes()));
    }
    let _ = (descriptor::waiting(data), descriptor::user_files(data));
    let _ = (status::interfaces(data), status::unified_cgroup(data));
    let variables = status::variables(data);
    assert!(
        variables
            .iter()
            .all(|name| !name.contains(&b'=') && !name.contains(&0))
    );
    assert!(variables.is_sorted());
    what_is_shown_is_harmless(data);
    a_name_is_only_a_name(data);
    a_path_is_only_a_path(data);
}

/// Whatever was understood can be written down, and is then understood to be the same.
fn read_again_the_same(data: &[u8]) {
    if let Some(status) = Status::parse(data) {
        let again = Status::parse(written(&status).as_bytes());
        assert_eq!(again, Some(status));
    }
    let _ = status::thread_group(data);
    if let Some(stat) = Stat::parse(data) {
        let mut fields = ["0"; 50].map(str::to_owned);
        let Stat {
            parent,
            is_kernels,
            session,
            terminal,
            started,
            image,
        } = &stat;
        let numbers = [(6, session), (7, terminal)].map(|(at, number)| (at, number.to_string()));
        let images = [26, 28, 48, 50]
            .into_iter()
            .zip(image)
            .map(|(at, n)| (at, n.to_string()));
        let flags = if *is_kernels { 0x0020_0000 } else { 0 };
        let others = [
            (4, parent.to_string()),
            (9, flags.to_string()),
            (22, started.to_string()),
        ];
        for (at, number) in numbers.into_iter().chain(images).chain(others) {
            fields[at - 3] = number;
        }
        let again = format!("1 (x) {}", fields.join(" "));
        assert_eq!(Stat::parse(again.as_bytes()), Some(stat));
    }
    if let Some(limits) = status::limits(data) {
        let number = |n: Option<u64>| n.map_or("unlimited".to_owned(), |n| n.to_string());
        let line = |(limit, words): (&Limit, &str)| {
            format!(
                "{words}  {}  {}  units\n",
                number(limit.soft),
                number(limit.hard)
            )
        };
        let words = status::LIMITS.map(|(_, words)| words);
        let again: String = limits.iter().zip(words).map(line).collect();
        assert_eq!(status::limits(again.as_bytes()), Some(limits));
    }
    if let Some(mounts) = status::mounts(data) {
        let again: String = mounts.iter().map(mount_line).collect();
        assert_eq!(status::mounts(again.as_bytes()), Some(mounts));
    }
    for mapped in process::map_files(data).unwrap_or_default() {
        let Some(link) = mapped.link() else { continue };
        let range = link.strip_prefix("map_files/").expect("there");
        assert!(
            range.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()),
            "{range}"
        );
    }
}

fn written(status: &Status) -> String {
    let list = |numbers: &[u32]| numbers.iter().map(|n| format!("{n} ")).collect::<String>();
    let Status {
        state,
        capabilities: [inh, prm, eff, bnd, amb],
        switches: [own, forced],
        ..
    } = status;
    let optional = |name: &str, value: Option<String>| {
        value.map_or_else(String::new, |value| format!("{name}:\t{value}\n"))
    };
    let pids: String = status.pids.iter().map(|n| format!("\t{n}")).collect();
    format!(
        "Name:\tx\nState:\t{state} (what)\nTgid:\t1\nTracerPid:\t{}\nUid:\t{}\nGid:\t{}\nGroups:\t{}\n\
         NSpid:{pids}\nCapInh:\t{inh:016x}\nCapPrm:\t{prm:016x}\nCapEff:\t{eff:016x}\n\
         CapBnd:\t{bnd:016x}\nCapAmb:\t{amb:016x}\nNoNewPrivs:\t{}\nSeccomp:\t{}\n{}{}\
         voluntary_ctxt_switches:\t{own}\nnonvoluntary_ctxt_switches:\t{forced}\n",
        status.tracer,
        list(&status.uids),
        list(&status.gids),
        list(&status.groups),
        u8::from(status.no_new_privs),
        status.seccomp,
        optional("Seccomp_filters", status.filters.map(|n| n.to_string())),
        optional("Umask", status.umask.map(|mask| format!("{mask:04o}"))),
    )
}

fn mount_line(mount: &Mount) -> String {
    let Mount {
        id,
        device: (major, minor),
        root,
        point,
        kind,
        options,
        read_only,
    } = mount;
    let flags = if *read_only { "ro" } else { "rw" };
    format!("{id} 1 {major}:{minor} {root} {point} {flags} - {kind} none {options}\n")
}

fn what_is_shown_is_harmless(data: &[u8]) {
    let lossy = String::from_utf8_lossy(data);
    for shown in [text::quoted(data), text::plain(&lossy)] {
        assert!(
            shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{shown:?}"
        );
    }
    let quoted = text::quoted(data);
    let inner = quoted[1..quoted.len() - 1]
        .replace("\\\\", "")
        .replace("\\\"", "");
    assert!(!inner.contains('"'), "{quoted}");
    // At most four characters for each of 160 bytes.
    assert!(quoted.len() <= 4 * 160 + 5);
}

/// As the kernel writes it: these characters as three octal digits.
fn escaped(path: &[u8], special: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(path.len());
    for byte in path.iter().filter(|byte| **byte != 0) {
        match special.contains(byte) {
            true => written.extend(format!("\\{byte:03o}").bytes()),
            false => written.push(*byte),
        }
    }
    written
}

/// `comm`: the kernel escapes newlines and backslashes of it in a status, and nothing
/// in a stat.
fn a_name_is_only_a_name(data: &[u8]) {
    const REST: &str = "State:\tS (sleeping)\nTgid:\t7\nTracerPid:\t0\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n\
        Groups:\t\nNSpid:\t7\nCapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t0\nCapAmb:\t0\n\
        NoNewPrivs:\t1\nSeccomp:\t2\nvoluntary_ctxt_switches:\t1\nnonvoluntary_ctxt_switches:\t2\n";
    let name = &data[..data.len().min(15)];
    let mut text = b"Name:\t".to_vec();
    let name_in_status = escaped(name, b"\n\\");
    text.extend([&name_in_status[..], b"\n", REST.as_bytes()].concat());
    assert_eq!(Status::parse(&text), Status::parse(REST.as_bytes()));
    assert_eq!(status::thread_group(&text), Some(7));
    let numbers: Vec<_> = (4..=52).map(|n: u32| n.to_string()).collect();
    let rest = format!(") S {}\n", numbers.join(" ")).into_bytes();
    let stat = Stat::parse(&[b"7 (", name, &rest].concat()).expect("whole");
    assert_eq!(Some(stat), Stat::parse(&[b"7 (x", &rest[..]].concat()));
}

/// Paths of mounts and of mapped files.
fn a_path_is_only_a_path(data: &[u8]) {
    let point = escaped(data, b" \t\n\\#");
    let line = [
        b"36 35 98:0 / /",
        &point[..],
        b" ro - tmpfs ",
        &point,
        b" rw\n",
    ]
    .concat();
    let mounts = status::mounts(
        &[
            &line[..],
            b"37 36 0:5 / /proc rw - proc proc rw,errors=ro\n",
        ]
        .concat(),
    );
    let [mount, proc] = &mounts.expect("two good lines")[..] else {
        panic!("not two mounts");
    };
    assert_eq!(
        (mount.id, mount.device, &*mount.kind),
        (36, (98, 0), "tmpfs")
    );
    assert!(mount.read_only && !proc.read_only);
    assert_eq!((proc.id, &*proc.point), (37, "/proc"));
    let path = escaped(data, b"\n");
    let maps = [
        b"00400000-0040a000 r-xp 00000000 08:01 42                         /",
        &path[..],
        b"\n7f000000-7f001000 rw-p 00000000 00:00 0\n",
    ]
    .concat();
    let mapped = process::map_files(&maps).expect("two good lines");
    let [file] = &mapped[..] else {
        panic!("{mapped:?}");
    };
    assert_eq!(file.link().as_deref(), Some("map_files/400000-40a000"));
    assert!(!file.shared);
}
