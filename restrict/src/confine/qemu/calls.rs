// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls of a QEMU that is started as root: what it may do besides a confined
//! program until it has given that up, and what it never may.

use xen_sys::{evtchn, privcmd};

use super::handles::FLAGS;
use crate::confine::arguments::{Case, Checked, Test, case, checked};

/// Calls of one kind, by name.
pub(in crate::confine) struct Calls {
    #[cfg_attr(not(test), expect(dead_code, reason = "for docs/profiles.md"))]
    pub(in crate::confine) why: &'static str,
    pub(in crate::confine) names: &'static [&'static str],
}

const fn calls(names: &'static [&'static str], why: &'static str) -> Calls {
    Calls { why, names }
}

/// Refused to other confined programs, but for `execve`. Here each one stops until the
/// supervisor lets it through, and once root is given up it never does.
pub(in crate::confine) const UNTIL_GIVEN_UP: &[Calls] = &[
    calls(
        &["setuid", "setgid", "setgroups", "setresuid", "setresgid"],
        "gives root up, in each thread, and makes sure that it is gone",
    ),
    calls(&["chroot"], "into the empty directory that libxl made"),
    calls(
        &["connect"],
        "to its supervisor, which it takes for xenstored",
    ),
    calls(
        &["bind", "unlink", "unlinkat"],
        "VNC at a socket that its supervisor has bound, or by TCP where the network is dom0's; by \
         a path nothing else is made or removed, as all is read-only",
    ),
    calls(&["execve"], "becomes QEMU, which starts no other program"),
];

/// The same, of calls of which the arguments matter. On x86_64 and aarch64 the numbers are
/// the same.
pub(in crate::confine) const UNTIL_ARGUMENTS: &[Checked] = &[
    checked(
        "openat",
        &[case(
            "O_RDWR|O_CLOEXEC",
            &[Test::Is(2, FLAGS)],
            "disks; of privcmd and evtchn its supervisor gives it handles that are restricted to its guest",
        )],
    ),
    checked(
        "socket",
        &[
            case("AF_INET, stream", &listening(INET, STREAM, 0), LISTENS),
            case(
                "AF_INET, stream, TCP",
                &listening(INET, STREAM, TCP),
                LISTENS,
            ),
            case(
                "AF_INET, stream, close-on-exec",
                &listening(INET, CLOSING, 0),
                LISTENS,
            ),
            case(
                "AF_INET, stream, close-on-exec, TCP",
                &listening(INET, CLOSING, TCP),
                LISTENS,
            ),
            case("AF_INET6, stream", &listening(INET6, STREAM, 0), LISTENS),
            case(
                "AF_INET6, stream, TCP",
                &listening(INET6, STREAM, TCP),
                LISTENS,
            ),
            case(
                "AF_INET6, stream, close-on-exec",
                &listening(INET6, CLOSING, 0),
                LISTENS,
            ),
            case(
                "AF_INET6, stream, close-on-exec, TCP",
                &listening(INET6, CLOSING, TCP),
                LISTENS,
            ),
        ],
    ),
    checked(
        "ioctl",
        &[
            case(
                "HYPERCALL",
                &[Test::Is(1, privcmd::HYPERCALL.number())],
                "memory of a graphics card: its supervisor has Xen give it to the guest",
            ),
            restriction(
                "privcmd RESTRICT",
                &[Test::Is(1, privcmd::RESTRICT.number())],
            ),
            restriction(
                "evtchn RESTRICT_DOMID",
                &[Test::Is(1, evtchn::RESTRICT_DOMID.number())],
            ),
            terminal("TIOCSPTLCK", &[Test::Is(1, 0x4004_5431)]),
            terminal("TIOCGPTN", &[Test::Is(1, 0x8004_5430)]),
            terminal("TIOCGPTPEER", &[Test::Is(1, 0x5441)]),
            terminal("TCSETS", &[Test::Is(1, 0x5402)]),
            terminal("TCSETSF", &[Test::Is(1, 0x5404)]),
        ],
    ),
];
/// Those of Xen's devices. `MMAP_RESOURCE` is not among them, which kernels check too little:
/// refused, QEMU maps the pages of I/O requests as it did before there was that request.
pub(crate) const XENS: &[u32] = &[
    privcmd::HYPERCALL.number(),
    privcmd::RESTRICT.number(),
    evtchn::RESTRICT_DOMID.number(),
];
const INET: u32 = libc::AF_INET.cast_unsigned();
const INET6: u32 = libc::AF_INET6.cast_unsigned();
const STREAM: u32 = libc::SOCK_STREAM.cast_unsigned();
const CLOSING: u32 = STREAM | libc::SOCK_CLOEXEC.cast_unsigned();
const TCP: u32 = libc::IPPROTO_TCP.cast_unsigned();

const fn listening(family: u32, kind: u32, protocol: u32) -> [Test; 3] {
    [
        Test::Is(0, family),
        Test::Is(1, kind),
        Test::Is(2, protocol),
    ]
}

const LISTENS: &str = "to listen for VNC, where the network is dom0's";

const fn terminal(what: &'static str, tests: &'static [Test]) -> Case {
    case(what, tests, "a pseudo terminal for the guest's serial port")
}

const fn restriction(what: &'static str, tests: &'static [Test]) -> Case {
    case(
        what,
        tests,
        "QEMU restricts what it has; it is restricted already",
    )
}

/// Allowed to other confined programs.
pub(in crate::confine) const NEVER: &[Calls] = &[
    calls(&["fork", "vfork"], "it has threads, and no other process"),
    calls(&["execveat"], "it starts no other program"),
];

pub(super) fn has(table: &[Calls], name: &str) -> bool {
    table.iter().any(|calls| calls.names.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::{
        syscalls::{self, Verdict},
        xen_requests::TYPES,
    };

    #[test]
    fn xens_requests_are_those_of_the_table() {
        let cases = UNTIL_ARGUMENTS.iter().filter(|of| of.call == "ioctl");
        let tests = cases.flat_map(|of| of.cases).flat_map(|case| case.tests);
        let of_xen = tests.filter_map(|test| match *test {
            Test::Is(1, number) if TYPES.contains(&number.to_be_bytes()[2]) => Some(number),
            _ => None,
        });
        assert_eq!(of_xen.collect::<Vec<_>>(), XENS);
    }

    #[test]
    fn each_is_a_call_and_changes_something() {
        for (table, by_others) in [
            (UNTIL_GIVEN_UP, Verdict::Refused),
            (NEVER, Verdict::Allowed),
        ] {
            for name in table.iter().flat_map(|calls| calls.names) {
                let found = syscalls::all().find(|(_, call)| call.name == *name);
                let (verdict, _) = found.unwrap_or_else(|| panic!("no call {name}"));
                let expected = match *name {
                    "execve" | "bind" | "unlink" | "unlinkat" => Verdict::Allowed,
                    _ => by_others,
                };
                assert_eq!(verdict, expected, "{name}");
            }
            assert!(table.iter().all(|calls| !calls.why.is_empty()));
        }
    }
}
