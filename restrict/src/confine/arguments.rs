// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allowed calls that are more than one thing, and which of these are allowed.

use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::bpf::low_half;

/// What is asked of one argument, counted from 0. Of its low 32 bits, but for pointers:
/// these are `int` to the kernel, or it ignores the rest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    Is(u8, u32),
    IsNot(u8, u32),
    /// No bit of the mask.
    HasNone(u8, u32),
    /// Every bit of the mask.
    HasAll(u8, u32),
    /// A null pointer: all 64 bits.
    Null(u8),
}

use Test::{HasAll, HasNone, Is, IsNot, Null};

/// A use of a call that is allowed: all tests hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) why: &'static str,
    pub(super) tests: &'static [Test],
}

pub(super) const fn case(what: &'static str, tests: &'static [Test], why: &'static str) -> Case {
    Case { what, why, tests }
}

/// A call, and its uses that are allowed.
pub(super) struct Checked {
    pub(super) call: &'static str,
    pub(super) cases: &'static [Case],
}

pub(super) const fn checked(call: &'static str, cases: &'static [Case]) -> Checked {
    Checked { call, cases }
}

const fn bits(value: libc::c_int) -> u32 {
    value.cast_unsigned()
}

/// Of each namespace that clone knows. (Its eighth, of time, is clone3's.)
const NEW_NAMESPACES: u32 = bits(
    libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET,
);
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u32 = 1 << 3;
const CORE: u32 = libc::RLIMIT_CORE;
const NO_HELPER: &str = "with a limit of 0 the machine's core dump helper would run, as root";
/// `O_CREAT`, and the bit of `O_TMPFILE` that is its own: only with them is there a mode.
const CREATES: u32 = bits(libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY));
const SET_IDS: u32 = 0o6000;
const NO_SET_IDS: &str = "no set-user-ID or set-group-ID bit";
const PLANTED: &str = "outside, such a file gives this identity to who runs it";
const URGENT: &str = "kernels had a hole there, and nobody uses it on local sockets";
const NO_URGENT: &str = "no urgent data (MSG_OOB)";
const OOB: u32 = bits(libc::MSG_OOB);
const NO_URGENT_NOR_OPEN: &str = "no urgent data (MSG_OOB), no MSG_FASTOPEN";
const URGENT_OR_OPEN: &str =
    "kernels had a hole in the first, and nobody uses it on local sockets; the other connects";
const OOB_OR_FASTOPEN: u32 = OOB | bits(libc::MSG_FASTOPEN);
/// `F_SETDELEG` of Linux's `linux/fcntl.h`.
const SET_DELEG: u32 = 1040;
/// Of `F_OFD_GETLK` a program learns that it cannot: QEMU then does without.
const NO_LOCKS: &[Test] = &[
    IsNot(1, bits(libc::F_SETLEASE)),
    IsNot(1, bits(libc::F_NOTIFY)),
    IsNot(1, SET_DELEG),
    IsNot(1, bits(libc::F_SETLK)),
    IsNot(1, bits(libc::F_SETLKW)),
    IsNot(1, bits(libc::F_OFD_GETLK)),
    IsNot(1, bits(libc::F_OFD_SETLK)),
    IsNot(1, bits(libc::F_OFD_SETLKW)),
];
const LOCKS: &str = "the kernel keeps any number of locks, and counts them for nobody; a lease holds \
                     up who opens the file";
const LOCAL: &[Case] = &[case(
    "AF_UNIX",
    &[Is(0, bits(libc::AF_UNIX))],
    "no other protocol of the kernel is within reach",
)];

