// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs that confine, assembled and evaluated, and the texts that an audit reads.

use std::{fs, hint::black_box};

use xen_restrict::benching;

use crate::operation::{Operation, repeat};

/// Of a `struct sock_filter`.
const INSTRUCTION: usize = 8;
const DESCRIPTORS: usize = 1000;

pub(crate) fn all() -> Vec<Operation> {
    let mut all: Vec<_> = benching::ASSEMBLIES
        .into_iter()
        .map(|(name, assemble)| {
            let length = assemble().expect("the architecture is known");
            let name = format!("assemble {name}: {length} instructions");
            Operation::new(name, 2, move || repeat(move || assemble().ok()))
                .copy(length * INSTRUCTION)
        })
        .collect();
    all.push(Operation::new(
        "evaluate both filters of a sealed program",
        1,
        || {
            let filters = benching::sealed_filters();
            assert!(filters.hold());
            repeat(move || filters.hold())
        },
    ));
    all.extend(texts());
    all
}

fn texts() -> [Operation; 5] {
    [
        reading("a status", 100, STATUS.to_owned(), |text| {
            usize::from(benching::status(text))
        }),
        reading("maps of 40 files", 20, maps(), benching::maps),
        reading("mountinfo of 40 mounts", 20, mounts(), benching::mounts),
        reading(
            &format!("fdinfo of {DESCRIPTORS} sockets"),
            1,
            SOCKET.repeat(DESCRIPTORS),
            |text| {
                let each = text.chunks_exact(SOCKET.len());
                each.filter(|text| !benching::descriptor_info(text)).count()
            },
        ),
        Operation::new("read and understand /proc/self/status", 100, || {
            assert!(benching::status_of_this_process());
            repeat(benching::status_of_this_process)
        })
        .floor("open, read, close", || {
            repeat(|| fs::File::open("/proc/self/status").is_ok_and(read))
        }),
    ]
}

/// To its end, as whoever does not know its length.
fn read(mut file: fs::File) -> bool {
    let mut text = [0; 4096];
    while std::io::Read::read(&mut file, &mut text).is_ok_and(|length| length > 0) {}
    text[0] != 0
}

fn reading(what: &str, few: u64, text: String, read: fn(&[u8]) -> usize) -> Operation {
    let bytes = text.len();
    assert!(read(text.as_bytes()) > 0, "{what}: not understood");
    Operation::new(format!("understand {what}"), few, move || {
        let text = text.clone();
        repeat(move || read(black_box(text.as_bytes())))
    })
    .copy(bytes)
}

/// Five ranges of each file.
fn maps() -> String {
    let line = |at: u64| {
        let from = 0x7f00_0000_0000 + at * 0x1000;
        format!(
            "{from:x}-{:x} r--p {:08x} fe:00 {} /usr/lib/x86_64-linux-gnu/lib{}.so.1\n",
            from + 0x1000,
            at % 5 * 0x1000,
            1000 + at / 5,
            at / 5
        )
    };
    (0..200).map(line).collect()
}

fn mounts() -> String {
    let line = |at: u64| {
        format!(
            "{} 20 0:{at} / /usr/lib/something/{at} ro,nosuid,nodev,noatime master:{at} - ext4 \
             /dev/root ro,errors=remount-ro\n",
            at + 30
        )
    };
    (0..40).map(line).collect()
}

const SOCKET: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t10\nino:\t123456\nscm_fds: 0\n";

/// Of Linux 6.1.
const STATUS: &str = "Name:\tdevice-model\nUmask:\t0077\nState:\tS (sleeping)\nTgid:\t1153\nNgid:\t0\n\
    Pid:\t1153\nPPid:\t1152\nTracerPid:\t0\nUid:\t65537\t65537\t65537\t65537\n\
    Gid:\t65534\t65534\t65534\t65534\nFDSize:\t64\nGroups:\t \nNStgid:\t1153\t2\nNSpid:\t1153\t2\n\
    NSpgid:\t1153\t2\nNSsid:\t1153\t2\nVmPeak:\t    3516 kB\nVmSize:\t    3516 kB\nVmLck:\t       0 kB\n\
    VmPin:\t       0 kB\nVmHWM:\t    1344 kB\nVmRSS:\t    1344 kB\nRssAnon:\t      88 kB\n\
    RssFile:\t    1256 kB\nRssShmem:\t       0 kB\nVmData:\t     360 kB\nVmStk:\t     132 kB\n\
    VmExe:\t      20 kB\nVmLib:\t    1524 kB\nVmPTE:\t      44 kB\nVmSwap:\t       0 kB\n\
    HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t1\nThreads:\t2\nSigQ:\t0/7823\n\
    SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\n\
    SigIgn:\t0000000000001000\nSigCgt:\t0000000000000440\nCapInh:\t0000000000000000\n\
    CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
    CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n\
    Speculation_Store_Bypass:\tnot vulnerable\nSpeculationIndirectBranch:\talways enabled\n\
    Cpus_allowed:\t3\nCpus_allowed_list:\t0-1\nMems_allowed:\t1\nMems_allowed_list:\t0\n\
    voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