/// The calls of which the arguments matter, but for ioctl on Xen's devices: those
/// are in [`POLICY`](super::xen_requests::POLICY).
pub(super) const CHECKED: &[Checked] = &[
    checked(
        "clone",
        &[case(
            "no new namespace, no CLONE_PARENT",
            &[HasNone(0, NEW_NAMESPACES | bits(libc::CLONE_PARENT))],
            "threads and children; a sibling would be the supervisor's to wait for",
        )],
    ),
    checked("ioctl", IOCTLS),
    checked(
        "open",
        &[
            case("of what exists", &[HasNone(1, CREATES)], "no mode"),
            case(NO_SET_IDS, &[HasNone(2, SET_IDS)], PLANTED),
        ],
    ),
    checked(
        "openat",
        &[
            case("of what exists", &[HasNone(2, CREATES)], "no mode"),
            case(NO_SET_IDS, &[HasNone(3, SET_IDS)], PLANTED),
        ],
    ),
    checked(
        "fcntl",
        &[case("no record lock, no lease", NO_LOCKS, LOCKS)],
    ),
    checked(
        "creat",
        &[case(NO_SET_IDS, &[HasNone(1, SET_IDS)], PLANTED)],
    ),
    checked(
        "mkdir",
        &[case(NO_SET_IDS, &[HasNone(1, SET_IDS)], PLANTED)],
    ),
    checked(
        "mkdirat",
        &[case(NO_SET_IDS, &[HasNone(2, SET_IDS)], PLANTED)],
    ),
    checked(
        "chmod",
        &[case(NO_SET_IDS, &[HasNone(1, SET_IDS)], PLANTED)],
    ),
    checked(
        "fchmod",
        &[case(NO_SET_IDS, &[HasNone(1, SET_IDS)], PLANTED)],
    ),
    checked(
        "fchmodat",
        &[case(NO_SET_IDS, &[HasNone(2, SET_IDS)], PLANTED)],
    ),
    checked(
        "fchmodat2",
        &[case(NO_SET_IDS, &[HasNone(2, SET_IDS)], PLANTED)],
    ),
    checked(
        "setrlimit",
        &[case("but core", &[IsNot(0, CORE)], NO_HELPER)],
    ),
    checked(
        "prlimit64",
        &[
            case(
                "reading",
                &[Null(2)],
                "its own, and of processes with its uid",
            ),
            case("its own, but core", &[Is(0, 0), IsNot(1, CORE)], NO_HELPER),
        ],
    ),
    checked("socket", LOCAL),
    checked("socketpair", LOCAL),
    checked(
        "sendto",
        &[case(
            NO_URGENT_NOR_OPEN,
            &[HasNone(3, OOB_OR_FASTOPEN)],
            URGENT_OR_OPEN,
        )],
    ),
    checked(
        "sendmsg",
        &[case(
            NO_URGENT_NOR_OPEN,
            &[HasNone(2, OOB_OR_FASTOPEN)],
            URGENT_OR_OPEN,
        )],
    ),
    checked(
        "sendmmsg",
        &[case(
            NO_URGENT_NOR_OPEN,
            &[HasNone(3, OOB_OR_FASTOPEN)],
            URGENT_OR_OPEN,
        )],
    ),
    checked("recvfrom", &[case(NO_URGENT, &[HasNone(3, OOB)], URGENT)]),
    checked("recvmsg", &[case(NO_URGENT, &[HasNone(2, OOB)], URGENT)]),
    checked("recvmmsg", &[case(NO_URGENT, &[HasNone(3, OOB)], URGENT)]),
    checked("setsockopt", SOCKET_OPTIONS),
    checked("prctl", PRCTLS),
    checked(
        "seccomp",
        &[
            case(
                "SET_MODE_FILTER without a listener",
                &[
                    Is(0, libc::SECCOMP_SET_MODE_FILTER),
                    HasNone(1, NEW_LISTENER),
                ],
                "a program seals itself",
            ),
            case(
                "GET_ACTION_AVAIL",
                &[Is(0, libc::SECCOMP_GET_ACTION_AVAIL)],
                "what the kernel knows",
            ),
        ],
    ),
];

const SOL_SOCKET: u32 = bits(libc::SOL_SOCKET);
const SOCKET_OPTIONS: &[Case] = &[
    case(
        "of a protocol",
        &[IsNot(1, SOL_SOCKET)],
        "of sockets that it was given",
    ),
    case(
        "of sockets, but no filter program",
        &[
            IsNot(2, bits(libc::SO_ATTACH_FILTER)),
            IsNot(2, bits(libc::SO_ATTACH_BPF)),
            IsNot(2, bits(libc::SO_ATTACH_REUSEPORT_CBPF)),
            IsNot(2, bits(libc::SO_ATTACH_REUSEPORT_EBPF)),
        ],
        "buffers, credentials, timeouts",
    ),
];

macro_rules! prctls {
    ($($option:ident $why:literal),+ $(,)?) => {
        &[
            case(
                "PR_SET_DUMPABLE, 0",
                &[Is(0, bits(libc::PR_SET_DUMPABLE)), Is(1, 0)],
                "other processes keep off; not back",
            ),
            $(case(stringify!($option), &[Is(0, bits(libc::$option))], $why)),+
        ]
    };
}

const PRCTLS: &[Case] = prctls![
    PR_SET_NO_NEW_PRIVS "only takes away",
    PR_SET_MDWE "only takes away",
    PR_CAPBSET_DROP "only takes away",
    PR_CAP_AMBIENT "without capabilities it only takes away",
    PR_SET_PDEATHSIG "its own; that of our init is out of its reach",
    PR_SET_NAME "its own threads and memory",
    PR_SET_VMA "its own threads and memory",
    PR_SET_TIMERSLACK "its own threads and memory",
    PR_SET_THP_DISABLE "its own threads and memory",
    PR_GET_NAME "reading",
    PR_GET_TIMERSLACK "reading",
    PR_GET_THP_DISABLE "reading",
    PR_GET_MDWE "reading",
    PR_GET_DUMPABLE "reading",
    PR_GET_NO_NEW_PRIVS "reading",
    PR_GET_SECCOMP "reading",
    PR_GET_KEEPCAPS "reading",
    PR_GET_SECUREBITS "reading",
    PR_GET_PDEATHSIG "reading",
    PR_CAPBSET_READ "reading",
];

macro_rules! ioctls {
    ($($name:ident $number:literal $why:literal),+ $(,)?) => {
        &[$(case(stringify!($name), &[Is(1, $number)], $why)),+]
    };
}

/// On any descriptor. The C library has not all of these numbers.
const IOCTLS: &[Case] = ioctls![
    FIONREAD 0x541b "how much there is to read",
    FIONBIO 0x5421 "as fcntl does",
    FIONCLEX 0x5450 "as fcntl does",
    FIOCLEX 0x5451 "as fcntl does",
    TCGETS 0x5401 "whether it is a terminal",
    TCGETS2 0x802c_542a "whether it is a terminal",
    TIOCGWINSZ 0x5413 "a terminal's size",
    TIOCGPGRP 0x540f "reading; a shell asks",
    BLKROGET 0x125e "a disk's properties",
    BLKGETSIZE 0x1260 "a disk's properties",
    BLKGETSIZE64 0x8008_1272 "a disk's properties",
    BLKSSZGET 0x1268 "a disk's properties",
    BLKBSZGET 0x8008_1270 "a disk's properties",
    BLKIOMIN 0x1278 "a disk's properties",
    BLKIOOPT 0x1279 "a disk's properties",
    BLKALIGNOFF 0x127a "a disk's properties",
    BLKPBSZGET 0x127b "a disk's properties",
    BLKDISCARDZEROES 0x127c "a disk's properties",
    BLKROTATIONAL 0x127e "a disk's properties",
    BLKDISCARD 0x1277 "on a disk that it may write, as fallocate does",
    BLKZEROOUT 0x127f "on a disk that it may write, as fallocate does",
    TUNGETFEATURES 0x8004_54cf "of a network tap that it was given",
    TUNGETIFF 0x8004_54d2 "of a network tap that it was given",
    TUNGETVNETHDRSZ 0x8004_54d7 "of a network tap that it was given",
    TUNSETVNETHDRSZ 0x4004_54d8 "of a network tap that it was given",
    TUNSETOFFLOAD 0x4004_54d0 "of a network tap that it was given",
    TUNSETSNDBUF 0x4004_54d4 "of a network tap that it was given",
];

/// The uses of a call that are allowed; `None`: all.
pub(super) fn cases(call: &str) -> Option<&'static [Case]> {
    CHECKED
        .iter()
        .find(|checked| checked.call == call)
        .map(|checked| checked.cases)
}

impl Case {
    /// For the filter.
    pub(super) fn rule(&self) -> Result<SeccompRule, BackendError> {
        self.rule_and(&[])
    }

    /// The same, where more is asked.
    pub(super) fn rule_and(&self, more: &[Test]) -> Result<SeccompRule, BackendError> {
        let conditions = self.tests.iter().chain(more).map(|test| match *test {
            Is(argument, value) => low_half(argument, SeccompCmpOp::Eq, value),
            IsNot(argument, value) => low_half(argument, SeccompCmpOp::Ne, value),
            HasAll(argument, mask) => low_half(argument, SeccompCmpOp::MaskedEq(mask.into()), mask),
            HasNone(argument, mask) => low_half(argument, SeccompCmpOp::MaskedEq(mask.into()), 0),
            Null(argument) => {
                SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
            }
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    }
}
